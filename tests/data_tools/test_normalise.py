"""A normalised shot keeps time: what was shown when is shown then."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from data_tools.normalise import at_constant_rate, normalise_shot
from lora_studio import video


def numbered(times: list[float]) -> list[tuple[float, np.ndarray]]:
    return [(time_s, np.full((4, 4, 3), index, np.uint8)) for index, time_s in enumerate(times)]


def test_a_constant_rate_passes_through():
    times = [3.0 + index / 24 for index in range(48)]
    shown = [int(frame[0, 0, 0]) for frame in at_constant_rate([*numbered(times), (5.0, None)], 3.0, Fraction(24))]
    assert shown == list(range(48))


def test_a_varying_rate_is_sampled_by_time():
    shown = [int(f[0, 0, 0]) for f in at_constant_rate([*numbered([0.0, 0.1, 0.5, 0.6]), (0.8, None)], 0.0, Fraction(10))]
    assert shown == [0, 1, 1, 1, 1, 2, 3, 3]


def test_bars_are_cut_and_sizes_even(tmp_path: Path):
    frames = [(index / 10, np.pad(np.full((61, 81, 3), 180, np.uint8), ((10, 10), (0, 0), (0, 0)))) for index in range(5)]
    normalise_shot([*frames, (0.5, None)], tmp_path / "shot.mp4", 0.0, Fraction(10), (11, 11, 0, 0))
    info = video.probe(tmp_path / "shot.mp4")
    assert (info.width, info.height, info.num_frames) == (80, 58, 5)
    assert video.read_frames(tmp_path / "shot.mp4", [0.0]).min() > 160
