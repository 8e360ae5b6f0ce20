"""Which takes are current: those of the plan, of present prompts and of adapters that are still what they were."""

from pathlib import Path

import pytest
from drawn import GREEN, PROMPTS, draw_take, draw_workspace, finish_run, picture

from lora_studio.brand import save_prompts
from lora_studio.errors import WorkspaceError
from lora_studio.records import PromptSheet
from lora_studio.runs import run_named
from lora_studio.wall import all_takes, current_takes, dataset_clips, read_manifest, save_plan
from lora_studio.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = draw_workspace(tmp_path)
    finish_run(workspace, "look")
    for look in ("look", "base"):
        for seed in (0, 1, 2):
            draw_take(workspace, picture(GREEN, seed), PROMPTS[0], seed, look)
    return workspace


def looks(workspace: Workspace) -> list[tuple[str, int]]:
    return [(take.look, take.seed) for take in current_takes(workspace)]


def test_without_a_plan_the_sheet_decides(workspace: Workspace) -> None:
    assert sorted(looks(workspace)) == [("base", 0), ("base", 1), ("look", 0), ("look", 1)]  # seed 2 is not on the sheet


def test_the_plan_decides_what_and_in_which_order(workspace: Workspace) -> None:
    ids = {(take.look, take.seed): take.take_id for take in all_takes(workspace)}
    save_plan(workspace, [ids["look", 2], ids["base", 0], "not-made-yet"])
    assert looks(workspace) == [("look", 2), ("base", 0)]


def test_the_same_plan_is_not_written_twice(workspace: Workspace) -> None:
    save_plan(workspace, ["a", "b"])
    before = (workspace.takes / "plan.json").stat()
    save_plan(workspace, ["a", "b"])
    assert (workspace.takes / "plan.json").stat().st_ino == before.st_ino


def test_an_edited_prompt_or_a_trained_again_adapter_makes_takes_stale(workspace: Workspace) -> None:
    run = run_named(workspace, "look")
    state = run.state()
    assert state is not None
    run.save_state(state.model_copy(update={"adapter_sha256": "0" * 64}))
    assert {look for look, _ in looks(workspace)} == {"base"}
    run.save_state(state.model_copy(update={"status": "training"}))
    assert {look for look, _ in looks(workspace)} == {"base"}
    edited = PROMPTS[0].model_copy(update={"text": "another text"})
    save_prompts(workspace, PromptSheet(seeds=(0,), prompts=(edited,)))
    assert looks(workspace) == []
    assert len(all_takes(workspace)) == 6


def test_a_take_counts_only_with_video_and_sidecar(workspace: Workspace) -> None:
    one, two, *_ = all_takes(workspace)
    (workspace.takes / f"{one.take_id}.mp4").unlink()
    (workspace.takes / f"{two.take_id}.json").unlink()
    assert {take.take_id for take in all_takes(workspace)}.isdisjoint({one.take_id, two.take_id})
    (workspace.takes / f"{two.take_id}.json").write_text("{}")
    with pytest.raises(WorkspaceError, match="damaged"):
        all_takes(workspace)


def test_clips_come_without_their_features(workspace: Workspace) -> None:
    clips = dataset_clips(workspace, "held_out")
    assert [(clip.clip_id, clip.shot_id, clip.start_s) for clip in clips] == [("clip-c", "shot-c", 0.0), ("clip-d", "shot-d", 0.0)]
    assert read_manifest(workspace)["model"] == "nano"


def test_an_unbuilt_dataset_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    for read in (read_manifest, lambda w: dataset_clips(w, "train")):
        with pytest.raises(WorkspaceError, match="data-tools build"):
            read(workspace)
    assert current_takes(workspace) == []
