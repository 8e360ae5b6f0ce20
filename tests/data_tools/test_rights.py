"""The nearest rights.toml below the folder that was taken in speaks; else the brand."""

from pathlib import Path

import pytest
from drawing import BRAND, CLEARED

from data_tools.beside import folders_above, remember_folder, taken_in_folders
from data_tools.rights import RightsFinder
from lora_studio.brand import save_brand
from lora_studio.errors import RightsError
from lora_studio.records import Footage
from lora_studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    for folder in ("shoot/day1/b", "shoot/day2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.mp4").touch()
    (tmp_path / "shoot" / "rights.toml").write_text('owner = "Studio"\nai_training = false\n')
    (tmp_path / "shoot" / "day1" / "rights.toml").write_text('owner = "Day one"\nai_training = true\nexpires = 2001-02-03\n')
    remember_folder(workspace, tmp_path / "shoot")
    return workspace


def test_the_nearest_statement_wins(place: Workspace, tmp_path: Path):
    finder = RightsFinder(place)
    assert finder.of(tmp_path / "shoot/day1/b/a.mp4").owner == "Day one"
    assert finder.of(tmp_path / "shoot/day2/a.mp4").owner == "Studio"
    assert finder.of(tmp_path / "elsewhere/a.mp4") == CLEARED


def test_statements_above_the_folder_are_not_asked(tmp_path: Path):
    assert folders_above(tmp_path / "a/b/c.mp4", [tmp_path / "a" / "b"]) == [tmp_path / "a" / "b"]
    assert folders_above(tmp_path / "a/b/c.mp4", [tmp_path / "a", tmp_path / "a/b"]) == [tmp_path / "a/b", tmp_path / "a"]


def test_folders_are_remembered_once_and_relative(place: Workspace, tmp_path: Path):
    remember_folder(place, tmp_path / "shoot")
    assert taken_in_folders(place) == [tmp_path / "shoot"]
    assert (place.catalog / "folders.json").read_text().split('"')[1] == "../shoot"


def test_a_wrong_statement_is_an_error_with_a_hint(place: Workspace, tmp_path: Path):
    (tmp_path / "shoot/day2/rights.toml").write_text("ai_trainning = true\n")
    with pytest.raises(RightsError, match="ai_trainning is not a known key; did you mean ai_training"):
        RightsFinder(place).of(tmp_path / "shoot/day2/a.mp4")


def test_footage_that_is_away_keeps_its_rights(place: Workspace):
    withdrawn = CLEARED.model_copy(update={"withdrawn": True})
    away = Footage(
        footage_id="f", sha256="f", path="../gone/a.mp4", size_bytes=1, mtime_ns=1, status="usable", rights=withdrawn
    )
    assert RightsFinder(place).refresh(away).rights.withdrawn
