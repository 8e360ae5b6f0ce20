"""Coverage counts what is sure, keeps the unknown apart, and names the emptiest cells."""

from dataclasses import asdict

import numpy as np
import pytest
from test_captions import shot

from data_tools.catalog import Catalog
from data_tools.coverage import confounded, count, cover, cramers_v, stands_in, to_csv, to_json, to_text
from data_tools.coverage_page import to_html
from data_tools.fusion import fuse, stated
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
    easy = ("angle.scale medium with light.key mid: no scene", "angle.scale wide with light.key low: no scene")
    assert advice[0].startswith(easy)
    assert not any("medium with light.key low" in line for line in advice)


def test_text_csv_and_json_say_the_same():
    found = count(SHOTS, "angle.scale", "light.key")
    assert "medium" in to_text(found).splitlines()[2]
    assert to_text(found).splitlines()[2].split() == ["medium", "1", ".", "3", ".", "4"]
    assert "medium,low,3,3,3.0,0.95,0.0,2.7" in to_csv(found)
    assert to_json(found)["margins"]["rows"]["medium"] == 4


def test_takes_of_one_scene_count_once_by_the_surest():
    takes = [one.model_copy(update={"scene": "m0"}) for one in SHOTS[:3]]
    cell = count([*takes, *SHOTS[3:]], "angle.scale", "light.key").at("medium", "low")
    assert (cell.shots, cell.scenes, cell.effective) == (3, 1, pytest.approx(0.95**2, abs=0.01))


def test_the_share_of_human_tags_is_told():
    corrected = shot("h", angle_scale="medium", light_key="low")
    corrected = corrected.model_copy(update={"tags": {**corrected.tags, "light.key": fuse({"human": stated("human", "low")})}})
    assert count([corrected, SHOTS[0]], "angle.scale", "light.key").at("medium", "low").human == 0.5


def test_a_newcomer_reads_how_sure_the_table_is_and_who_said_so():
    guessed = shot("g", angle_scale="close_up", light_key="low")
    guessed = guessed.model_copy(update={"tags": {**guessed.tags, "light.key": fuse({"measured": {"low": 0.55, "mid": 0.45}})}})
    corrected = guessed.model_copy(update={"shot_id": "h", "scene": "h"})
    corrected = corrected.model_copy(update={"tags": {**guessed.tags, "light.key": fuse({"human": stated("human", "high")})}})
    found = count([*SHOTS, guessed, corrected], "angle.scale", "light.key")
    said = to_text(found)
    assert "angle.scale: known for 7 of 7 shots; on average 95% sure, none said by a person" in said
    assert "light.key: known for 6 of 7 shots; on average 89% sure, 17% said by a person" in said
    assert "least sure: close with low, 1 shot: 75% sure, none said by a person" in said
    assert said.count("least sure:") == 1, "what is surer than 80% is not doubted"
    assert "`data-tools review`" in said
    assert [one.told for one in found.sureness] == [7, 6]
    assert to_json(found)["sureness"] == [asdict(one) for one in found.sureness]
    unknown = to_text(count([shot("n")], "angle.scale", "light.key"))
    assert "light.key: known for 0 of 1 shot\n" in unknown
    assert "least sure" not in unknown


def test_axes_that_go_together_are_named_in_words():
    low_at_night = [shot(f"l{n}", angle_vertical="low", light_key="low", angle_view="front") for n in range(6)]
    others = [shot(f"o{n}", angle_vertical="eye_level", light_key="high", angle_view=("front", "back")[n % 2]) for n in range(6)]
    (line,) = confounded([*low_at_night, *others])
    assert "goes with light.key" in line
    assert "in 6 of 6 scenes (Cramer's V 1.00 over 12)" in line
    assert "an adapter will learn them as one" in line
    assert line in to_text(count([*low_at_night, *others], "angle.scale", "light.key"))
    same_scene = [one.model_copy(update={"scene": one.tags["light.key"].value}) for one in (*low_at_night, *others)]
    assert confounded(same_scene) == [], "two scenes tell nothing"


def test_cramers_v_has_no_bias():
    assert cramers_v(np.eye(6)) == 0
    assert cramers_v(20 * np.eye(3)) == pytest.approx(1)
    assert cramers_v(np.full((3, 3), 20)) == 0


def test_files_are_written_for_any_two_axes(made_workspace: Workspace):
    found = cover(made_workspace, "angle.movement", "light.direction")
    assert found.margin() == 4
    assert files.read_json(made_workspace.catalog / "coverage.json")["rows"] == "angle.movement"
    assert (made_workspace.catalog / "coverage.csv").read_text().startswith("angle.movement,light.direction,shots")


def test_a_page_shows_pictures_in_their_cells(made_workspace: Workspace):
    found = cover(made_workspace, "angle.movement", "light.direction")
    shots = [row.shot for row in Catalog(made_workspace).shots()]
    shots = [shot.model_copy(update={"content": '<b>"a cup"</b>'}) for shot in shots]
    page = to_html(made_workspace, found, shots)
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert "&lt;b&gt;&quot;a cup&quot;" in page
    assert "<b>" not in page
    one_scene = [shot.model_copy(update={"scene": "s"}) for shot in shots]
    filled = len({stands_in(shot, "angle.movement", "light.direction") for shot in shots})
    assert to_html(made_workspace, found, one_scene).count("<img") == filled, "a scene is shown once in a cell"


def test_wrong_axes_are_named(made_workspace: Workspace):
    with pytest.raises(FootageError, match=r"--rows must be one of angle\.scale, .*, got 'angle\.size'"):
        cover(made_workspace, "angle.size", "light.key")
    with pytest.raises(FootageError, match="must differ"):
        cover(made_workspace, "light.key", "light.key")
