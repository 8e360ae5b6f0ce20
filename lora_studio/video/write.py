"""Writing H.264 that every reader shows alike."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from lora_studio.errors import MediaError
from lora_studio.files import atomic_path

_BT709 = 1  # the code of matrix, primaries and transfer in ISO/IEC 23091-2


def write_video(path: Path, frames: np.ndarray | Iterable[np.ndarray], fps: Fraction | float, crf: int = 16, gop: int = 12) -> None:
    """Writes H.264 (yuv420p, BT.709 converted and tagged), without audio or metadata; whole or not at all.

    Args:
        path: an .mp4 file to make or replace.
        frames: (F, H, W, 3) uint8 RGB, or frames (H, W, 3) one by one; H and W even.
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        gop: frames from one key frame to the next.

    Raises:
        MediaError: there are no frames, or their size is odd or changes.
    """
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise MediaError(f"{path.name}: there are no frames to write")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise MediaError(f"{path.name}: width and height must be even, got {width}x{height}")
    rate = exact_rate(fps)
    with atomic_path(path) as temporary:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            stream = _add_stream(container, rate, width, height, crf, gop)
            scaler = VideoReformatter()  # one for all: a frame's own would be set up anew for each
            for frame in chain([first], remaining):
                _encode(container, stream, scaler, frame, path)
            container.mux(stream.encode(None))


def exact_rate(fps: Fraction | float) -> Fraction:
    """The rate a rounded figure stands for: 29.97 is 30000/1001, 12.0 is 12."""
    ntsc = round(fps * 1.001)
    if isinstance(fps, float) and fps != round(fps) and abs(fps - ntsc / 1.001) < 2e-3:
        return Fraction(ntsc * 1000, 1001)
    return Fraction(fps).limit_denominator(1001)


def _add_stream(container: Any, rate: Fraction, width: int, height: int, crf: int, gop: int) -> Any:
    # no macroblock tree: it is not the same in every run; with qcomp 1 still pictures stay still without it
    options = {"crf": str(crf), "preset": "superfast", "threads": "1", "x264-params": "mbtree=0:qcomp=1"}
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.gop_size, context.max_b_frames = gop, 0  # without B-frames no reader needs an edit list
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = 1  # limited, 16..235
    return stream


def _encode(container: Any, stream: Any, scaler: VideoReformatter, pixels: np.ndarray, path: Path) -> None:
    if pixels.shape != (stream.height, stream.width, 3) or pixels.dtype != np.uint8:
        wanted = f"({stream.height}, {stream.width}, 3) uint8"
        raise MediaError(f"{path.name}: every frame must be {wanted}, got {pixels.shape} {pixels.dtype}")
    rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = scaler.reformat(
        rgb, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=1,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
    )  # fmt: skip
    frame.pts = None
    container.mux(stream.encode(frame))
