"""Opening a file of unknown origin with PyAV, and decoding it: what is refused, what is damage, what FFmpeg complains of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
from av.stream import Disposition
from av.video.frame import VideoFrame

from lora_studio.errors import MediaError

# Only plain media containers: a playlist in disguise could name other files or hosts.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mxf,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,dv,gxf,ivf,nut,obu"
)
_MAX_PIXELS = 8192 * 8192


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Opens a file: PyAV's container, and the video stream with the largest picture (the first one of these).

    Raises:
        MediaError: not a video, an unknown container, no video stream, no decoder for it, or a picture too large.
    """
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name}: the file is empty")
    try:
        container = av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": _FORMATS})
    except av.error.FFmpegError as fault:
        raise MediaError(f"{path.name}: {_no_video(path) or 'not a video that can be read'} ({_reason(fault)})") from None
    with container:
        stream: Any = max(pictures(container), key=lambda one: one.width * one.height, default=None)  # the first of the largest
        if stream is None:
            raise MediaError(f"{path.name}: there is no video stream in it")
        if stream.codec_context is None:
            raise MediaError(f"{path.name}: there is no decoder for its video stream")
        if stream.width * stream.height > _MAX_PIXELS:
            raise MediaError(f"{path.name}: {stream.width}x{stream.height} is larger than this tool takes in (8192x8192)")
        stream.thread_type = "AUTO"
        yield container, stream


def _no_video(path: Path) -> str | None:
    with path.open("rb") as file:
        is_mp4 = file.read(8)[4:] == b"ftyp"
    return "its index is not there: the recording was never closed, or the copy broke off" if is_mp4 else None


def pictures(container: Any) -> list[Any]:
    """The video streams that move: cover art is none."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def whole_packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream from where the container stands, but for a last one that breaks off, as where a copy stopped.

    `probe` tells that it is not there. One that breaks off on the way is given on: decoding it tells of damage.
    """
    broken = None
    for packet in container.demux(stream):
        is_end = packet.size == 0 and packet.dts is None
        if broken is not None and not is_end:
            yield broken
        broken = packet if packet.is_corrupt else None
        if broken is None:
            yield packet


def decode(container: Any, stream: Any, path: Path) -> Iterator[VideoFrame]:
    """All frames from where the container stands.

    Raises:
        MediaError: damage; the message says at which second.
    """
    last_s = 0.0
    try:
        for frame in (frame for packet in whole_packets(container, stream) for frame in packet.decode()):
            last_s = frame.time if frame.time is not None else last_s
            if frame.is_corrupt:
                raise MediaError(f"{path.name}: damaged, the picture at {last_s:.2f} s is not whole")
            yield frame
    except av.error.FFmpegError as fault:
        raise MediaError(f"{path.name}: damaged, decoding fails after {last_s:.2f} s ({_reason(fault)})") from None


def one_size(frames: Iterator[VideoFrame], path: Path) -> Iterator[VideoFrame]:
    """The frames as they come.

    Raises:
        MediaError: the picture changes its size on the way.
    """
    size = None
    for frame in frames:
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            raise MediaError(
                f"{path.name}: the picture changes its size from {size[0]}x{size[1]} to {frame.width}x{frame.height} "
                f"after {frame.time or 0.0:.2f} s; export the parts as files of their own"
            )
        yield frame


def _reason(fault: av.error.FFmpegError) -> str:
    return (fault.strerror or type(fault).__name__).lower()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collects what FFmpeg says while the block runs: warnings of decoders, and errors of all else, in the order they came.

    A decoder that paints over damage often says so here and nowhere else. Counts for the whole process: for a child that reads
    one file.
    """
    heard: list[str] = []
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as log:
            yield heard
        heard += [text.strip() for level, name, text in log if name in av.codecs_available or level <= av.logging.ERROR]
    finally:
        av.logging.set_level(before)
