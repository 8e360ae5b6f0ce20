"""Held-out losses: the same questions every time, compared clip by clip, with the shot as the unit of evidence."""

import numpy as np
import pytest

from lora_studio.training.validation import MAX_CLIPS, Validation, chosen_rows, compare


def made(values: list[float], shots: list[str]) -> Validation:
    return Validation(tuple(values), (0.0,), tuple(shots))


def test_the_mean_is_over_shots():
    result = made([1.0, 3.0, 10.0], ["a", "a", "b"])
    assert result.mean == 6.0
    assert result.standard_error == pytest.approx(np.std([2.0, 10.0], ddof=1) / np.sqrt(2))
    assert made([1.0, 2.0], ["a", "a"]).standard_error is None


def test_what_clips_have_in_common_cancels_out():
    before = made([1.0, 5.0, 9.0], ["a", "b", "c"])
    after = made([0.9, 4.8, 8.9], ["a", "b", "c"])
    change = compare(before, after)
    assert change.mean == pytest.approx(-0.4 / 3)
    assert change.low is not None
    assert change.high is not None
    assert change.high - change.mean == pytest.approx(4.3027 * np.std([0.1, 0.2, 0.1], ddof=1) / np.sqrt(3), rel=1e-4)
    assert change.low + change.high == pytest.approx(2 * change.mean)
    assert compare(made([1.0], ["a"]), made([0.5], ["a"])).low is None


def test_many_clips_are_asked_evenly():
    assert chosen_rows(5) == [0, 1, 2, 3, 4]
    assert len(set(chosen_rows(1000))) == MAX_CLIPS
    assert np.ptp(np.diff(chosen_rows(1000))) <= 1
