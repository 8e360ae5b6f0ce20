"""Reading one file of unknown origin from end to end: facts, shots, normalised clips, or the reason why not.

Runs in a child process under `workers`: the file may crash or hang the decoder. Knows nothing of the catalog, of rights or
of any other file, and imports only what decoding needs.
"""

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_tools import normalise, shots, workers
from data_tools.colour import BT709, SUSPECTED
from data_tools.due import key_of
from data_tools.shot_ids import LUT, shot_id, way_of
from data_tools.shot_writer import ShotWriter
from lora_studio import files, video
from lora_studio.errors import MediaError
from lora_studio.video import colour

_SHORTEST_SIDE = 32
_FPS_RANGE = (1, 300)
_BACK_S = 0.25  # so far a frame may be late: some cameras stamp carelessly
_MOST_WAITING = 160  # frames, of 1.2 MB: more than the finder needs at 100 frames a second
_FLAT = 'looks like log and its light stays untagged: say in a colour.toml beside it how it was recorded (space = "bt709" for none)'


def take_in(arguments: dict[str, Any], beat: workers.Beat) -> dict[str, Any]:
    """Reads one file, in a child process: facts, hash, and normalised shots written to `arguments["shots"]`.

    Args:
        arguments: `path` (the file), `shots` (the folder for normalised shots), `cubes` (the folder for colour tables), `colour`
            (what `ColourFinder` found), `taken` (footage ids that need no work).
        beat: told the share of the work done.

    Returns:
        `sha256` ("" when the file cannot be read through) and, unless its content is taken already, either `refusal` (why the
        file cannot be used) or `facts` (fields of Footage) and `shots` (fields of Shot, `path` absolute).
    """
    path, sha256 = Path(arguments["path"]), ""
    try:
        sha256 = _hash(path, beat)
        return {"sha256": sha256} if sha256[:16] in arguments["taken"] else _read(path, sha256, arguments, beat)
    except MediaError as refusal:
        return {"sha256": sha256, "refusal": str(refusal)}


def _hash(path: Path, beat: workers.Beat) -> str:
    if path.is_symlink() and not path.exists():
        raise MediaError(f"{path.name}: a link to {path.readlink()}, which is not there")
    if not path.exists():
        raise MediaError(f"{path.name}: it was there when reading began, and is gone")
    if not path.is_file():
        raise MediaError(f"{path.name}: not a file but a pipe, a socket or a device")
    try:
        return files.sha256_file(path, lambda _: beat(0.0))  # minutes of a large file on a slow share: no hang
    except OSError as fault:
        raise MediaError(f"{path.name}: cannot be read ({fault.strerror})") from None


def _read(path: Path, sha256: str, arguments: dict[str, Any], beat: workers.Beat) -> dict[str, Any]:
    folder, stated = Path(arguments["shots"]), arguments["colour"]
    info = video.probe(path)
    _refuse(path, info)
    space, cube, transform = _colour(stated, info, Path(arguments["cubes"]))

    def frames(start_s: float | None = None, end_s: float | None = None) -> Iterator[tuple[float, np.ndarray]]:
        last_s = -math.inf
        for time_s, frame in video.iterate_frames(path, start_s, end_s, short_side=normalise.SHORT_SIDE, cube=cube):
            if time_s < last_s - _BACK_S:
                raise MediaError(
                    f"{path.name}: its clock goes back from {last_s:.2f} s to {time_s:.2f} s, as where recordings were joined; "
                    "take its parts in one by one"
                )
            last_s = max(last_s, time_s)
            beat(min(1.0, (time_s - info.start_s) / info.duration_s))
            yield time_s, frame

    fields, way = [], way_of(key_of(stated), space, transform, info.warnings)
    with ShotWriter(folder, sha256[:16], info.rate) as writer:
        with video.complaints() as heard:
            walk = _walk(frames(), info, writer)
        for index, span in enumerate(walk.spans):
            name = shot_id(sha256[:16], span.start_pts, span.end_pts, way)
            target = folder / f"{name}.mp4"
            start_s, end_s = (float(Fraction(pts) * info.time_base) for pts in (span.start_pts, span.end_pts))
            if not files.is_whole(target) and not writer.hand_over(span, walk.crop, target):
                again = chain(frames(start_s, end_s), [(end_s, None)])
                normalise.normalise_shot(again, target, start_s, info.rate, walk.crop)
            fields.append({"shot_id": name, "index": index, **_span_facts(span, info), **_clip_facts(target)})
    facts = _facts(info, walk, heard)
    if not stated and not transform and walk.is_flat:
        space = SUSPECTED
        facts["warnings"].append(_FLAT)
    return {"sha256": sha256, "facts": {**facts, "colour": space, "transform": transform}, "shots": fields}


def _walk(frames: Iterator[tuple[float, np.ndarray]], info: video.VideoInfo, writer: ShotWriter) -> shots.Walk:
    """Shows every frame to a finder; what it finds is written on the way, unless that would keep too many frames waiting.

    Bars are taken off as they look when a shot begins; who hands shots over compares them with those of the whole file.
    """
    finder, waiting = shots.ShotFinder(info.time_base, info.fps), deque[np.ndarray]()

    def write(place: shots.Place) -> None:
        frame, start_s = waiting.popleft(), float(place.pts * info.time_base)
        if place.is_between or place.begins:
            writer.end(place.pts, start_s)
        if place.begins:
            writer.begin(place.pts, start_s, finder.bars())
        if not place.is_between:
            writer.show(place.time_s, frame)

    if finder.lag > _MOST_WAITING:
        return shots.find_shots(frames, info.time_base, info.fps)
    for time_s, frame in frames:
        waiting.append(frame)
        for place in finder.show(time_s, frame):
            write(place)
    for place in finder.rest():
        write(place)
    walk = finder.walk()
    writer.end(walk.end_pts, float(walk.end_pts * info.time_base))
    return walk


def _colour(stated: dict[str, Any], info: video.VideoInfo, folder: Path) -> tuple[str, Path | None, str]:
    """How the file was recorded, the table that brings it to BT.709, and that table in words."""
    if "lut" in stated:
        lut = Path(stated["lut"])
        return f"{LUT}{lut.name}", lut, f"to BT.709 by {lut.name} ({stated['sha256'][:8]})"
    space = stated.get("space") or {"HLG": "hlg", "PQ": "pq", "BT.2020": "bt2020"}.get(info.hdr, BT709)
    return (space, None, "") if space == BT709 else (space, colour.cube_file(space, folder), colour.describe(space))


def _refuse(path: Path, info: video.VideoInfo) -> None:
    if min(info.width, info.height) < _SHORTEST_SIDE:
        raise MediaError(f"{path.name}: {info.width}x{info.height} is too small; the short side must have {_SHORTEST_SIDE} pixels")
    if not _FPS_RANGE[0] <= info.rate <= _FPS_RANGE[1]:
        raise MediaError(f"{path.name}: {float(info.rate):g} frames per second; {_FPS_RANGE[0]} to {_FPS_RANGE[1]} are taken in")


def _facts(info: video.VideoInfo, walk: shots.Walk, heard: list[str]) -> dict[str, Any]:
    warnings = [*info.warnings, *(["black bars removed"] if any(walk.crop) else [])]
    if heard:
        warnings.append(f'the decoder complained ({len(heard)} times, first: "{heard[0]}"): look at the pictures')
    return {
        "codec": info.codec, "pixel_format": info.pixel_format, "width": info.width, "height": info.height,
        "fps": float(info.fps), "duration_s": info.duration_s, "rotation": info.rotation,
        "warnings": warnings,
    }  # fmt: skip


def _span_facts(span: shots.Span, info: video.VideoInfo) -> dict[str, Any]:
    return {
        "start_pts": span.start_pts, "end_pts": span.end_pts,
        "time_base": [info.time_base.numerator, info.time_base.denominator],
        "start_s": float(span.start_pts * info.time_base) - info.start_s,
        "end_s": float(span.end_pts * info.time_base) - info.start_s,
    }  # fmt: skip


def _clip_facts(path: Path) -> dict[str, Any]:
    clip = video.probe(path)
    return {
        "path": str(path), "sha256": files.sha256_file(path), "num_frames": clip.num_frames, "fps": float(clip.fps),
        "width": clip.width, "height": clip.height,
    }  # fmt: skip
