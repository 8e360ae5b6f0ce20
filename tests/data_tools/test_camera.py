"""Camera moves are measured as they were drawn, and called unknown where a subject moves instead."""

import numpy as np
import pytest
from drawing import move, texture

from data_tools.camera import dutch_scores, measure_movement, measure_roll, track

FPS = 10


def measured(frames: np.ndarray):
    timed = [(index / FPS, frame) for index, frame in enumerate(frames)]
    return measure_movement(track(timed), track(timed[::6]))


def best(scores: dict[str, float]) -> str | None:
    return max(scores, key=lambda value: scores[value]) if scores else None


@pytest.mark.parametrize(
    ("drawn", "word", "measure", "rate"),
    [
        ({}, "static", "pan_percent_per_s", 0.0),
        ({"right": 10}, "pan_left", "pan_percent_per_s", 10.0),
        ({"right": -10}, "pan_right", "pan_percent_per_s", -10.0),
        ({"down": -8}, "tilt_down", "tilt_percent_per_s", -8.0),
        ({"down": 8}, "tilt_up", "tilt_percent_per_s", 8.0),
        ({"zoom": 12}, "dolly_in", "zoom_percent_per_s", 12.0),
        ({"zoom": -12}, "dolly_out", "zoom_percent_per_s", -12.0),
    ],
)
def test_moves_have_names_and_rates(drawn: dict[str, float], word: str, measure: str, rate: float):
    found = measured(move(texture(1), 16, fps=FPS, height=144, width=240, **drawn))
    assert best(found.scores) == word
    assert found.scores[word] > 0.6
    assert found.measures[measure] == pytest.approx(rate, abs=0.4)
    assert best(found.steadiness) == ("smooth" if drawn else "locked")


def test_a_roll_is_measured_and_has_no_name():
    found = measured(move(texture(1), 16, fps=FPS, height=144, width=240, turn=8))
    assert abs(found.measures["roll_degrees_per_s"]) == pytest.approx(8, abs=0.2)
    assert max(found.scores.values(), default=0) < 0.5


@pytest.mark.parametrize(("reach", "word"), [(1, "handheld"), (5, "shaky")])
def test_shaking_is_handheld_and_much_of_it_shaky(reach: int, word: str):
    wide = move(texture(2), 1, height=160, width=260)[0]
    steps = np.random.default_rng(0).integers(-reach, reach + 1, (24, 2))
    frames = np.stack([wide[8 + y : 152 + y, 10 + x : 250 + x] for y, x in steps])
    found = measured(frames)
    assert best(found.scores) == "handheld"
    assert best(found.steadiness) == word


def test_a_pan_from_the_hand_is_a_pan_and_handheld():
    wide = move(texture(2), 1, height=160, width=400)[0]
    steps = np.random.default_rng(0).integers(-1, 2, (24, 2))
    frames = np.stack([wide[8 + y : 152 + y, 2 + 5 * n + x : 242 + 5 * n + x] for n, (y, x) in enumerate(steps)])
    found = measured(frames)
    assert (best(found.scores), best(found.steadiness)) == ("pan_right", "handheld")


def test_a_subject_that_fills_the_frame_is_no_camera_move():
    first = move(texture(3), 16, fps=FPS, height=144, width=240)
    second = move(texture(4), 16, right=25, fps=FPS, height=144, width=240)
    frames = np.where(np.indices((144, 240))[0][..., None] % 48 < 24, first, second)
    assert measured(frames).scores == {}


def test_a_plain_wall_tells_nothing():
    assert measured(np.full((16, 96, 160, 3), 120, np.uint8)).scores == {}


def lines(degrees: float) -> np.ndarray:
    """A window frame turned clockwise by `degrees`."""
    import cv2

    picture = np.full((240, 320, 3), 230, np.uint8)
    for place in (60, 120, 180):
        cv2.rectangle(picture, (place, place - 30), (place + 90, place + 40), (20, 20, 20), 3)
    turn = cv2.getRotationMatrix2D((160, 120), -degrees, 1.0)
    return cv2.warpAffine(picture, turn, (320, 240), borderValue=(230, 230, 230))


@pytest.mark.parametrize("degrees", [-15, 0, 12])
def test_roll_is_read_from_edges(degrees: float):
    roll = measure_roll(lines(degrees))
    assert roll == pytest.approx(degrees, abs=1.0)
    assert best(dutch_scores([roll] * 5)) == ("no" if degrees == 0 else "yes")


def test_without_edges_roll_is_unknown():
    assert measure_roll(move(texture(5), 1)[0]) is None
    assert dutch_scores([None, None, None, 9.0, 9.0]) == {}
