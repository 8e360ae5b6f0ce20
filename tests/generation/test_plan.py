"""The plan: which takes there are, in which order, and ids that follow everything a take depends on and say nothing."""

import re
from pathlib import Path

import pytest
from drawn import PROMPTS

from lora_studio.adapters.storage import WEIGHTS
from lora_studio.errors import AdapterError
from lora_studio.files import sha256_file
from lora_studio.generation.plan import Base, PlannedTake, plan_takes
from lora_studio.nova.config import ClipShape
from lora_studio.runs import Run, RunState, run_named
from lora_studio.wall import Clip
from lora_studio.workspace import Workspace

BASE = Base("nano", "b" * 64, ClipShape(num_frames=9, fps=12.0, height=128, width=192, latent=(8, 3, 16, 24)))
REAL = {"cup": Clip("clip-c", "shot-c", 0.0, "", ""), "bottle": Clip("clip-d", "shot-d", 0.0, "", "")}
SETTINGS = {"num_steps": 4, "guidance": 5.0}


def finished_run(root: Path, name: str, content: bytes) -> Run:
    """A finished run whose adapter file holds `content`."""
    run = run_named(Workspace.at(root), name)
    run.adapter.mkdir(parents=True)
    (run.adapter / WEIGHTS).write_bytes(content)
    run.save_state(
        RunState(
            name=name, status="finished", recipe_sha256="r", dataset_sha256="d", model="nano", model_sha256=BASE.sha256,
            num_modules=1, num_parameters=1, steps_done=1, adapter_sha256=sha256_file(run.adapter / WEIGHTS),
        )
    )  # fmt: skip
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [finished_run(tmp_path, "calm", b"one"), finished_run(tmp_path, "warm", b"two")]


def plan(runs: list[Run], base: Base = BASE, settings: dict = SETTINGS) -> list[PlannedTake]:
    return plan_takes(base, PROMPTS, (0, 1), runs, REAL, settings)


def test_every_prompt_and_seed_with_every_look(runs: list[Run]) -> None:
    planned = plan(runs)
    assert len(planned) == 2 + 3 * 2 * 3  # two real clips; prompts x seeds x (base and two adapters)
    looks = [(p.prompt.id, p.seed, p.run.name if p.run else p.kind) for p in planned]
    assert looks[:7] == [
        ("cup", 0, "real"), ("cup", 0, "base"), ("cup", 0, "calm"), ("cup", 0, "warm"),
        ("cup", 1, "base"), ("cup", 1, "calm"), ("cup", 1, "warm"),
    ]  # fmt: skip
    assert not [look for look in looks if look[0] == "control" and look[2] == "real"]


def test_ids_tell_nothing_and_are_unique(runs: list[Run]) -> None:
    ids = [p.take_id for p in plan(runs)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f]{16}", take_id) for take_id in ids)
    assert ids == [p.take_id for p in plan(runs)]


def test_ids_follow_what_a_take_depends_on(runs: list[Run]) -> None:
    before = plan(runs)
    other_steps = plan(runs, settings={**SETTINGS, "num_steps": 5})
    changed = [b.kind for a, b in zip(before, other_steps, strict=True) if a.take_id != b.take_id]
    assert changed.count("base") == 6
    assert changed.count("adapter") == 12
    assert "real" not in changed
    alone = {p.take_id for p in plan(runs[:1])}
    assert alone == {p.take_id for p in before if p.run is None or p.run.name == "calm"}


def test_two_runs_with_equal_adapters_have_takes_of_their_own(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path, name, b"same") for name in ("first", "second")]
    ids = [p.take_id for p in plan(runs)]
    assert len(set(ids)) == len(ids)


def test_an_adapter_of_another_base_or_another_training_is_refused(runs: list[Run]) -> None:
    with pytest.raises(AdapterError, match="calm was trained on nano bbbbbbbbbbbb, but the dataset's model is nano cccccccccccc"):
        plan(runs, Base("nano", "c" * 64, BASE.shape))
    (runs[1].adapter / WEIGHTS).write_bytes(b"swapped")
    with pytest.raises(AdapterError, match="is not the adapter that run warm trained"):
        plan(runs)
    (runs[1].adapter / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match="no adapter in"):
        plan(runs)
