"""A clearance taken back: the next dataset is without the footage, the old one is none, and what was trained on it is named."""

import shutil
from datetime import date
from pathlib import Path

import pytest
from test_build import Plain

from data_tools.build import build_dataset
from data_tools.catalog import Catalog
from data_tools.ingest import ingest_folder
from data_tools.withdraw import read_book, withdraw
from lora_studio import files
from lora_studio.errors import RightsError, TrainingError
from lora_studio.runs import RunState, run_named
from lora_studio.training.dataset import load_clips
from lora_studio.workspace import Workspace

TODAY = date(2026, 11, 26)


def trained(workspace: Workspace, name: str, dataset_sha256: str) -> None:
    state = RunState(
        name=name, status="finished", recipe_sha256="r", dataset_sha256=dataset_sha256, model="plain", model_sha256="m",
        num_modules=1, num_parameters=1, steps_done=1,
    )  # fmt: skip
    run_named(workspace, name).save_state(state)


def objection(workspace: Workspace, name: str) -> str | None:
    (record,) = [one for one in Catalog(workspace).footage() if one.path.endswith(name)]
    return record.rights.objection(TODAY)


def test_withdrawn_footage_goes_no_further(workspace: Workspace):
    build_dataset(workspace, Plain().base(), today=TODAY)
    trained(workspace, "look", files.read_json(workspace.dataset / "manifest.json")["dataset_sha256"])
    trained(workspace, "older", "0" * 64)

    effect = withdraw(workspace, ["pan.mp4"], "release of p-07 revoked", TODAY)
    assert [record.path for record in effect.footage] == ["footage/deep/pan.mp4"]
    assert (effect.is_in_dataset, effect.runs, effect.unknown_runs) == (True, ["look"], ["older"])
    with pytest.raises(TrainingError, match="data-tools build"):
        load_clips(workspace, TODAY)

    build_dataset(workspace, Plain().base(), today=TODAY)
    lines = {line["path"]: line for line in files.read_json(workspace.dataset / "ledger.json")["shots"]}
    assert lines["footage/deep/pan.mp4"]["reason"] == "rights: withdrawn"
    trained(workspace, "clean", files.read_json(workspace.dataset / "manifest.json")["dataset_sha256"])
    again = withdraw(workspace, ["footage/deep/pan.mp4"], "again", TODAY)
    assert (again.is_in_dataset, again.runs) == (False, ["look"])
    assert [one.reason for one in read_book(workspace).withdrawn] == ["release of p-07 revoked"], "the first reason stands"


def test_a_renamed_copy_stays_withdrawn(workspace: Workspace, tmp_path: Path):
    withdraw(workspace, ["pan.mp4"], "no release", TODAY)
    ingest_folder(workspace, workspace.footage)
    assert objection(workspace, "pan.mp4") == "withdrawn"
    shutil.move(workspace.footage / "deep" / "pan.mp4", workspace.footage / "other.mp4")
    ingest_folder(workspace, workspace.footage)
    assert objection(workspace, "other.mp4") == "withdrawn"


def test_a_file_is_found_by_any_of_its_paths(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(workspace.footage / "deep")
    (tmp_path / "link").symlink_to(workspace.footage)
    whole = str(workspace.footage / "deep" / "pan.mp4")
    linked = str(tmp_path / "link" / "deep" / "pan.mp4")
    for name in ("footage/deep/pan.mp4", "deep/pan.mp4", "pan.mp4", "./pan.mp4", "../deep/pan.mp4", whole, linked):
        assert [one.path for one in withdraw(workspace, [name], "no release", TODAY).footage] == ["footage/deep/pan.mp4"], name
    with pytest.raises(RightsError, match="no such footage; give its whole path"):
        withdraw(workspace, ["/elsewhere/deep/pan.mp3"], "no release", TODAY)


@pytest.mark.parametrize(
    ("names", "reason", "said"),
    [
        (["pan.mp4", "nobody.mp4"], "why", "nobody.mp4: no such footage; .*Nothing was withdrawn"),
        (["pan.mp4"], " ", "needs a reason"),
    ],
)
def test_faults_withdraw_nothing(workspace: Workspace, names: list[str], reason: str, said: str):
    with pytest.raises(RightsError, match=said):
        withdraw(workspace, names, reason, TODAY)
    assert not read_book(workspace).withdrawn


def test_a_damaged_book_is_named(workspace: Workspace):
    (workspace.root / "withdrawn.toml").write_text('[[withdrawn]]\nsha256 = "x"\npath = "a"\non = "2026-01-01"\nreason = "b"\n')
    with pytest.raises(RightsError, match=r"withdrawn\.toml: withdrawn\.0\.sha256"):
        read_book(workspace)
