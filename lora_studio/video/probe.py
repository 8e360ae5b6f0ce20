"""What a file says of itself, from its packets and one decoded frame."""

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from av.video.frame import VideoFrame

from lora_studio.errors import MediaError
from lora_studio.video.container import decode, open_video, pictures, whole_packets
from lora_studio.video.rate import steady_rate
from lora_studio.video.upright import is_mirrored, is_turned, lie_of, turn_of

UNSPECIFIED: Final = 2  # the code of a matrix that is not stated in ISO/IEC 23091-2
VARIABLE: Final = "variable frame rate"
MIRRORED: Final = "mirrored, as its display matrix says"
TICK_S: Final = 1e-3  # clocks of containers are this coarse (Matroska counts milliseconds)
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020_MATRICES = (9, 10)


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its best video stream. `width` and `height` are upright and in square pixels."""

    container: str
    codec: str
    pixel_format: str
    bit_depth: int
    width: int
    height: int
    fps: Fraction  # on average
    rate: Fraction  # constant, at which each frame has a place of its own: faster than `fps` where that varies
    num_frames: int  # packets found
    start_s: float  # time of the first frame on the file's own clock
    duration_s: float
    time_base: Fraction  # seconds per tick
    rotation: int  # degrees clockwise that were needed to stand upright; of a mirrored picture, after left and right were exchanged
    is_interlaced: bool
    hdr: str  # "PQ", "HLG", "BT.2020" or ""
    warnings: tuple[str, ...]


def probe(path: Path) -> VideoInfo:
    """Reads a file's packets and decodes its first frame.

    Raises:
        MediaError: not a video, an unknown container, no video stream, or not one decodable frame.
    """
    with open_video(path) as (container, stream):
        pts, num_packets = [], 0
        for packet in whole_packets(container, stream):
            if packet.size and packet.stream is stream:
                num_packets += 1
                if packet.pts is not None:
                    pts.append(packet.pts)
        if num_packets and not pts:
            raise MediaError(f"{path.name}: a raw stream, which holds no times: wrap it in a container at its frame rate")
        container.seek(0)
        frame = next(iter(decode(container, stream, path)), None)
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
    gaps = [float((b - a) * base) for a, b in itertools.pairwise(pts)]
    varies = bool(gaps) and max(gaps) - min(gaps) > 2 * TICK_S
    duration = float((pts[-1] - first) * base) + step if pts else num_packets * step
    return VideoInfo(
        container=container.format.name, codec=context.codec.canonical_name, pixel_format=frame.format.name,
        bit_depth=frame.format.components[0].bits, width=width, height=height, fps=fps,
        rate=steady_rate(gaps, fps) if varies else fps, num_frames=num_packets,
        start_s=float(first * base), duration_s=duration, time_base=base, rotation=turn_of(lie_of(frame)),
        is_interlaced=frame.interlaced_frame, hdr=_hdr(context),
        warnings=_warnings(container, stream, frame, pts, num_packets, varies=varies),
    )  # fmt: skip


def _hdr(context: Any) -> str:
    if context.color_trc in _HDR_TRANSFERS:
        return _HDR_TRANSFERS[context.color_trc]
    return "BT.2020" if context.colorspace in _BT2020_MATRICES else ""


def _warnings(container: Any, stream: Any, frame: VideoFrame, pts: list[int], num_packets: int, *, varies: bool) -> tuple[str, ...]:
    found = []
    if stream.frames and num_packets < stream.frames:
        found.append(f"truncated: the header promises {stream.frames} frames, {num_packets} are there")
    elif lost_s := _lost_s(container, stream, pts):
        promised_s = container.duration / 1e6
        found.append(f"truncated: the header promises {promised_s:.1f} s, {promised_s - lost_s:.1f} s are there")
    if pts and stream.start_time is not None and pts[0] < stream.start_time:
        found.append("trimmed by an edit list")
    if varies:
        found.append(VARIABLE)
    if len(pictures(container)) > 1:
        found.append(f"{len(pictures(container))} video streams; the largest picture is used")
    if stream.sample_aspect_ratio not in (None, 0, 1):
        found.append(f"pixels are not square ({stream.sample_aspect_ratio})")
    if is_mirrored(lie_of(frame)):
        found.append(MIRRORED)
    if frame.interlaced_frame:
        found.append("interlaced")
    if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb and len(frame.format.components) > 1:
        found.append(f"colour matrix not stated; {'BT.709' if frame.height >= 720 else 'BT.601'} assumed")
    return tuple(found)


def _lost_s(container: Any, stream: Any, pts: list[int]) -> float:
    """Seconds between the last picture and the end that the header promises; 0 where sound may merely go on for a little longer."""
    if not pts or not container.duration:
        return 0.0
    first = pts[0] if stream.start_time is None else stream.start_time
    lost_s = float(container.duration / 1e6 - (pts[-1] - first) * stream.time_base)
    return lost_s if lost_s > max(1.0, 0.1 * container.duration / 1e6) else 0.0


def _upright_size(frame: VideoFrame, stream: Any) -> tuple[int, int]:
    width, height = round(frame.width * (stream.sample_aspect_ratio or 1)), frame.height
    return (height, width) if is_turned(lie_of(frame)) else (width, height)
