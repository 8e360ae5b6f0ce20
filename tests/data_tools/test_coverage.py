"""Coverage counts what is sure, keeps the unknown apart, and names the emptiest cells."""

import pytest
from test_captions import shot

from data_tools.coverage import count, cover, to_csv, to_json, to_text
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.workspace import Workspace

SHOTS = [
    *[shot(f"m{n}", angle_scale="medium", light_key="low") for n in range(3)],
    shot("w", angle_scale="medium_wide", light_key="high"),
    shot("c", angle_scale="close_up"),
]


def test_cells_margins_and_unknowns():
    found = count(SHOTS, "angle.scale", "light.key")
    assert found.rows == ["wide", "medium", "close", "detail", "unknown"]
    assert found.at("medium", "low").shots == 3
    assert found.at("medium", "low").seconds == 3
    assert found.at("medium", "low").effective == pytest.approx(3 * 0.95**2, abs=0.01)
    assert found.at("medium", "high").shots == 1
    assert found.at("close", "unknown").shots == 1
    assert found.margin() == len(SHOTS)
    assert found.margin(row="medium") == 4
    assert found.margin(column="unknown") == 1


def test_advice_names_empty_cells_and_prefers_easy_ones():
    advice = count(SHOTS, "angle.scale", "light.key").advice
    assert len(advice) == 5
    assert advice[0].startswith(("angle.scale medium with light.key mid: 0 shots", "angle.scale wide with light.key low: 0 shots"))
    assert not any("medium with light.key low" in line for line in advice)


def test_text_csv_and_json_say_the_same():
    found = count(SHOTS, "angle.scale", "light.key")
    assert "medium" in to_text(found).splitlines()[2]
    assert to_text(found).splitlines()[2].split() == ["medium", "1", ".", "3", ".", "4"]
    assert "medium,low,3,3.0," in to_csv(found)
    assert to_json(found)["margins"]["rows"]["medium"] == 4


def test_files_are_written_for_any_two_axes(made_workspace: Workspace):
    found = cover(made_workspace, "angle.movement", "light.direction")
    assert found.margin() == 4
    assert files.read_json(made_workspace.catalog / "coverage.json")["rows"] == "angle.movement"
    assert (made_workspace.catalog / "coverage.csv").read_text().startswith("angle.movement,light.direction,shots")


def test_wrong_axes_are_named(made_workspace: Workspace):
    with pytest.raises(FootageError, match=r"--rows must be one of angle\.scale, .*, got 'angle\.size'"):
        cover(made_workspace, "angle.size", "light.key")
    with pytest.raises(FootageError, match="must differ"):
        cover(made_workspace, "light.key", "light.key")
