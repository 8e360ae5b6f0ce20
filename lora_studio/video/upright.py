"""How a picture lies in a file, and how it is put upright: quarter turns and mirrorings, as the display matrix says.

The matrix (ISO/IEC 14496-12, 6.2.2) takes a pixel at (x, y) of what was coded to (a x + c y, b x + d y) of what is shown. PyAV's
`frame.rotation` keeps the angle alone: of a mirrored picture it is another picture's angle.
"""

from typing import Any, Final

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Lie = tuple[int, int, int, int]  # a, b, c, d

_STRAIGHT: Final = (1, 0, 0, 1)


def lie_of(frame: VideoFrame) -> Lie:
    """What a frame's display matrix says, without its scale; (1, 0, 0, 1) where there is none."""
    stored: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if stored is None:
        return _STRAIGHT
    a, b, _, c, d = np.frombuffer(bytes(stored), np.int32)[:5].tolist()
    return a, b, c, d


def is_turned(lie: Lie) -> bool:
    """Whether rows are shown as columns; an angle between quarter turns counts as the nearest one."""
    a, b, _, _ = lie
    return abs(b) > abs(a)


def is_mirrored(lie: Lie) -> bool:
    """Whether left and right are exchanged, whatever the turn."""
    a, b, c, d = lie
    return a * d - b * c < 0


def turn_of(lie: Lie) -> int:
    """Degrees clockwise, 0 to 270, that put the picture upright; of a mirrored one, after left and right were exchanged."""
    a, b, _, _ = lie
    sign = -1 if is_mirrored(lie) else 1  # exchanging x and -x takes a and b to -a and -b
    if is_turned(lie):
        return 90 if sign * b > 0 else 270
    return 0 if sign * a >= 0 else 180


def put_upright(pixels: np.ndarray, lie: Lie) -> np.ndarray:
    """The picture as it is shown.

    Args:
        pixels: (H, W, 3) as coded.
        lie: of its frame.

    Returns:
        (H, W, 3) or (W, H, 3), a view.
    """
    a, b, c, d = lie
    down, right = (b, c) if is_turned(lie) else (d, a)
    shown = pixels.swapaxes(0, 1) if is_turned(lie) else pixels
    return shown[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
