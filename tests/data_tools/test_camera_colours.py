"""Log footage: suspected, stated, converted; and until then without tags of light."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from drawing import BRAND
from hostile import FLOOR, Film, recorded

from data_tools import normalise
from data_tools.beside import remember_folder
from data_tools.catalog import Catalog, ShotRow
from data_tools.colour import ColourFinder
from data_tools.corrections import write_correction
from data_tools.facts import normalise_version
from data_tools.ingest import ingest_folder
from data_tools.status import status_of
from data_tools.tags import tag_shots
from lora_studio import video
from lora_studio.brand import save_brand
from lora_studio.errors import FootageError
from lora_studio.records import Shot
from lora_studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    workspace.footage.mkdir(parents=True)
    film = Film("prores_ks", "yuv422p10le", paint=recorded("slog3cine", 0.7), numbers=range(24), height=144, width=256)
    film.write(workspace.footage / "a.mov")
    return workspace


def only_shot(workspace: Workspace) -> Shot:
    (row,) = Catalog(workspace).shots()
    return row.shot


def made_by(workspace: Workspace) -> int | None:
    """The version of `normalise` that the only shot's id tells."""
    (record,) = Catalog(workspace).footage()
    return normalise_version(only_shot(workspace), record)


def floor_of(workspace: Workspace) -> np.ndarray:
    frame = video.read_frames(workspace.absolute(only_shot(workspace).path), [0.2])[0]
    return frame[-20:].mean(axis=(0, 1))


def state(workspace: Workspace, words: str) -> None:
    (workspace.footage / "colour.toml").write_text(words)


def test_log_is_suspected_then_stated(place: Workspace, tiny_vision_folder: Path):
    grey = 0.3 * np.array(FLOOR) + 0.7 * np.mean(FLOOR)
    (record,) = ingest_folder(place, place.footage).footage
    assert record.colour == "log?"
    assert made_by(place) == normalise.VERSION
    assert "looks like log" in record.warnings[-1]
    tag_shots(place, tiny_vision_folder)
    first, tags = only_shot(place), only_shot(place).tags
    assert tags["light.key"].status == "unknown"
    assert tags["light.key"].scores["measured"], "what was measured is kept"
    write_correction(place, [first.shot_id], "angle.scale", "close_up", "Ana", datetime(2026, 11, 30, tzinfo=UTC))

    state(place, 'space = "slog3cine"')
    assert "stated" in status_of(place)["next"]["ingest"]
    ledger = ingest_folder(place, place.footage)
    assert (ledger.num_new, ledger.footage[0].colour) == (1, "slog3cine")
    assert ledger.footage[0].transform.startswith("S-Log3 / S-Gamut3.Cine to BT.709")
    assert only_shot(place).shot_id != first.shot_id
    assert made_by(place) == normalise.VERSION, "its colours went through a table"
    assert not place.absolute(first.path).exists()
    assert np.abs(floor_of(place) - grey).max() < 5
    tag_shots(place, tiny_vision_folder)
    assert only_shot(place).tags["light.key"].status != "unknown"
    assert (only_shot(place).tags["angle.scale"].value, only_shot(place).tags["angle.scale"].source) == ("close_up", "human")
    assert ingest_folder(place, place.footage).num_new == 0

    state(place, 'space = "bt709"')
    (record,) = ingest_folder(place, place.footage).footage
    assert (record.colour, record.transform, record.warnings) == ("bt709", "", ())
    assert only_shot(place).shot_id == first.shot_id


def test_a_file_that_moved_into_a_stated_folder_is_converted(place: Workspace):
    ingest_folder(place, place.footage)
    (place.footage / "day2").mkdir()
    (place.footage / "a.mov").rename(place.footage / "day2" / "a.mov")
    (place.footage / "day2" / "colour.toml").write_text('space = "slog3cine"')
    (record,) = ingest_folder(place, place.footage).footage
    assert (record.path, record.colour) == ("footage/day2/a.mov", "slog3cine")
    assert record.transform
    assert place.absolute(only_shot(place).path).is_file()


def test_a_lut_of_ones_own(place: Workspace):
    """A table that swaps red and blue."""
    rows = [f"{blue:g} {green:g} {red:g}" for blue in (0, 1) for green in (0, 1) for red in (0, 1)]
    (place.footage / "it's [mine], 100%:a.cube").write_text("LUT_3D_SIZE 2\n" + "\n".join(rows) + "\n")
    state(place, "space = 'bt709'")
    ingest_folder(place, place.footage)
    plain = floor_of(place)
    state(place, 'lut = "it\'s [mine], 100%:a.cube"')
    (record,) = ingest_folder(place, place.footage).footage
    assert record.transform.startswith("to BT.709 by it's [mine], 100%:a.cube (")
    assert np.abs(floor_of(place) - plain[::-1]).max() < 4
    place.root.rename(place.root.with_name("elsewhere"))
    moved = Workspace.at(place.root.with_name("elsewhere"))
    assert ingest_folder(moved, moved.footage).num_new == 0, "where a table lies is no part of what it makes"


def test_a_broken_lut_is_named_and_read_again_once_it_is_mended(place: Workspace):
    rows = [f"{red} {green} {blue}" for blue in (0, 1) for green in (0, 1) for red in (0, 1)]
    state(place, 'lut = "a.cube"')
    for broken in ("", "LUT_3D_SIZE 2\n0 0 0\n", "LUT_3D_SIZE 99999\n"):
        (place.footage / "a.cube").write_text(broken)
        ledger = ingest_folder(place, place.footage)
        assert ledger.num_new == 1
        assert ledger.footage[0].sha256, "the footage itself is as it was"
        assert re.fullmatch(
            r"a\.cube: not a \.cube table that can be read \(.+\): it needs .+; mend it, .+ colour\.toml", ledger.footage[0].reason
        )
    assert ingest_folder(place, place.footage).num_new == 0
    (place.footage / "a.cube").write_text("LUT_3D_SIZE 2\n" + "\n".join(rows) + "\n")
    assert "stated anew" in status_of(place)["next"]["ingest"]
    (record,) = ingest_folder(place, place.footage).footage
    assert (record.status, record.colour) == ("usable", "lut:a.cube")


def test_the_version_of_shots_whose_file_states_its_colours_is_told(tmp_path: Path):
    workspace = Workspace.at(tmp_path)
    save_brand(workspace, BRAND)
    workspace.footage.mkdir()
    Film(colour=(9, 9, 18), paint=recorded("hlg"), numbers=range(24)).write(workspace.footage / "hlg.mp4")
    ingest_folder(workspace, workspace.footage)
    assert made_by(workspace) == normalise.VERSION
    shot = only_shot(workspace)
    Catalog(workspace).drop_shots([shot.shot_id])
    Catalog(workspace).put_shots([ShotRow(shot.model_copy(update={"shot_id": "0" * 16}))])
    assert made_by(workspace) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('space = "slog4"', "space must be one of applelog, .*; for any other camera state a lut"),
        ('space = "slog3"\nlut = "a.cube"', "state either space"),
        ("", "state either space"),
        ('lut = "nowhere.cube"', "there is no .cube file"),
        ('lutt = "a.cube"', "did you mean lut"),
    ],
)
def test_faults_name_the_file(place: Workspace, words: str, said: str):
    state(place, words)
    remember_folder(place, place.footage)
    with pytest.raises(FootageError, match=said) as fault:
        ColourFinder(place).of(place.footage / "a.mov")
    assert "colour.toml" in str(fault.value)
