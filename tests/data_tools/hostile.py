"""Files as they lie on a studio's hard disk, drawn by the tests: every codec, every container, every kind of damage.

Each frame carries its number, in Gray code as eight patches across the middle, between a blue sky and an orange floor: so what a
reader shows can be told from any frame at any size, and a cut detector sees one patch change at a time.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from lora_studio.video.colour import LOG_SPACES, load_colour_science

SKY, FLOOR = (40, 90, 200), (205, 130, 45)
FPS = 24
BITS = 8
Shown = Callable[[float], int]  # seconds from the first frame -> number of the frame shown then


def numbered(number: int, height: int = 96, width: int = 160) -> np.ndarray:
    """Frame `number` (H, W, 3) uint8."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[: height // 2], frame[height // 2 :] = SKY, FLOOR
    code = number ^ (number >> 1)
    edges = np.linspace(0, width, BITS + 1).round().astype(int)
    for bit in range(BITS):
        frame[int(0.35 * height) : int(0.65 * height), edges[bit] : edges[bit + 1]] = 225 if code >> (BITS - 1 - bit) & 1 else 25
    return frame


def recorded(space: str, pale: float = 0.0) -> Callable[[int, int, int], np.ndarray]:
    """Paints frames as a camera records them in a space of lora_studio.video.colour, so that BT.709 shows what was drawn, or a
    paler picture: 1 is grey."""

    def paint(number: int, height: int, width: int) -> np.ndarray:
        shown = numbered(number, height, width)
        shown = ((1 - pale) * shown + pale * shown.mean(axis=2, keepdims=True)).astype(np.uint8)
        packed, place = np.unique(shown.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32), return_inverse=True)
        colours = packed[:, None] // np.array([65536, 256, 1]) % 256
        return (encoded(space, colours / 255) * 255).round().astype(np.uint8)[place.reshape(height, width)]

    return paint


def encoded(space: str, shown: np.ndarray) -> np.ndarray:
    """BT.709 code values (N, 3), 0 to 1 and below the roll-off -> code values of a space."""
    colour = load_colour_science()
    curve, gamut = LOG_SPACES.get(space, (space, "ITU-R BT.2020"))
    light = shown**2.4 if space == "pq" else colour.models.oetf_inverse_BT709(shown)
    wide = np.clip(colour.RGB_to_RGB(light, "ITU-R BT.709", gamut), 0, None)
    if space == "hlg":
        return colour.models.oetf_BT2100_HLG(wide * 0.265)
    if space == "pq":
        return colour.models.eotf_inverse_ST2084(wide * 203)
    return colour.models.oetf_BT2020(wide) if space == "bt2020" else colour.LOG_ENCODINGS[curve](wide)


def number_of(frame: np.ndarray) -> int:
    """The number a frame carries."""
    height, width = frame.shape[:2]
    band = frame[int(0.44 * height) : int(0.56 * height)].mean(axis=(0, 2))
    code = 0
    for bit in range(BITS):
        patch = band[int((bit + 0.3) / BITS * width) : int((bit + 0.7) / BITS * width) + 1]
        code = code << 1 | int(patch.mean() > 125)
    number = 0
    while code:
        number ^= code
        code >>= 1
    return number


def colour_error(frame: np.ndarray) -> float:
    """How far sky and floor are from what was drawn: the worst channel's mean, of 255."""
    height, width = frame.shape[:2]
    parts = (frame[int(0.08 * height) : int(0.25 * height)], SKY), (frame[int(0.75 * height) : int(0.92 * height)], FLOOR)
    middle = slice(int(0.1 * width), int(0.9 * width))
    return max(float(np.abs(part[:, middle].mean(axis=(0, 1)) - wanted).max()) for part, wanted in parts)


def at_rate(fps: float, first: int = 0, last: int = 10**6) -> Shown:
    """Frames of a constant rate."""
    return lambda time_s: min(last, first + int(time_s * fps + 1e-6))


AS_DRAWN = at_rate(FPS)


@dataclass(frozen=True)
class Case:
    """One file: how it is made and what must become of it.

    A usable file shows frame `shown(time)` at every time (None: whatever), is `seconds` long (None: however long), with colours as
    `near` as that; a quarantined one has `words` in its reason, a usable one in its warnings.
    """

    make: Callable[[Path], None]
    verdict: str = "usable"
    words: str = ""
    shown: Shown | None = AS_DRAWN
    seconds: float | None = 2.0
    near: float = 6.0
    size: tuple[int, int] | None = (160, 96)  # width, height


@dataclass(frozen=True)
class Film:
    """What to write: codec and pixel format, numbers and their times in ticks of 1/`ticks`."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    numbers: Iterable[int] = range(48)
    times: Callable[[int], int] = lambda index: index
    fps: Fraction = Fraction(FPS)
    ticks: int = 0  # 0: one a frame
    height: int = 96
    width: int = 160
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    colour: tuple[int, int, int] | None = (1, 1, 1)  # matrix, primaries, transfer; None: not stated
    full_range: bool = False
    sar: Fraction | None = None
    gop: int = 12
    b_frames: int = 0
    paint: Callable[[int, int, int], np.ndarray] = numbered
    sound: bool = False
    turn: int = 0  # quarter turns the picture lies in the file
    mirrored: bool = False  # and left and right are exchanged then

    def write(self, path: Path) -> None:
        """Writes the film."""
        with av.open(str(path), "w", format=self.format, options=self.container) as container:
            stream = self.add_to(container)
            sound = container.add_stream("aac", rate=48000) if self.sound else None
            self.fill(container, stream)
            if sound is not None:
                hum(container, sound)

    def add_to(self, container: Any) -> Any:
        """One more video stream of an open container."""
        stream = container.add_stream(self.codec, rate=self.fps, options=self.options)
        shape = (self.height, self.width)
        stream.height, stream.width = shape if self.turn % 2 == 0 else shape[::-1]
        stream.pix_fmt = self.pix_fmt
        context = stream.codec_context
        context.gop_size, context.max_b_frames = self.gop, self.b_frames
        context.time_base = Fraction(1, self.ticks) if self.ticks else 1 / self.fps
        if self.colour is not None:
            context.colorspace, context.color_primaries, context.color_trc = self.colour
        context.color_range = 2 if self.full_range else 1
        if self.sar is not None:
            context.sample_aspect_ratio = self.sar
        return stream

    def fill(self, container: Any, stream: Any) -> None:
        """Writes the film into its stream."""
        base = Fraction(1, self.ticks) if self.ticks else 1 / self.fps
        for index, number in enumerate(self.numbers):
            picture = np.rot90(self.paint(number, self.height, self.width), self.turn)[:, :: -1 if self.mirrored else 1]
            frame = self._convert(VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
            frame.pts, frame.time_base = self.times(index), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    def _convert(self, frame: VideoFrame) -> VideoFrame:
        code = self.colour[0] if self.colour is not None else 1 if self.height >= 720 else 6
        matrix = {6: Colorspace.ITU601, 9: Colorspace.BT2020}.get(code, Colorspace.ITU709)
        if self.pix_fmt.startswith(("rgb", "gbr", "pal", "bgr")):
            return frame.reformat(format=self.pix_fmt)
        return frame.reformat(format=self.pix_fmt, dst_colorspace=matrix, dst_color_range=2 if self.full_range else 1)


def hum(container: Any, stream: Any, seconds: float = 2.0) -> None:
    tone = (np.sin(np.arange(int(48000 * seconds)) / 20)[None] * 8000).astype(np.float32) / 32768
    for start in range(0, tone.shape[1] - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(np.repeat(tone[:, start : start + 1024], 2, axis=0), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def patched(film: Film, change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    """A film with its bytes changed afterwards."""

    def make(path: Path) -> None:
        film.write(path)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return make


def scratched(film: Film, packet: int) -> Callable[[Path], None]:
    """A film with a few bytes of one packet overwritten, sizes and index left as they are."""

    def make(path: Path) -> None:
        film.write(path)
        with av.open(str(path)) as container:
            places = [(one.pos, one.size) for one in container.demux(video=0) if one.size]
        content, (start, size) = bytearray(path.read_bytes()), places[packet]
        first, last = start + size // 3, start + size // 3 + min(24, size // 2)
        content[first:last] = np.random.default_rng(1).bytes(last - first)
        path.write_bytes(content)

    return make


def cut_to(share: float) -> Callable[[bytearray], None]:
    """A copy that broke off: the first `share` of the bytes."""

    def change(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    return change


def spoil(content: bytearray) -> None:
    """Overwrites an eighth of the file, from its middle on."""
    middle = len(content) // 2
    content[middle : middle + len(content) // 8] = np.random.default_rng(0).bytes(len(content) // 8)


def lose_index(content: bytearray) -> None:
    """A recording that was never closed: its index is not there."""
    place = content.find(b"moov")
    assert place > 0
    del content[place - 4 :]


def turned(quarters: int, mirrored: bool = False) -> Callable[[Path], None]:
    """A phone's film: the picture lies in the file, and the track's matrix says how to put it up."""
    cos, sin = round(np.cos(quarters * np.pi / 2)), round(np.sin(quarters * np.pi / 2))
    side = -1 if mirrored else 1

    def change(content: bytearray) -> None:
        place = content.find(b"tkhd") + 4 + 4 + 4 * 5 + 8 + 8  # version 0: flags, times, ids; reserved, layer, group, volume
        lie = [side * cos << 16, side * sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
        struct.pack_into(">9i", content, place, *lie)

    return patched(Film(turn=quarters, mirrored=mirrored), change)
