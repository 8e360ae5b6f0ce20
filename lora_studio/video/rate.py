"""At which constant rate a recording of varying rate is written so that nothing of it is lost. Knows times; opens no file."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np

VERSION: Final = 1  # raise it when another rate would be told
_FASTEST: Final = 60  # frames per second that a varying rate is written at, unless even its average is faster
_SHARE: Final = 0.05  # of all frames are shorter than the interval that counts: stray stamps must not decide
_ALIKE: Final = 0.1  # intervals that differ by less from that one are the same, stamped carelessly
_NEAR: Final = 0.02  # a rate is the average, or one in common use, when it is as near to it
_COMMON: Final = tuple(Fraction(rate) for rate in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60))


def steady_rate(gaps_s: Sequence[float], average: Fraction) -> Fraction:
    """The rate of the fast parts: each frame of them finds a place of its own, at most half an interval from its time.

    A screen recording comes in bursts, and holds one frame for seconds between them: its average is the rate of neither.

    Args:
        gaps_s: seconds from each frame to the next.
        average: frames per second of the whole, told where the fast parts are hardly faster: a few dropped frames change nothing.
    """
    gaps = np.sort([gap for gap in gaps_s if gap > 0])
    if not len(gaps):
        return average
    short = gaps[int(_SHARE * len(gaps))]
    alike = gaps[np.abs(gaps - short) <= _ALIKE * short]
    rate = min(1 / float(alike.mean()), max(_FASTEST, float(average)))
    if rate <= average * (1 + _NEAR):
        return average
    common = min(_COMMON, key=lambda one: abs(one - rate))
    return common if abs(common / rate - 1) < _NEAR else Fraction(rate).limit_denominator(1001)
