"""Flags: each fault is told where it is drawn, and not where it is not."""

import cv2
import numpy as np
import pytest
from drawing import move, texture

from data_tools.faults import measure_faults


def moving(right: float = -6, number: int = 40) -> np.ndarray:
    """A picture that moves over (F, 270, 480, 3)."""
    return np.stack([cv2.resize(frame, (480, 270)) for frame in move(texture(5), number, right=right)])


def with_words(frames: np.ndarray, words: str, place: tuple[int, int], size: float, opacity: float = 1.0) -> np.ndarray:
    """The frames with white words over them."""
    written = frames.copy()
    for frame in written:
        ink = cv2.putText(frame.copy(), words, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), max(1, round(2 * size)))
        frame[:] = cv2.addWeighted(ink, opacity, frame, 1 - opacity, 0)
    return written


def faults(frames: np.ndarray, short_side: int = 480) -> dict[str, float]:
    last = len(frames) - 1
    return measure_faults(list(frames), [frames[round(place * last)] for place in (0.1, 0.5, 0.9)], short_side)


def test_a_plain_moving_picture_has_none_but_softness():
    found = faults(moving())
    assert {name for name, score in found.items() if score >= 0.5} <= {"blurred"}
    assert found["overlay"] == 0


@pytest.mark.parametrize(("words", "place", "size", "opacity"), [
    ("STOCK FOOTAGE", (300, 250), 0.7, 1.0), ("01:02:03:04", (20, 40), 0.7, 1.0), ("ACME", (400, 30), 0.8, 0.6),
])  # fmt: skip
def test_what_lies_over_a_moving_picture_is_an_overlay(words: str, place: tuple[int, int], size: float, opacity: float):
    assert faults(with_words(moving(), words, place, size, opacity))["overlay"] > 0.5


def test_a_still_picture_tells_nothing_of_overlays():
    assert faults(with_words(moving(0), "STOCK FOOTAGE", (300, 250), 0.7))["overlay"] == 0


def test_a_line_along_the_movement_is_no_overlay():
    frames = moving()
    frames[:, 240:246] = 255  # a floor line in a pan
    assert faults(frames)["overlay"] < 0.1


def test_a_card_full_of_words_is_text_and_a_stripe_or_a_label_is_not():
    card = np.full((10, 270, 480, 3), 30, np.uint8)
    for row, words in enumerate(("THE NEW ORIGINAL", "made of oats and time", "from the first of May")):
        card = with_words(card, words, (40, 80 + 60 * row), 1.0)
    assert faults(card)["text"] > 0.8
    striped = np.full((10, 270, 480, 3), 30, np.uint8)
    striped[:, ::20] = 220
    assert faults(striped)["text"] < 0.2
    label = np.full((10, 270, 480, 3), 120, np.uint8)
    label[:, 60:230, 180:300] = (180, 40, 40)
    assert faults(with_words(label, "ACME", (195, 150), 1.0))["text"] < 0.5


def test_small_pictures_are_tiny():
    assert [faults(moving(), side)["tiny"] > 0.5 for side in (120, 200, 270, 480)] == [True, True, False, False]
