"""`kill -9` at twenty random moments between ingest and build: what comes out in the end is what an undisturbed run makes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import draw_footage
from drawing import BRAND

from data_tools.catalog import Catalog
from lora_studio.brand import save_brand
from lora_studio.files import sha256_file
from lora_studio.workspace import Workspace

KILLS = 20
KILLS_EACH = 5  # of one workspace; the next begins anew, so that early stages are killed too
WHOLE_WAY = """
import sys
from pathlib import Path
from data_tools.build import build_dataset, open_base
from data_tools.captions import caption_shots
from data_tools.ingest import ingest_folder
from data_tools.tags import tag_shots
from lora_studio.workspace import Workspace

if __name__ == "__main__":
    workspace = Workspace.open(Path(sys.argv[1]))
    print("ingest", flush=True)
    ingest_folder(workspace, workspace.footage)
    print("tag", flush=True)
    tag_shots(workspace, Path(sys.argv[2]))
    print("caption", flush=True)
    caption_shots(workspace)
    print("build", flush=True)
    build_dataset(workspace, open_base("nano"))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]


def start(script: Path, workspace: Workspace, vision: Path) -> subprocess.Popen[str]:
    """A process that has imported everything and begins to work now."""
    process = subprocess.Popen(
        [sys.executable, str(script), str(workspace.root), str(vision)], start_new_session=True, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ingest\n"
    return process


def killed(process: subprocess.Popen[str], after_s: float) -> str | None:
    """Kills it and its children after so many seconds: the stage it was in, or None when it had ended, and well, by then."""
    assert process.stdout is not None
    try:
        assert process.wait(after_s) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return ["ingest", *process.stdout.read().split()][-1]
    finally:
        process.stdout.close()
    return None


def products(workspace: Workspace) -> dict[str, object]:
    """Everything that is kept: what the catalog says, and all files of shots, features and dataset by content."""
    catalog = Catalog(workspace)
    shots = [(row.shot.model_dump(), row.keys, None if row.vector is None else row.vector.tobytes()) for row in catalog.shots()]
    kept: dict[str, object] = {"footage": [row.model_dump() for row in catalog.footage()], "shots": shots}
    found = sorted(path for folder in (workspace.shots, workspace.dataset) for path in folder.rglob("*") if path.is_file())
    return kept | {str(path.relative_to(workspace.root)): sha256_file(path) for path in found}


def test_twenty_kills_change_nothing(tmp_path: Path, tiny_vision_folder: Path) -> None:
    script = tmp_path / "whole_way.py"
    script.write_text(WHOLE_WAY)
    draw_footage(tmp_path / "masters")

    def fresh(name: str) -> Workspace:
        workspace = Workspace.at(tmp_path / name)
        save_brand(workspace, BRAND)
        shutil.copytree(tmp_path / "masters", workspace.footage, copy_function=shutil.copy2)
        return workspace

    straight = fresh("straight")
    process, began = start(script, straight, tiny_vision_folder), time.monotonic()
    assert killed(process, 600) is None
    took, expected = time.monotonic() - began, products(straight)
    assert any(name.startswith("dataset/") for name in expected)

    chance, stages, rounds = random.Random(0), Counter[str](), 0
    while stages.total() < KILLS:
        rounds += 1
        workspace = fresh(f"killed{rounds}")
        for _ in range(min(KILLS_EACH, KILLS - stages.total())):
            stage = killed(start(script, workspace, tiny_vision_folder), chance.uniform(0, took / 3))
            if stage is None:
                break
            stages[stage] += 1
        else:
            assert killed(start(script, workspace, tiny_vision_folder), 600) is None
        assert products(workspace) == expected
        shutil.rmtree(workspace.root)
    print(f"killed in {dict(stages)}, {rounds} workspaces; undisturbed it takes {took:.1f} s")
    assert len(stages) >= 2, "all kills fell into one stage: they prove nothing of the others"
