"""Frames in, MP4 out: the only door to decord and PyAV. Knows containers, clocks and colour; knows no shot, tag or catalog.

Frames are uint8 RGB arrays (F, H, W, 3), upright, with square pixels. PyAV probes and walks through files of any origin
(it reads only what it needs, and says what it finds); decord gives random access to clips this project has written itself,
where it is exact. Where decord is missing or fails, PyAV gives the same pixels.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.filter
import av.logging
import cv2
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation

from lora_studio.errors import MediaError
from lora_studio.files import atomic_path

logger = logging.getLogger(__name__)

# Only plain media containers: a playlist in disguise could name other files or hosts.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mxf,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,dv,gxf,ivf,nut,obu"
)
_MAX_PIXELS = 8192 * 8192
_BT709 = 1  # the code of matrix, primaries and transfer in ISO/IEC 23091-2
_UNSPECIFIED = 2
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020_MATRICES = (9, 10)
_TICK_S = 1e-3  # clocks of containers are this coarse (Matroska counts milliseconds)


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its best video stream. `width` and `height` are upright and in square pixels."""

    container: str
    codec: str
    pixel_format: str
    bit_depth: int
    width: int
    height: int
    fps: Fraction
    num_frames: int  # packets found
    start_s: float  # time of the first frame on the file's own clock
    duration_s: float
    time_base: Fraction  # seconds per tick
    rotation: int  # degrees clockwise that were needed to stand upright
    is_interlaced: bool
    hdr: str  # "PQ", "HLG", "BT.2020" or ""
    warnings: tuple[str, ...]


def probe(path: Path) -> VideoInfo:
    """Reads a file's packets and decodes its first frame.

    Raises:
        MediaError: not a video, an unknown container, no video stream, or not one decodable frame.
    """
    with _open(path) as (container, stream):
        pts, num_packets = [], 0
        for packet in container.demux(stream):
            if packet.size and packet.stream is stream:
                num_packets += 1
                if packet.pts is not None:
                    pts.append(packet.pts)
        if num_packets and not pts:
            raise MediaError(f"{path.name}: a raw stream, which holds no times: wrap it in a container at its frame rate")
        container.seek(0)
        frame = next(iter(_decode(container, stream, path)), None)
        if frame is None:
            raise MediaError(f"{path.name}: no frame can be decoded")
        return _describe(container, stream, frame, sorted(pts), num_packets)


def _describe(container: Any, stream: Any, frame: VideoFrame, pts: list[int], num_packets: int) -> VideoInfo:
    context = stream.codec_context
    width, height = _upright_size(frame, stream)
    fps = Fraction(stream.average_rate or stream.guessed_rate or 25)
    base = Fraction(stream.time_base or 1 / fps)
    first = frame.pts if frame.pts is not None else 0
    step = float(1 / fps)
    duration = float((pts[-1] - first) * base) + step if pts else num_packets * step
    return VideoInfo(
        container=container.format.name, codec=context.codec.canonical_name, pixel_format=frame.format.name,
        bit_depth=frame.format.components[0].bits, width=width, height=height, fps=fps, num_frames=num_packets,
        start_s=float(first * base), duration_s=duration, time_base=base, rotation=-frame.rotation % 360,
        is_interlaced=frame.interlaced_frame, hdr=_hdr(context), warnings=_warnings(container, stream, frame, pts, num_packets),
    )  # fmt: skip


def _hdr(context: Any) -> str:
    if context.color_trc in _HDR_TRANSFERS:
        return _HDR_TRANSFERS[context.color_trc]
    return "BT.2020" if context.colorspace in _BT2020_MATRICES else ""


def _warnings(container: Any, stream: Any, frame: VideoFrame, pts: list[int], num_packets: int) -> tuple[str, ...]:
    found = []
    if stream.frames and num_packets < stream.frames:
        found.append(f"truncated: the header promises {stream.frames} frames, {num_packets} are there")
    elif lost_s := _lost_s(container, stream, pts):
        promised_s = container.duration / 1e6
        found.append(f"truncated: the header promises {promised_s:.1f} s, {promised_s - lost_s:.1f} s are there")
    if pts and stream.start_time is not None and pts[0] < stream.start_time:
        found.append("trimmed by an edit list")
    gaps = [float((b - a) * stream.time_base) for a, b in itertools.pairwise(pts)]
    if gaps and max(gaps) - min(gaps) > 2 * _TICK_S:
        found.append("variable frame rate")
    if len(_pictures(container)) > 1:
        found.append(f"{len(_pictures(container))} video streams; the largest picture is used")
    if stream.sample_aspect_ratio not in (None, 0, 1):
        found.append(f"pixels are not square ({stream.sample_aspect_ratio})")
    if frame.interlaced_frame:
        found.append("interlaced")
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb and len(frame.format.components) > 1:
        found.append(f"colour matrix not stated; {'BT.709' if frame.height >= 720 else 'BT.601'} assumed")
    return tuple(found)


def _lost_s(container: Any, stream: Any, pts: list[int]) -> float:
    """Seconds between the last picture and the end that the header promises; 0 where sound may merely go on for a little longer."""
    if not pts or not container.duration:
        return 0.0
    first = pts[0] if stream.start_time is None else stream.start_time
    lost_s = float(container.duration / 1e6 - (pts[-1] - first) * stream.time_base)
    return lost_s if lost_s > max(1.0, 0.1 * container.duration / 1e6) else 0.0


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


def iterate_frames(
    path: Path, start_s: float | None = None, end_s: float | None = None, short_side: int | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Walks through a file in order with PyAV: upright, square pixels, deinterlaced.

    Args:
        path: any video file.
        start_s: time of the first frame wanted, on the file's own clock; None is the beginning.
        end_s: time to stop before; None is the end.
        short_side: frames with a longer short side are scaled down to it.

    Yields:
        (time on the file's own clock in seconds, frame (H, W, 3) uint8 RGB).

    Raises:
        MediaError: the file cannot be opened, or decoding fails on the way.
    """
    with _open(path) as (container, stream):
        base = Fraction(stream.time_base or Fraction(1, 25))
        if start_s is not None:
            container.seek(max(0, round(start_s / base)), stream=stream)
        for frame in _deinterlace(_one_size(_decode(container, stream, path), path), stream):
            if frame.pts is None:
                raise MediaError(f"{path.name}: a frame without a time; wrap the stream anew at its frame rate")
            time_s = float(frame.pts * (frame.time_base or base))  # a filter may count in ticks of its own
            if start_s is not None and time_s < start_s - float(base) / 2:
                continue
            if end_s is not None and time_s > end_s - float(base) / 2:
                return
            yield time_s, _to_rgb(frame, stream, short_side)


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name}: the file is empty")
    try:
        container = av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": _FORMATS})
    except av.error.FFmpegError as fault:
        raise MediaError(f"{path.name}: {_no_video(path) or 'not a video that can be read'} ({_reason(fault)})") from None
    with container:
        stream: Any = max(_pictures(container), key=lambda one: one.width * one.height, default=None)  # the first of the largest
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


def _pictures(container: Any) -> list[Any]:
    """The video streams that move: cover art is none."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _decode(container: Any, stream: Any, path: Path) -> Iterator[VideoFrame]:
    last_s = 0.0
    try:
        for frame in container.decode(stream):
            last_s = frame.time if frame.time is not None else last_s
            if frame.is_corrupt:
                raise MediaError(f"{path.name}: damaged, the picture at {last_s:.2f} s is not whole")
            yield frame
    except av.error.FFmpegError as fault:
        raise MediaError(f"{path.name}: damaged, decoding fails after {last_s:.2f} s ({_reason(fault)})") from None


def _one_size(frames: Iterator[VideoFrame], path: Path) -> Iterator[VideoFrame]:
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


def _upright_size(frame: VideoFrame, stream: Any) -> tuple[int, int]:
    width, height = round(frame.width * (stream.sample_aspect_ratio or 1)), frame.height
    return (height, width) if frame.rotation % 180 else (width, height)


def _to_rgb(frame: VideoFrame, stream: Any, short_side: int | None) -> np.ndarray:
    width, height = round(frame.width * (stream.sample_aspect_ratio or 1)), frame.height
    if short_side is not None and min(width, height) > short_side:
        scale = short_side / min(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    options: dict[str, Any] = {}
    if (width, height) != (frame.width, frame.height):
        options = {"width": width, "height": height, "interpolation": Interpolation.AREA | Interpolation.ACCURATE_RND}
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb and frame.height >= 720:
        options["src_colorspace"] = Colorspace.ITU709
    pixels = frame.reformat(format="rgb24", **options).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


def read_frames(path: Path, times_s: Sequence[float]) -> np.ndarray:
    """The frame shown at each time, by decord where it can, else by PyAV.

    Args:
        path: a clip written by `write_video` (decord is exact on those; walk foreign files with `iterate_frames`).
        times_s: seconds from the clip's first frame, in any order.

    Returns:
        (F, H, W, 3) uint8.

    Raises:
        MediaError: the file cannot be decoded, or a time lies outside it.
    """
    if len(times_s) == 0:
        raise MediaError(f"{path.name}: no times were asked for")
    if min(times_s) < 0:
        raise MediaError(f"{path.name}: times count from the first frame, got {min(times_s):g} s")
    try:
        return _read_decord(path, times_s)
    except ImportError:
        return _read_pyav(path, times_s)


def _read_decord(path: Path, times_s: Sequence[float]) -> np.ndarray:
    import decord  # opened where it is used: a reader must not cross threads or forks

    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        spans = np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64)  # (frames, 2) start, end
        picked = _pick(spans[:, 0], float(spans[-1, 1]), times_s, path)
        frames = reader.get_batch(picked).asnumpy()
        reader.seek(0)  # else its thread goes on decoding ahead without limit
    except (decord.DECORDError, RuntimeError) as fault:
        logger.warning("%s: decord cannot read it (%s); PyAV does", path.name, str(fault).splitlines()[0][:120])
        return _read_pyav(path, times_s)
    return frames


def _read_pyav(path: Path, times_s: Sequence[float]) -> np.ndarray:
    last_wanted = max(times_s) + _TICK_S
    starts, frames = [], []
    first_s: float | None = None
    for time_s, frame in iterate_frames(path):
        first_s = time_s if first_s is None else first_s
        if time_s - first_s > last_wanted:
            break
        starts.append(time_s - first_s)
        frames.append(frame)
    if not frames:
        raise MediaError(f"{path.name}: no frame can be decoded")
    step = starts[-1] - starts[-2] if len(starts) > 1 else max(times_s) + 1
    return np.stack([frames[i] for i in _pick(np.asarray(starts), starts[-1] + step, times_s, path)])


def _pick(starts: np.ndarray, end_s: float, times_s: Sequence[float], path: Path) -> list[int]:
    if max(times_s) > end_s + _TICK_S:
        raise MediaError(f"{path.name}: it ends at {end_s:.3f} s, a frame at {max(times_s):.3f} s was asked for")
    picked = np.searchsorted(starts, np.asarray(times_s, dtype=np.float64) + _TICK_S, side="right") - 1
    return np.clip(picked, 0, len(starts) - 1).tolist()


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
            _encode(container, stream, first, path)
            for frame in remaining:
                _encode(container, stream, frame, path)
            container.mux(stream.encode(None))


def exact_rate(fps: Fraction | float) -> Fraction:
    """The rate a rounded figure stands for: 29.97 is 30000/1001, 12.0 is 12."""
    ntsc = round(fps * 1.001)
    if isinstance(fps, float) and fps != round(fps) and abs(fps - ntsc / 1.001) < 2e-3:
        return Fraction(ntsc * 1000, 1001)
    return Fraction(fps).limit_denominator(1001)


def _add_stream(container: Any, rate: Fraction, width: int, height: int, crf: int, gop: int) -> Any:
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast", "threads": "1"})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.gop_size, context.max_b_frames = gop, 0  # without B-frames no reader needs an edit list
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = 1  # limited, 16..235
    return stream


def _encode(container: Any, stream: Any, pixels: np.ndarray, path: Path) -> None:
    if pixels.shape != (stream.height, stream.width, 3) or pixels.dtype != np.uint8:
        wanted = f"({stream.height}, {stream.width}, 3) uint8"
        raise MediaError(f"{path.name}: every frame must be {wanted}, got {pixels.shape} {pixels.dtype}")
    rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = rgb.reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=1,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
    )  # fmt: skip
    frame.pts = None
    container.mux(stream.encode(frame))


def resize_crop(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fits the frames over the wanted size, with antialiasing, and crops the middle.

    Args:
        frames: (F, H, W, 3) uint8.
        height: wanted height in pixels.
        width: wanted width in pixels.

    Returns:
        (F, height, width, 3) uint8.
    """
    old_height, old_width = frames.shape[1:3]
    scale = max(height / old_height, width / old_width)
    new_height, new_width = max(height, round(old_height * scale)), max(width, round(old_width * scale))
    top, left = (new_height - height) // 2, (new_width - width) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        resized[index] = cv2.resize(frame, (new_width, new_height), interpolation=method)[top : top + height, left : left + width]
    return resized


def sample_times(start_s: float, num_frames: int, fps: float) -> list[float]:
    """The times of `num_frames` frames at `fps`, from `start_s` on."""
    return [start_s + index / fps for index in range(num_frames)]
