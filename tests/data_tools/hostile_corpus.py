"""The corpus: every kind of file that must be taken in rightly, or set aside with a reason that an editor understands."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from hostile import FPS, Case, Film, Shown, at_rate, cut_to, hum, lose_index, numbered, patched, recorded, scratched, spoil, turned

VFR_S = np.cumsum([0] + [33, 50, 100, 33, 67] * 10)[:48] / 1000
BURSTS_S = np.cumsum([0] + ([20] * 14 + [1200]) * 3 + [20]) / 600  # 30 frames a second, and two seconds held


def _shown_at(times: np.ndarray) -> Shown:
    return lambda time_s: int(np.searchsorted(times, time_s + 0.0005, side="right")) - 1


def _black(_number: int, height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def _boxed(number: int, height: int, width: int) -> np.ndarray:
    frame = np.zeros((height, width, 3), np.uint8)
    frame[height // 8 : -height // 8] = numbered(number, height - 2 * (height // 8), width)
    return frame


def _two_streams(path: Path) -> None:
    with av.open(str(path), "w") as container:
        films = Film(height=48, width=80, numbers=[200] * 48), Film()
        streams = [film.add_to(container) for film in films]
        for film, stream in zip(films, streams, strict=True):
            film.fill(container, stream)


def _cover_first(path: Path) -> None:
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 320, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = VideoFrame.from_ndarray(np.full((320, 320, 3), 200, np.uint8), format="rgb24").reformat(format="yuvj420p")
        stream = Film().add_to(container)
        container.mux(cover.encode(frame) + cover.encode(None))
        Film().fill(container, stream)


def _sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        hum(container, container.add_stream("aac", rate=48000))


def _still(path: Path) -> None:
    content = io.BytesIO()
    with av.open(content, "w", format="mjpeg") as container:
        film = Film(codec="mjpeg", pix_fmt="yuvj420p", numbers=[3], colour=None, full_range=True)
        film.fill(container, film.add_to(container))
    path.write_bytes(content.getvalue())


def _size_changes(path: Path) -> None:
    parts = []
    for number, (height, width) in enumerate(((96, 160), (144, 240))):
        film = Film(
            height=height,
            width=width,
            numbers=range(24 * number, 24 * number + 24),
            format="mpegts",
            times=lambda index, first=24 * number: first + index,
        )
        film.write(path)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))


def _joined(film: Film) -> Callable[[Path], None]:
    """Two recordings, one after the other in one file, each with a clock that begins anew."""

    def write(path: Path) -> None:
        parts = []
        for first in (10, 110):
            replace(film, numbers=range(first, first + 48)).write(path)
            parts.append(path.read_bytes())
        path.write_bytes(b"".join(parts))

    return write


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("gone.mp4"))


HLG, PQ = (9, 9, 18), (9, 9, 16)
HEVC = Film("libx265", options={"x265-params": "log-level=none"})
LONG = Film(numbers=range(120), container={"movflags": "+faststart"})
PAL: dict[str, Any] = {"shown": at_rate(25), "seconds": 48 / 25}
MPEG2 = Film("mpeg2video", "yuv422p", options={"b": "20M"}, fps=Fraction(25))


def _after_the_gap(time_s: float) -> int:
    frame = int(time_s * 24 + 1e-6)
    return frame if time_s < 1 else max(23, frame - 72)


def _refused(make: Callable[[Path], Any], words: str) -> Case:
    return Case(make, "quarantined", words)


def _text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(content, encoding="utf-8")


CORPUS: dict[str, Case] = {
    # what cameras, phones and editing rooms write
    "h264.mp4": Case(Film().write),
    "b_frames.mov": Case(Film(b_frames=3).write),
    "one_key_frame.mkv": Case(Film(gop=600).write),
    "with_sound.mp4": Case(Film(sound=True).write),
    "Ünï cödé [take 1] #3 'q' 100%.mp4": Case(Film(numbers=range(100, 148)).write, shown=at_rate(FPS, 100)),
    "UPPER.MP4": Case(Film(numbers=range(50, 98)).write, shown=at_rate(FPS, 50)),
    "one_frame.mp4": Case(Film(numbers=[7]).write, shown=at_rate(0, 7), seconds=1 / 24),
    "prores_422_hq.mov": Case(Film("prores_ks", "yuv422p10le", options={"profile": "3"}).write),
    "prores_4444_alpha.mov": Case(Film("prores_ks", "yuva444p10le", options={"profile": "4"}).write),
    "dnxhr_hqx.mxf": Case(
        Film("dnxhd", "yuv422p10le", options={"profile": "dnxhr_hqx"}, height=144, width=256).write, size=(256, 144)
    ),
    "xdcam.mxf": Case(MPEG2.write, **PAL),
    "mpeg2.mpg": Case(replace(MPEG2, pix_fmt="yuv420p", options={"b": "8M"}, format="mpeg").write, **PAL),
    "hevc_8.mp4": Case(HEVC.write),
    "hevc_10.mov": Case(replace(HEVC, pix_fmt="yuv420p10le").write),
    "h264_444.mov": Case(Film(pix_fmt="yuv444p").write),
    "h264_422_10.mov": Case(Film(pix_fmt="yuv422p10le").write),
    "grey.mkv": Case(Film("ffv1", "gray", colour=None).write, near=255.0),
    "ffv1_rgb.mkv": Case(Film("ffv1", "bgr0", colour=None).write),
    "vp9.webm": Case(Film("libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}).write),
    "av1.mkv": Case(Film("libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"}).write),
    "mjpeg_odd.avi": Case(Film("mjpeg", "yuvj420p", height=181, width=321, colour=None, full_range=True).write, size=(320, 180)),
    "mpeg4.avi": Case(Film("mpeg4", options={"b": "4M"}, colour=None).write, words="colour matrix not stated"),
    "cineform.mov": Case(Film("cfhd", "yuv422p10le", colour=None).write, words="colour matrix not stated"),
    "loop.gif": Case(Film("gif", "rgb8", colour=None, fps=Fraction(20)).write, shown=at_rate(20), seconds=48 / 20, near=40.0),
    "full_range.mp4": Case(Film(full_range=True).write),
    "bt601.mp4": Case(Film(colour=(6, 6, 6)).write),
    "untagged.mp4": Case(Film(colour=None).write, words="colour matrix not stated; BT.601 assumed"),
    "untagged_720.mp4": Case(
        Film(colour=None, height=720, width=1280, numbers=range(12)).write,
        words="colour matrix not stated; BT.709 assumed",
        seconds=0.5,
        size=(852, 480),
    ),
    "hlg.mov": Case(replace(HEVC, pix_fmt="yuv420p10le", colour=HLG, paint=recorded("hlg")).write, near=12.0),
    "pq.mov": Case(replace(HEVC, pix_fmt="yuv420p10le", colour=PQ, paint=recorded("pq")).write, near=12.0),
    "bt2020.mov": Case(replace(HEVC, pix_fmt="yuv420p10le", colour=(9, 9, 14), paint=recorded("bt2020")).write, near=8.0),
    "unstated_log.mov": Case(
        Film("prores_ks", "yuv422p10le", paint=recorded("slog3", 0.7)).write, words="looks like log", near=255.0
    ),
    # clocks
    "vfr.mp4": Case(
        Film(times=lambda index: round(VFR_S[index] * 1000), ticks=1000).write,
        words="variable frame rate",
        shown=_shown_at(VFR_S),
        seconds=float(VFR_S[-1]) + 0.056,
    ),
    "bursts.mov": Case(
        Film(times=lambda index: round(BURSTS_S[index] * 600), ticks=600, numbers=range(len(BURSTS_S))).write,
        words="variable frame rate",
        shown=_shown_at(BURSTS_S),
        seconds=None,
    ),
    "ntsc.mov": Case(Film(fps=Fraction(30000, 1001)).write, shown=at_rate(30000 / 1001), seconds=48 * 1001 / 30000),
    "slow_motion_120.mov": Case(Film(fps=Fraction(120), numbers=range(120)).write, shown=at_rate(120), seconds=1.0),
    "late_start.ts": Case(Film(times=lambda index: index + 240, format="mpegts").write),
    "late_start.mp4": Case(Film(times=lambda index: index + 24).write),
    "stretched_gap.mkv": Case(
        Film(times=lambda index: index + 72 * (index >= 24)).write, words="variable frame rate", shown=_after_the_gap, seconds=5.0
    ),
    "edit_list.mp4": Case(
        Film(numbers=range(48), times=lambda index: index - 12, gop=48).write,
        words="edit list",
        shown=at_rate(FPS, 12),
        seconds=1.5,
    ),
    # pictures that do not lie as they are shown
    "phone_90.mov": Case(turned(1)),
    "phone_180.mov": Case(turned(2)),
    "phone_270.mov": Case(turned(3)),
    **{f"mirrored_{90 * quarters}.mov": Case(turned(quarters, mirrored=True), words="mirrored") for quarters in range(4)},
    "anamorphic.mp4": Case(Film(sar=Fraction(32, 27), width=144).write, words="not square", size=(170, 96)),
    "interlaced.mxf": Case(replace(MPEG2, options={"b": "20M", "flags": "+ildct+ilme"}).write, words="interlaced", **PAL),
    "letterbox.mp4": Case(Film(paint=_boxed, height=128).write, words="black bars removed", size=None),
    "two_streams.mkv": Case(_two_streams, words="2 video streams; the largest"),
    "cover_first.mp4": Case(_cover_first, words="^$"),
    "black.mp4": Case(Film(paint=_black).write, shown=lambda _time_s: 0, near=255.0),
    # what cannot be taken as it is
    "joined.ts": _refused(_joined(Film(format="mpegts")), "its clock goes back"),
    "joined.mpg": _refused(_joined(replace(MPEG2, pix_fmt="yuv420p", options={"b": "8M"}, format="mpeg")), "its clock goes back"),
    "size_changes.ts": _refused(_size_changes, "changes its size"),
    "tiny.mp4": _refused(Film(height=16, width=16).write, "16x16 is too small"),
    "no_time.h264": _refused(Film(format="h264").write, "no times"),
    # damage
    "cut_short.mp4": Case(patched(LONG, cut_to(0.6)), words="truncated", seconds=None),
    "cut_short.mkv": Case(patched(LONG, cut_to(0.6)), words="truncated", seconds=None),
    "scratched_h264.mov": _refused(scratched(Film(gop=24), 24), "damaged"),
    "scratched_hevc.mov": Case(scratched(replace(HEVC, gop=24), 24), words="complained", shown=None, near=255.0),
    "spoilt.mp4": _refused(patched(replace(LONG, gop=120), spoil), "damaged"),
    "no_index.mp4": _refused(patched(Film(), lose_index), "never closed"),
    "empty.mp4": _refused(lambda path: path.write_bytes(b""), "the file is empty"),
    "noise.mov": _refused(lambda path: path.write_bytes(np.random.default_rng(1).bytes(50_000)), "not a video"),
    "zeros.mxf": _refused(lambda path: path.write_bytes(bytes(50_000)), "not a video"),
    # no footage at all, whatever the name says
    "sound_only.mp4": _refused(_sound_only, "no video stream"),
    "playlist.mp4": _refused(_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nh264.mp4\n"), "not a video"),
    "concat.mov": _refused(_text("ffconcat version 1.0\nfile h264.mp4\n"), "not a video"),
    "subtitles.mkv": _refused(_text("1\n00:00:00,000 --> 00:00:02,000\nnothing to see\n"), "not a video"),
    "still.mp4": _refused(_still, "not a video|still"),
    "pipe.mp4": _refused(os.mkfifo, "not a file"),
    "dangling.mp4": _refused(_link_to_nothing, "link"),
}
