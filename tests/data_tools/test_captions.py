"""Captions: the trigger first, only what is sure, the same words every time."""

import itertools

import pytest
from drawing import BRAND

from data_tools.captions import captioned, constants_of, other_caption
from data_tools.fusion import fuse, stated
from lora_studio.records import Shot
from lora_studio.taxonomy import AXES, phrase


def shot(shot_id: str = "s", content: str = "", **words: str) -> Shot:
    tags = {axis.replace("_", ".", 1): fuse({"metadata": stated("metadata", word)}) for axis, word in words.items()}
    return Shot(
        shot_id=shot_id, footage_id="f", index=0, start_pts=0, end_pts=1, time_base=(1, 24), start_s=0, end_s=1,
        path="p", sha256="h", num_frames=24, fps=24, width=8, height=8, tags=tags, content=content,
    )  # fmt: skip


FULL = {
    "angle_scale": "medium", "angle_vertical": "high", "angle_movement": "pan_left",
    "light_direction": "side_left", "light_key": "low",
}  # fmt: skip


@pytest.mark.parametrize("shot_id", [f"{number:x}" for number in range(12)])
def test_the_trigger_stands_first_in_both_and_in_the_first_sentence(shot_id: str):
    said = captioned(shot(shot_id, **FULL), BRAND, {})
    for text in (said.caption_long, said.caption_short):
        assert text.startswith("acmelook, ")
        assert text.endswith(".")
        assert "a red bottle" in text.split(". ")[0]
    assert phrase("light.key", "low").lower() in said.caption_long.lower()
    assert "The camera pans left." in said.caption_long
    assert phrase("angle.vertical", "high") in said.caption_short


def test_the_same_shot_gets_the_same_words_and_others_vary():
    assert captioned(shot("a", **FULL), BRAND, {}) == captioned(shot("a", **FULL), BRAND, {})
    assert len({captioned(shot(f"{n}", **FULL), BRAND, {}).caption_long for n in range(20)}) > 3


def test_the_other_caption_asks_for_what_the_shot_does_not_show():
    asked = [other_caption(shot("a", **FULL), BRAND, f"clip{number}") for number in range(60)]
    own = (phrase("angle.vertical", "high"), phrase("light.direction", "side_left"))
    assert all("a red bottle" in text and BRAND.trigger not in text for text in asked)
    assert not any(said in text for text in asked for said in own)
    for axis in ("angle.vertical", "light.direction"):
        others = set(AXES[axis]) - {FULL[axis.replace(".", "_")]}
        assert {value for value in others if any(phrase(axis, value) in text for text in asked)} == others
    assert asked == [other_caption(shot("a", **FULL), BRAND, f"clip{number}") for number in range(60)]


def test_doubtful_tags_are_not_said():
    doubtful = shot("a").model_copy(update={"tags": {
        "light.key": fuse({"measured": {"low": 0.9}, "clip": {"high": 0.9}}),
        "angle.scale": fuse({"clip": {"wide": 0.4}}),
    }})  # fmt: skip
    assert captioned(doubtful, BRAND, {}).caption_long == "acmelook, a red bottle."
    assert captioned(doubtful, BRAND, {}).caption_short == "acmelook, a red bottle."


def test_content_comes_from_the_report_and_a_level_horizon_goes_unsaid():
    said = captioned(shot("a", content="a hand takes a cup", angle_dutch="no"), BRAND, {})
    assert said.caption_long == "acmelook, a hand takes a cup."
    assert "dutch" in captioned(shot("a", angle_dutch="yes"), BRAND, {}).caption_long


def test_what_is_the_same_in_every_scene_is_left_to_the_trigger():
    library = [shot(f"{n}", light_temperature="warm", light_key=("low", "high")[n % 2], light_quality="soft") for n in range(8)]
    assert constants_of(library) == {"light.temperature": "warm", "light.quality": "soft"}
    said = captioned(library[0], BRAND, constants_of(library)).caption_long.lower()
    assert phrase("light.key", "low") in said
    assert "warm" not in said
    assert "soft" not in said
    takes = [one.model_copy(update={"scene": "one"}) for one in library]
    assert constants_of(takes) == {}, "one scene is no brand"
    unsure = [*library, shot("x", light_temperature="warm")]
    assert constants_of(unsure) == {"light.temperature": "warm"}, "of one shot nobody knows whether its light is soft"


def test_several_words_are_all_said():
    both = shot("a", angle_movement="pan_left+tilt_up", angle_steadiness="shaky", light_direction="side_left+back", light_rim="no")
    said = captioned(both, BRAND, {}).caption_long
    assert "Lit from the left and lit from behind." in said
    assert said.endswith("The camera pans left and the camera tilts up, shakily.")
    other = [other_caption(both, BRAND, f"{number}") for number in range(40)]
    assert not any("from the left" in text or "from behind" in text for text in other)


def test_what_goes_without_saying_is_not_said():
    plain = shot("a", angle_steadiness="locked", angle_insert="yes", light_silhouette="no", angle_view="na", angle_scale="unknown")
    assert captioned(plain, BRAND, {}).caption_long == "acmelook, a red bottle."
    held = captioned(shot("a", angle_movement="handheld", angle_steadiness="handheld"), BRAND, {}).caption_long
    assert held.endswith("The camera is handheld.")


def test_every_word_of_the_taxonomy_can_be_said():
    for axis, value in itertools.chain.from_iterable([(axis, value) for value in AXES[axis]] for axis in AXES):
        assert captioned(shot("a", **{axis.replace(".", "_", 1): value}), BRAND, {}).caption_long.startswith("acmelook, ")
