"""Lessons and their captions: numbered, never of a held-out brand, mirrored with the right words."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.stage import lessons as rendered
from data_tools.stage.brands import HELD_OUT, KITS
from data_tools.stage.colours import NAMED, colour_name
from data_tools.stage.render import render
from data_tools.stage.sample import BODIES
from data_tools.stage.scene import describe
from lora_studio.errors import FootageError, TrainingError
from lora_studio.nano.lessons import NAMES_A_COLOUR, Lessons, as_pixels, compose_caption, draw_name, draw_support, mirrored
from lora_studio.taxonomy import AXES_V1


def test_lessons_never_show_a_brand_of_the_proof() -> None:
    products = [product for kit in KITS.values() for product in (kit.product, kit.rival)]
    assert {(product.shape, colour_name(product.body)) for product in products} <= HELD_OUT
    drawn = [rendered.lesson("stills", number).scene.product for number in range(600)]
    assert not {(product.shape, colour_name(product.body)) for product in drawn} & HELD_OUT
    shapes = {product.shape for product in drawn}
    assert {"bottle", "can", "jar"} <= shapes, "the shapes themselves are learned"
    assert {"red", "purple", "orange"} <= {colour_name(product.body) for product in drawn}, "and so are the colours"


def test_a_lesson_follows_from_its_number() -> None:
    assert rendered.lesson("clips", 7) == rendered.lesson("clips", 7)
    assert rendered.lesson("clips", 7).scene != rendered.lesson("clips", 8).scene
    assert rendered.lesson("clips", 7).scene != rendered.lesson("stills", 7).scene
    assert rendered.lesson("clips", 7, seed=1).scene != rendered.lesson("clips", 7).scene


def test_strayed_colours_keep_their_names() -> None:
    draw = rendered.Draw(torch.Generator().manual_seed(0))
    for name, colour in NAMED.items():
        strayed = {rendered._stray(draw, colour) for _ in range(30)}
        assert {colour_name(one) for one in strayed} == {name}
        assert len(strayed) > 10
    truth, scene = rendered.lesson("stills", 3).truth, rendered.lesson("stills", 3).scene
    assert truth["body"] == colour_name(scene.product.body)
    assert truth["body"] in truth["content"]
    assert truth["tags"] == describe(scene)


def _white_share(item: rendered.Lesson) -> float:
    """Of the middle frame: pixels that change when the product's colours do, mirrors and shadows left out by the bound."""
    product, stage = item.scene.product, replace(item.scene.stage, gloss=0.0)
    parts = dict.fromkeys(("band", "badge"))
    frames = [render(replace(item.scene, stage=stage, product=replace(product, body=colour, cap=colour, **parts)), 64, 96, 1, 12)
              for colour in ("#000000", "#FFFFFF")]  # fmt: skip
    return float((np.abs(frames[0].astype(int) - frames[1]).max(-1) > 8).mean())


def test_files_hold_what_their_numbers_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered, "LESSONS_A_FILE", 2)
    monkeypatch.setattr("lora_studio.nano.lessons.LESSONS_A_FILE", 2)
    monkeypatch.setattr(rendered, "HEIGHT", 16)
    monkeypatch.setattr(rendered, "WIDTH", 24)
    for start in (0, 2):
        rendered._render_file(tmp_path, "clips", start, 0)
    lessons = Lessons(tmp_path, "clips")
    assert len(lessons) == 4
    assert lessons.truths[3] == rendered.lesson("clips", 3).truth
    assert lessons.frames(3).shape == (9, 16, 24, 3)
    assert np.array_equal(lessons.frames(3), np.load(tmp_path / "clips_000002.npy")[1])
    assert [lessons.number(index) for index in (0, 3)] == [0, 3]
    assert lessons.cover([3, 0]).shape == (2, 3, 1)
    assert float(lessons.cover([3])[0, 1, 0]) == pytest.approx(_white_share(rendered.lesson("clips", 3)), abs=0.1)
    pixels = as_pixels([lessons.frames(0), lessons.frames(1)])
    assert pixels.shape == (2, 3, 9, 16, 24)
    assert torch.allclose((pixels[1, :, 2, 5, 6] + 1) * 127.5, torch.tensor(lessons.frames(1)[2, 5, 6]).float(), atol=1e-4)


def test_what_covers_a_patch_is_the_product() -> None:
    stills = (rendered.lesson("stills", number) for number in range(100))
    large = next(item for item in stills if item.truth["tags"]["angle.scale"] == "close_up")
    cover = rendered._cover_of(large)
    assert cover.shape == (1, 8, 12)
    assert cover.mean() / 255 == pytest.approx(_white_share(large), abs=0.06)
    assert cover.max() == 255
    assert cover.min() == 0


def test_a_folder_holds_lessons_of_one_seed(tmp_path: Path) -> None:
    rendered.render_lessons(tmp_path, "stills", 0, 0, seed=1)
    with pytest.raises(FootageError, match="holds lessons of seed 1, got 0: use --seed 1"):
        rendered.render_lessons(tmp_path, "stills", 0, 0)


def test_no_lessons_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds no stills_\*\.npy: render some first with `data-tools lessons"):
        Lessons(tmp_path, "stills")


def test_a_mirror_swaps_left_and_right() -> None:
    tags = {"light.direction": "side_left", "angle.movement": "pan_right", "angle.vertical": "low"}
    assert mirrored(tags) == {"light.direction": "side_right", "angle.movement": "pan_left", "angle.vertical": "low"}
    assert mirrored(mirrored(tags)) == tags


def test_a_name_in_front_nearly_always_stands_for_one_colour() -> None:
    names = {colour: {draw_name(colour, random.Random(seed)) for seed in range(400)} for colour in BODIES}
    assert max(len(found) for found in names.values()) == NAMES_A_COLOUR
    assert len(set().union(*names.values())) >= 0.95 * NAMES_A_COLOUR * len(BODIES)


@pytest.mark.parametrize(
    ("angle", "said", "left"),
    [
        ("low", "a jar on a pale grey plinth against a navy backdrop", "a jar on a navy backdrop"),
        ("overhead", "a jar lying on an amber surface", "a jar on an amber surface"),
        ("high", "a jar on a white plinth against a red backdrop", "a jar on a white plinth against a red backdrop"),
    ],
)
def test_angles_are_known_by_their_own_words(angle: str, said: str, left: str) -> None:
    drawn = [draw_support(said, {"angle.vertical": angle}, random.Random(seed)) for seed in range(200)]
    assert set(drawn) == {said, left}
    assert said == left or 60 < drawn.count(left) < 140


def test_captions_say_only_what_is_true() -> None:
    truth, chance = rendered.lesson("clips", 5).truth, random.Random(0)
    right = [phrase for axis, values in AXES_V1.items() for phrase in values[truth["tags"][axis]]]
    wrong = [phrase for axis, values in AXES_V1.items() for value, phrases in values.items() if truth["tags"][axis] != value
             for phrase in phrases if not any(phrase in said for said in right)]  # fmt: skip
    assert "the camera pans left" in wrong
    captions = [compose_caption(truth["content"], truth["tags"], chance) for _ in range(300)]
    for caption in captions:
        assert truth["content"] in caption
        assert not [phrase for phrase in wrong for end in (",", ".", " of ") if f" {phrase}{end}" in f" {caption.lower()}"]
    assert len(set(captions)) > 200
    assert any("lit from" in caption or "light" in caption for caption in captions)
