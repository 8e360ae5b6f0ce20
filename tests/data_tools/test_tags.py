"""Tagging: measured, reported and looked at once; corrected tags stay."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drawing import BRAND
from test_zero_shot import Brightness
from typer.testing import CliRunner

from data_tools import workers
from data_tools.__main__ import app
from data_tools.catalog import Catalog, ShotRow
from data_tools.corrections import write_correction
from data_tools.tags import Tagging, tag_shots
from lora_studio.brand import save_brand
from lora_studio.errors import FootageError, ModelError
from lora_studio.workspace import Workspace


def by_name(workspace: Workspace) -> dict[str, ShotRow]:
    names = {record.footage_id: Path(record.path).stem for record in Catalog(workspace).footage() if record.status == "usable"}
    return {f"{names[row.shot.footage_id]}{row.shot.index}": row for row in Catalog(workspace).shots()}


def test_measurement_report_and_silence(made_workspace: Workspace):
    rows = by_name(made_workspace)
    assert rows["pan0"].shot.tags["angle.movement"].value == "pan_right"
    assert rows["pan0"].shot.tags["light.key"].value == "low"
    assert rows["still0"].shot.tags["angle.movement"].value == "static"
    assert (rows["a1"].shot.tags["angle.scale"].value, rows["a1"].shot.tags["angle.scale"].source) == ("close_up", "metadata")
    assert rows["a1"].shot.content == "a blue cup"
    assert rows["still0"].shot.flags["frozen"] > 0.8  # key frames show
    assert rows["pan0"].shot.flags["frozen"] < 0.1
    for row in rows.values():
        assert row.shot.tags["angle.view"].status == "unknown"  # the tiny model was never trained, so it has no say
        assert "clip" not in row.shot.tags["angle.view"].scores
        assert row.vector is not None
        assert len(row.vector) == 32


def test_shots_are_found_by_tag(made_workspace: Workspace):
    found = Catalog(made_workspace).shots({"angle.scale": "close_up"})
    assert [row.shot.shot_id for row in found] == [by_name(made_workspace)["a1"].shot.shot_id]


def test_a_second_run_does_nothing(workspace: Workspace, tiny_vision_folder: Path):
    def must_not_load(folder: Path):
        raise AssertionError(folder)

    assert tag_shots(workspace, tiny_vision_folder, must_not_load) == Tagging(4, 0, 0, 0, {})


def test_shots_whose_file_a_killed_ingest_has_forgotten_stop_nothing(workspace: Workspace):
    path = Catalog(workspace).footage()[0].path
    Catalog(workspace).drop_footage([path])
    assert tag_shots(workspace, None).num_shots == 4


def test_shots_that_cannot_be_measured_are_counted_apart(
    workspace: Workspace, tiny_vision_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    catalog = Catalog(workspace)
    catalog.put_shots([replace(row, keys={**row.keys, "measured": "of before"}) for row in catalog.shots()])
    shown = by_name(workspace)["pan0"].shot

    def run(work: workers.Job, tasks: Sequence[workers.Task], num_workers: int, progress: object) -> Iterator[workers.Outcome]:
        for task in tasks:
            outcome = workers.Outcome(task.key, work(task.arguments, lambda share: None), None)
            yield workers.Outcome(task.key, None, "damaged") if task.key == shown.shot_id else outcome

    monkeypatch.setattr("data_tools.__main__._runner", lambda on_ray: run)
    command = ["tag", str(workspace.root), "--vision", str(tiny_vision_folder)]
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "4 shots: 3 measured, 1 could not be measured (the reasons stand above), 0 looked at" in said
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "4 shots: 0 measured, 1 could not be measured" in said, "it is tried again"
    monkeypatch.undo()
    assert tag_shots(workspace, tiny_vision_folder).num_measured == 1
    assert tag_shots(workspace, tiny_vision_folder) == Tagging(4, 0, 0, 0, {})


def test_a_trained_model_speaks_and_a_person_overrules(workspace: Workspace, tmp_path: Path):
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"another model")
    done = tag_shots(workspace, tmp_path, lambda folder: Brightness())
    assert (done.num_measured, done.num_looked_at) == (0, 4)
    row = by_name(workspace)["still0"]
    assert row.vector is not None
    assert len(row.vector) == 3
    assert set(row.shot.tags["light.key"].scores) == {"measured", "clip"}
    write_correction(workspace, [row.shot.shot_id], "light.key", "low", "Ana", datetime.now(UTC))
    tag_shots(workspace, tmp_path, lambda folder: Brightness())
    tag = by_name(workspace)["still0"].shot.tags["light.key"]
    assert (tag.value, tag.source) == ("low", "human")


def test_a_changed_report_changes_tags_only(workspace: Workspace, tiny_vision_folder: Path):
    report = workspace.footage / "camera_report.csv"
    report.write_text(report.read_text().replace("close_up", "wide"))
    assert tag_shots(workspace, tiny_vision_folder) == Tagging(4, 0, 0, 1, {})
    assert by_name(workspace)["a1"].shot.tags["angle.scale"].value == "wide"


def test_faults(workspace: Workspace, tmp_path: Path):
    with pytest.raises(ModelError, match="no such folder"):
        tag_shots(workspace, tmp_path / "nowhere")
    (tmp_path / "no_model").mkdir()
    with pytest.raises(ModelError, match="no open_clip model in it"):
        tag_shots(workspace, tmp_path / "no_model")
    empty = Workspace.at(tmp_path / "empty")
    save_brand(empty, BRAND)
    with pytest.raises(FootageError, match=r"no shots in .*: take footage in first"):
        tag_shots(empty)


def test_what_a_report_said_holds_while_its_folder_is_away(workspace: Workspace, tiny_vision_folder: Path):
    before = {name: (row.shot.content, row.shot.tags) for name, row in by_name(workspace).items()}
    assert any(content for content, _ in before.values())
    workspace.footage.rename(workspace.root / "unplugged")
    tag_shots(workspace, tiny_vision_folder)
    assert {name: (row.shot.content, row.shot.tags) for name, row in by_name(workspace).items()} == before
