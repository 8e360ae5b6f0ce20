"""Walking through a file in order with PyAV: upright, square pixels, deinterlaced."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
import av.filter
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from lora_studio.errors import MediaError
from lora_studio.video.container import decode, one_size, open_video
from lora_studio.video.probe import UNSPECIFIED
from lora_studio.video.upright import lie_of, put_upright


def iterate_frames(
    path: Path, start_s: float | None = None, end_s: float | None = None, short_side: int | None = None, cube: Path | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Walks through a file in order with PyAV: upright, square pixels, deinterlaced.

    Args:
        path: any video file.
        start_s: time of the first frame wanted, on the file's own clock; None is the beginning.
        end_s: time to stop before; None is the end.
        short_side: frames with a longer short side are scaled down to it.
        cube: a .cube table that brings the file's colours to BT.709; applied to 16 bits a channel.

    Yields:
        (time on the file's own clock in seconds, frame (H, W, 3) uint8 RGB).

    Raises:
        MediaError: the file cannot be opened, decoding fails on the way, or the table is none.
    """
    with open_video(path) as (container, stream):
        base = Fraction(stream.time_base or Fraction(1, 25))
        if start_s is not None:
            container.seek(max(0, round(start_s / base)), stream=stream)
        table = None if cube is None else _Table(cube)
        scaler = VideoReformatter()  # one for all: a frame's own would be set up anew for each
        for frame in _deinterlace(one_size(decode(container, stream, path), path), stream):
            if frame.pts is None:
                raise MediaError(f"{path.name}: a frame without a time; wrap the stream anew at its frame rate")
            time_s = float(frame.pts * (frame.time_base or base))  # a filter may count in ticks of its own
            if start_s is not None and time_s < start_s - float(base) / 2:
                continue
            if end_s is not None and time_s > end_s - float(base) / 2:
                return
            yield time_s, _to_rgb(frame, stream, short_side, table, scaler)


def _deinterlace(frames: Iterator[VideoFrame], stream: Any) -> Iterator[VideoFrame]:
    first = next(frames, None)
    if first is None:
        return
    if not first.interlaced_frame:
        yield first
        yield from frames
        return
    graph = av.filter.Graph()
    weaver = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(graph.add_buffer(template=stream), weaver, graph.add("buffersink")).configure()
    yield from _filtered(graph, first)
    for frame in frames:
        yield from _filtered(graph, frame)
    yield from _filtered(graph, None)


def _filtered(graph: Any, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


class _Table:
    """A table of colours, applied by FFmpeg."""

    def __init__(self, cube: Path) -> None:
        self._cube, self._graph = cube, None

    def __call__(self, frame: VideoFrame) -> Any:
        """The frame, of 16 bits a channel, in the table's colours."""
        self._graph = self._graph or self._read(frame)
        frame.pts, frame.time_base = 0, Fraction(1, 1000)
        self._graph.push(frame)
        return self._graph.pull()

    def _read(self, frame: VideoFrame) -> Any:
        graph = av.filter.Graph()
        source = graph.add_buffer(None, frame.width, frame.height, frame.format, time_base=Fraction(1, 1000))
        try:
            look_up = graph.add("lut3d", interp="tetrahedral", file=str(self._cube))
        except av.error.FFmpegError as fault:
            log: Any = fault.log  # level, who, words
            said = log[2].strip() if log else fault.strerror
            raise MediaError(
                f"{self._cube.name}: not a .cube table that can be read ({said}): it needs LUT_3D_SIZE N and N x N x N lines of "
                "three numbers; mend it, or state something else in colour.toml"
            ) from None
        graph.link_nodes(source, look_up, graph.add("buffersink")).configure()
        return graph


def _to_rgb(frame: VideoFrame, stream: Any, short_side: int | None, table: _Table | None, scaler: VideoReformatter) -> np.ndarray:
    width, height = round(frame.width * (stream.sample_aspect_ratio or 1)), frame.height
    if short_side is not None and min(width, height) > short_side:
        scale = short_side / min(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    options: dict[str, Any] = {}
    if (width, height) != (frame.width, frame.height):
        options = {"width": width, "height": height, "interpolation": Interpolation.AREA | Interpolation.ACCURATE_RND}
    if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb and frame.height >= 720:
        options["src_colorspace"] = Colorspace.ITU709
    if table is None:
        pixels = scaler.reformat(frame, format="rgb24", **options).to_ndarray()
    else:
        pixels = table(scaler.reformat(frame, format="rgb48le", **options)).reformat(format="rgb24").to_ndarray()
    return np.ascontiguousarray(put_upright(pixels, lie_of(frame)))
