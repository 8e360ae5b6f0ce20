"""A varying rate is written at the rate of its fast parts; what is nearly constant stays as it is."""

from fractions import Fraction

import pytest

from lora_studio.video.rate import steady_rate

BURST = [1 / 30] * 29


@pytest.mark.parametrize(
    ("gaps", "average", "rate"),
    [
        ([*BURST, 3.0] * 4, 120 / 15.9, 30),  # bursts and holds
        ([*BURST, 3.0] * 4 + [0.0005], 7.5, 30),  # a stray stamp
        ([*[1 / 60] * 20, *[1 / 10] * 100], 11.6, 60),  # a short burst in a slow recording
        ([1 / 144] * 300 + [5.0], 42.5, 60),  # a fast screen
        ([1 / 120] * 300 + [1 / 60] * 3, 118.8, 118.8),  # a fast camera that dropped some
        ([0.033, 0.033, 0.034] * 50 + [0.067], 29.8, 29.8),  # a phone that dropped one, by a clock of milliseconds
        ([0.0417] * 48 + [0.0834] * 8, 21.0, 24),  # one that dropped many
        ([0.5] * 10 + [4.0], 1.2, 2),  # a slide show
        ([0.0, 0.0], 25, 25),  # no clock at all
        ([], 25, 25),
    ],
)
def test_rates(gaps: list[float], average: float, rate: float):
    average_rate = Fraction(average).limit_denominator(10000)
    assert float(steady_rate(gaps, average_rate)) == pytest.approx(rate, rel=1e-3)
