"""Run folders: metrics survive a kill in the middle of a line, finished runs are found."""

import pytest

from lora_studio.errors import WorkspaceError
from lora_studio.runs import RunState, finished_runs, run_named
from lora_studio.workspace import Workspace


def state(name: str, status: str) -> RunState:
    return RunState.model_validate({
        "name": name, "status": status, "recipe_sha256": "r", "dataset_sha256": "d", "model": "nano", "model_sha256": "m",
        "num_modules": 24, "num_parameters": 10, "steps_done": 3,
    })  # fmt: skip


def test_metrics_ignore_a_line_cut_short_and_can_be_rewound(tmp_path):
    run = run_named(Workspace.at(tmp_path), "look")
    for step in range(1, 6):
        run.append_metrics({"step": step, "loss": 1.0 / step})
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 6, "lo')
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4, 5]
    run.drop_metrics_after(3)
    run.append_metrics({"step": 4, "loss": 9.0})
    assert [(row["step"], row["loss"]) for row in run.metrics()] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 9.0)]


def test_only_finished_runs_are_shown(tmp_path):
    workspace = Workspace.at(tmp_path)
    assert finished_runs(workspace) == []
    for name, status in (("b_look", "finished"), ("a_motion", "finished"), ("c", "training")):
        run_named(workspace, name).save_state(state(name, status))
    assert [run.name for run in finished_runs(workspace)] == ["a_motion", "b_look"]
    assert run_named(workspace, "none").state() is None


def test_a_state_of_another_form_is_named_with_what_to_do(tmp_path):
    run = run_named(Workspace.at(tmp_path), "warm")
    run.folder.mkdir(parents=True)
    run.state_file.write_text('{"name": "warm", "status": "done"}')
    with pytest.raises(WorkspaceError, match=r"run\.json is damaged \(wrong: .*status.*\): move the folder warm out of"):
        run.state()
