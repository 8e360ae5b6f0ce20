"""Which files are footage; and whatever is left out is said once, with where and why."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawing import BRAND, cut_film

from data_tools.catalog import Catalog
from data_tools.export import MARK
from data_tools.finding import find_videos
from data_tools.ingest import ingest_folder
from lora_studio import files
from lora_studio.brand import save_brand
from lora_studio.errors import FootageError
from lora_studio.workspace import Workspace


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")


@pytest.fixture
def acme(tmp_path: Path) -> Workspace:
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    touch(tmp_path / "masters" / "a.mp4")
    return workspace


def found(workspace: Workspace, folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in find_videos(workspace, folder)}


def test_faults_of_the_folder_are_one_line(tmp_path: Path):
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    for make, words in (
        (lambda: None, "is not there: give a folder"),
        (lambda: (tmp_path / "in").mkdir(), "it is empty"),
        (lambda: (tmp_path / "in" / "notes.txt").touch(), "none of its 1 files is a video; video files end in"),
    ):
        make()
        with pytest.raises(FootageError, match=words):
            ingest_folder(workspace, tmp_path / "in")
    with pytest.raises(FootageError, match="a file, not a folder"):
        ingest_folder(workspace, tmp_path / "in" / "notes.txt")


def test_own_and_hidden_files_are_not_footage(made_workspace: Workspace, tmp_path: Path):
    touch(tmp_path / ".hidden" / "a.mp4", tmp_path / "._a.mp4", tmp_path / "b.mp4")
    assert found(made_workspace, tmp_path) == {"b.mp4"}
    names = {"a.mp4", "broken.mp4", "deep/pan.mp4", "deep/still.mp4"}
    assert found(made_workspace, made_workspace.root) == {f"footage/{name}" for name in names}


def test_other_workspaces_and_exports_are_left_out_and_counted(acme: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    disk = tmp_path / "masters"
    other, export = Workspace.at(disk / "old" / "lumen"), disk / "delivery"
    save_brand(other, BRAND)
    touch(other.shots / "1.mp4", other.takes / "2.mp4", other.footage / "3.mov", export / "train" / "4.mp4")
    files.write_json(export / MARK, {"dataset_sha256": "d", "model": "nano", "owners": []})
    (disk / "premiere").mkdir()
    (disk / "premiere" / MARK).write_text("another program's")
    touch(disk / "premiere" / "b.mp4")
    assert found(acme, disk) == {"a.mp4", "premiere/b.mp4"}
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"left out: 1 videos in {export}, an export of a dataset",
        f"left out: 3 videos in {other.root}, another workspace; its own footage is taken in when {other.footage} is named",
    ]


def test_the_footage_of_another_workspace_is_taken_in_when_it_is_named(
    acme: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    other = Workspace.at(tmp_path / "lumen")
    save_brand(other, BRAND)
    touch(other.shots / "1.mp4", other.takes / "2.mp4", other.footage / "3.mov")
    assert found(acme, other.footage) == {"3.mov"}
    assert not caplog.records
    assert found(acme, other.root) == {"footage/3.mov"}
    assert len(caplog.records) == 2, "its shots and its takes"


def test_a_workspace_among_the_masters_takes_in_its_own_footage(acme: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    touch(acme.shots / "1.mp4", acme.takes / "2.mp4", acme.footage / "3.mov")
    assert found(acme, tmp_path) == {"acme/footage/3.mov", "masters/a.mp4"}
    assert not caplog.records


def test_nothing_but_what_is_left_out(acme: Workspace, tmp_path: Path):
    touch(tmp_path / "sets" / "one" / "train" / "4.mp4")
    files.write_json(tmp_path / "sets" / "one" / MARK, {"dataset_sha256": "d"})
    with pytest.raises(FootageError, match="all that it holds is left out"):
        find_videos(acme, tmp_path / "sets")


def test_linked_folders_are_left_out_and_how_to_take_them_in_is_said(
    acme: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    disk, away = tmp_path / "masters", tmp_path / "day 3"
    touch(disk / "deep" / "b.mp4", away / "c.mp4")
    (disk / "day3").symlink_to(away)
    (disk / "loop").symlink_to(disk)
    (disk / "again").symlink_to(disk / "deep")
    assert found(acme, disk) == {"a.mp4", "deep/b.mp4"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"left out: {disk / 'day3'} is a link to another folder; to take that in: data-tools ingest {acme.root} '{away}'"
    (tmp_path / "link").symlink_to(disk)
    assert found(acme, tmp_path / "link") == {"a.mp4", "deep/b.mp4"}, "a link that is named is followed"


def test_a_folder_that_cannot_be_opened_is_said(
    acme: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    disk, closed = tmp_path / "masters", tmp_path / "masters" / "closed"
    touch(closed / "b.mp4")
    look = os.scandir

    def refusing(place: Any) -> Iterator[os.DirEntry[str]]:  # permissions mean nothing to root
        if Path(place) == closed:
            raise PermissionError(13, "Permission denied", str(place))
        return look(place)

    monkeypatch.setattr(os, "scandir", refusing)
    assert found(acme, disk) == {"a.mp4"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"left out: {closed} cannot be opened (permission denied); check its permissions and run the same command again"
    with pytest.raises(FootageError, match=r"closed cannot be opened \(permission denied\): check its permissions"):
        find_videos(acme, closed)


def test_a_workspace_that_was_worked_in_is_told(workspace: Workspace, tmp_path: Path):
    shutil.copytree(workspace.root, tmp_path / "disk" / "other")
    cut_film(tmp_path / "disk" / "a.mp4", (26,))
    target = Workspace.at(tmp_path / "new")
    save_brand(target, BRAND)
    ingest_folder(target, tmp_path / "disk")
    assert [record.path for record in Catalog(target).footage()] == ["../disk/a.mp4"]
