"""Ray instead of this machine's own workers: the same catalog, and a file that kills its worker ends nothing else."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_footage
from drawing import BRAND

from data_tools.catalog import Catalog
from data_tools.ingest import ingest_folder
from data_tools.on_ray import run_on_ray
from data_tools.tags import tag_shots
from data_tools.workers import Beat, Task
from lora_studio.brand import save_brand
from lora_studio.workspace import Workspace

ray = pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray of this machine alone; its workers find this file's jobs."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's name; else they starve beside anything else that runs here
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", runtime_env={"env_vars": {"PYTHONPATH": paths}})
    yield
    ray.shutdown()


def job(arguments: dict[str, Any], beat: Beat) -> Any:
    if arguments["do"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if arguments["do"] == "kill the worker":
        forks = Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(")", 1)[1].split()
        os.kill(int(forks[1]), signal.SIGKILL)  # the parent of the process that children fork from
    return arguments["do"] * 2


def test_a_task_that_kills_its_worker_is_one_failure():
    tasks = [Task(do, {"do": do}) for do in ("a", "crash", "kill the worker", "b", "c")]
    seen: list[float] = []
    outcomes = {outcome.key: outcome for outcome in run_on_ray(job, tasks, 2, seen.append)}
    assert {key: outcomes[key].value for key in "abc"} == {"a": "aa", "b": "bb", "c": "cc"}
    assert outcomes["crash"].failure == "the process that read it died (exit code -11)"
    assert outcomes["kill the worker"].failure == "the worker that read it died 2 times"
    assert len(outcomes) == 5
    assert seen == sorted(seen)


def test_a_catalog_made_on_ray_is_the_one_made_here(tmp_path: Path, made_workspace: Workspace, tiny_vision_folder: Path):
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    draw_footage(workspace.footage)
    ingest_folder(workspace, workspace.footage, run=run_on_ray)
    tag_shots(workspace, tiny_vision_folder, run=run_on_ray)
    for one, other in zip(Catalog(workspace).footage(), Catalog(made_workspace).footage(), strict=True):
        assert (one.path, one.status, one.reason, one.sha256) == (other.path, other.status, other.reason, other.sha256)
    for row, made in zip(Catalog(workspace).shots(), Catalog(made_workspace).shots(), strict=True):
        assert row.shot == made.shot.model_copy(update={"caption_long": "", "caption_short": ""})


def test_nothing_to_do_needs_no_cluster():
    assert list(run_on_ray(job, [], 2)) == []
