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


PATTERNS = """owner = "Studio"
ai_training = true
expires = 2030-01-01
[[people]]
person = "p-01"
ai_training = true
[files."Interview_*.MOV"]
ai_training = false
[files."day2/*"]
owner = "Second unit"
people = []
"""


def test_a_pattern_states_what_is_different_for_its_files(place: Workspace, tmp_path: Path):
    (tmp_path / "shoot/rights.toml").write_text(PATTERNS)
    (tmp_path / "shoot/day1/rights.toml").unlink()
    finder = RightsFinder(place)
    plain, spoken = finder.of(tmp_path / "shoot/day1/b/a.mp4"), finder.of(tmp_path / "shoot/day1/interview_3.mov")
    both = finder.of(tmp_path / "shoot/day2/interview_3.mov")
    assert (plain.owner, plain.ai_training, len(plain.people)) == ("Studio", True, 1)
    assert spoken == plain.model_copy(update={"ai_training": False})
    assert (both.owner, both.ai_training, both.people, both.expires) == ("Second unit", False, (), plain.expires)


def test_of_two_patterns_the_later_one_counts(place: Workspace, tmp_path: Path):
    (tmp_path / "shoot/rights.toml").write_text('[files."*"]\nowner = "First"\n[files."a.mp4"]\nowner = "Later"\n')
    assert RightsFinder(place).of(tmp_path / "shoot/day2/a.mp4").owner == "Later"


def test_a_pattern_that_fits_no_file_is_said_once(place: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "shoot/rights.toml").write_text(PATTERNS)
    paths = sorted((tmp_path / "shoot").rglob("*.mp4"))
    RightsFinder(place).warn_of_idle_patterns(tmp_path / "shoot", [*paths, *paths])
    (said,) = caplog.messages
    assert '[files."Interview_*.MOV"] fits no footage' in said


def test_an_unknown_key_in_a_pattern_is_named_with_its_path(place: Workspace, tmp_path: Path):
    (tmp_path / "shoot/day2/rights.toml").write_text('[files."a*"]\nexpirs = 2030-01-01\n')
    with pytest.raises(RightsError, match=r"files\.a\*\.expirs is not a known key; did you mean expires"):
        RightsFinder(place).of(tmp_path / "shoot/day2/a.mp4")


def test_another_case_of_the_name_is_read_and_two_are_refused(place: Workspace, tmp_path: Path):
    folder = tmp_path / "shoot/day2"
    (folder / "RIGHTS.TOML").write_text('owner = "Loud"\n')
    assert RightsFinder(place).of(folder / "a.mp4").owner == "Loud"
    (folder / "Rights.toml").write_text('owner = "Other"\n')
    with pytest.raises(RightsError, match=r"RIGHTS\.TOML and Rights\.toml.* keep it as rights\.toml"):
        RightsFinder(place).of(folder / "a.mp4")


def test_a_statement_above_the_folder_is_said(place: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    remember_folder(place, tmp_path / "other/deep/day")
    (tmp_path / "other/deep/day").mkdir(parents=True)
    RightsFinder(place).warn_of_unread(tmp_path / "shoot/day1")  # read: shoot was taken in as well
    assert not caplog.messages
    (tmp_path / "other/Rights.toml").touch()
    RightsFinder(place).warn_of_unread(tmp_path / "other/deep/day")
    (said,) = caplog.messages
    path, folder = tmp_path / "other/Rights.toml", tmp_path / "other/deep/day"
    assert said == f"{path} is not read, for it lies above {folder}: copy it into that folder, or take in {path.parent}"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('expires = "31.12.2030"', r"expires: a date is written YYYY-MM-DD, such as 2030-12-31; got '31\.12\.2030'"),
        ("starts = 2030-12-31T10:00:00", "starts: a date is written YYYY-MM-DD, such as 2030-12-31; got '2030-12-31 10:00:00'"),
        ("expires = 20301231", "expires: a date is written YYYY-MM-DD, such as 2030-12-31; got 20301231"),
        ("expires = 31.12.2030", r"expires: a date is written YYYY-MM-DD, such as 2030-12-31; got 31\.12\.2030"),
        ("expires = 2030-02-30", "expires: a date is written YYYY-MM-DD, such as 2030-12-31; got 2030-02-30"),
    ],
)
def test_a_wrong_date_is_told_how_to_write_it(place: Workspace, tmp_path: Path, written: str, said: str):
    (tmp_path / "shoot/day2/rights.toml").write_text(f'owner = "Studio"\n{written}\n')
    with pytest.raises(RightsError, match=rf"rights\.toml: {said}"):
        RightsFinder(place).of(tmp_path / "shoot/day2/a.mp4")
