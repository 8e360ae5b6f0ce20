"""Which clips are cut from which shots, and which of them are held out: pure planning. Knows times and ids; opens no video.

Clips are cut by time: a clip of a 12-frames-per-second model spans the same seconds of a 24 as of a 30 fps shot. The
held-out part is chosen by whole groups (all shots of a file and of files that share a scene with it; single scenes where there is
only one file) in the order of their hashes, so that equal footage is parted equally on every machine.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.records import Shot
from lora_studio.video import Fit

MAX_CLIPS_PER_SHOT = 4
VERSION = 1  # part of every clip id: raise it when a clip's pixels would come out differently

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class ClipFormat:
    """What a model takes: frames, frames per second, and size in pixels; and how pictures of another shape are fitted to it."""

    num_frames: int
    fps: float
    height: int
    width: int
    fit: Fit = "crop"

    @property
    def duration_s(self) -> float:
        """How much of a shot one clip covers."""
        return self.num_frames / self.fps


@dataclass(frozen=True)
class PlannedClip:
    """One clip to cut."""

    clip_id: str
    shot: Shot
    start_s: float  # within the shot
    split: Split


def clip_starts(shot: Shot, form: ClipFormat) -> list[float]:
    """When the clips of a shot begin: as many as fit side by side, at most four, spread evenly; none when it is too short."""
    duration_s = shot.num_frames / shot.fps
    last_frame_s = (form.num_frames - 1) / form.fps
    if duration_s < last_frame_s + 0.5 / shot.fps:
        return []
    number = min(MAX_CLIPS_PER_SHOT, max(1, math.floor(duration_s / form.duration_s + 1e-6)))
    slack = max(0.0, (duration_s - number * form.duration_s) / number)
    return [round(index * (form.duration_s + slack) + slack / 2, 4) for index in range(number)]


def plan_clips(shots: Sequence[Shot], form: ClipFormat, held_out: float) -> list[PlannedClip]:
    """Plans the clips of all usable shots and parts them.

    Args:
        shots: those that may be used, each long enough for at least one clip.
        form: what the model takes.
        held_out: share of the groups to hold out, 0 to 1; at least one is, and at least one is not.

    Raises:
        FootageError: there are fewer than two shots.
    """
    if len(shots) < 2:
        raise FootageError(
            f"a dataset needs at least 2 usable shots (one is held out), got {len(shots)}: take in more footage; "
            f"`dataset/ledger.json` says why each other shot was left out"
        )
    groups = _groups(shots)
    apart = _held_out_groups(set(groups.values()), held_out)
    planned = []
    for shot in sorted(shots, key=lambda shot: (shot.footage_id, shot.index)):
        split: Split = "held_out" if groups[shot.shot_id] in apart else "train"
        planned += [PlannedClip(_clip_id(shot, start_s, form), shot, start_s, split) for start_s in clip_starts(shot, form)]
    return planned


def _groups(shots: Sequence[Shot]) -> dict[str, str]:
    """What is held out together, by shot id: whole files, or single scenes where all would hang together; and files that share a
    scene. Where even that leaves one group, shots."""
    for one_name, other_name in (("footage_id", "scene"), ("scene", "scene"), ("shot_id", "shot_id")):
        names = [(getattr(shot, one_name) or shot.shot_id, getattr(shot, other_name) or shot.shot_id) for shot in shots]
        groups = _joined(names)
        if len(set(groups)) > 1:
            break
    return {shot.shot_id: group for shot, group in zip(shots, groups, strict=True)}


def _joined(names: Sequence[tuple[str, str]]) -> list[str]:
    """The smallest first name of all that are joined by equal first or equal second names."""
    group = {one: one for one, _ in names}
    for _ in names:
        least: dict[str, str] = {}
        for one, other in names:
            least[other] = min(least.get(other, group[one]), group[one])
        changed = False
        for one, other in names:
            if least[other] < group[one]:
                group[one], changed = least[other], True
        if not changed:
            break
    return [group[one] for one, _ in names]


def _held_out_groups(groups: set[str], share: float) -> set[str]:
    ordered = sorted(groups, key=lambda group: hashlib.sha256(f"held out {group}".encode()).hexdigest())
    number = min(len(ordered) - 1, max(1, round(share * len(ordered))))
    return set(ordered[:number])


def _clip_id(shot: Shot, start_s: float, form: ClipFormat) -> str:
    fit = [] if form.fit == "crop" else [form.fit]
    return files.sha256_json([shot.sha256, start_s, form.num_frames, form.fps, form.height, form.width, VERSION, *fit])[:16]
