"""Scores every current take of a workspace and writes takes/scores.json. Knows no sampler, no vote and no page.

A take is scored once: its scores are kept as long as its video, the palette, the vision model, the held-out footage and
the metrics' versions stay what they were.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lora_studio import files
from lora_studio.brand import load_brand, load_prompts
from lora_studio.consistency import colour, identity, motion
from lora_studio.consistency.scores import METRICS, SCORES_NAME, Scores, Side, TakeScore, compare, read_scores, summarise
from lora_studio.errors import WorkspaceError
from lora_studio.records import Take
from lora_studio.video import iterate_frames, read_frames, sample_times
from lora_studio.vision import Vision, load_vision
from lora_studio.wall import Clip, current_takes, dataset_clips, read_manifest
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

PALETTE_CLIPS = 24  # training clips whose colours make the palette when brand.toml has none
VERSIONS = {"colour": colour.VERSION, "motion": motion.VERSION, "identity": identity.VERSION}


def shipped_model() -> Path:
    """The folder of nova-nano, which comes with the package."""
    return Path(__file__).parents[1] / "assets" / "nova_nano"


def shipped_vision() -> Path:
    """The small open_clip model that comes with the package."""
    return shipped_model() / "open_clip"


def score_workspace(workspace: Workspace, vision_folder: Path | None = None) -> Scores:
    """Scores the current takes that have no up-to-date score, and writes takes/scores.json.

    Args:
        workspace: with a dataset and takes.
        vision_folder: an open_clip folder; None is, for nova-nano's datasets, the one that comes with the package, which
            knows only its stage. When there is none, or it does not know colours, identity is left out and the reason is stored.

    Raises:
        WorkspaceError: there are no takes, or no dataset.
        MediaError: a take's video cannot be read.
    """
    takes = current_takes(workspace)
    if not takes:
        raise WorkspaceError(f"no takes in {workspace.takes}: make some with `lora-studio takes {workspace.root}`")
    yardstick = _make_yardstick(workspace, vision_folder)
    before = read_scores(workspace)
    known = {score.key: score for score in before.takes} if before is not None else {}
    sides: dict[str, Side] = {prompt.id: prompt.kind for prompt in load_prompts(workspace).prompts}
    rows: list[TakeScore] = []
    for take in tqdm(takes, desc="scoring", unit="take"):
        key = yardstick.key(take)
        found = known.get(key)
        rows.append(found if found is not None else _score_take(take, sides[take.prompt_id], key, yardstick))
    scores = _gather(rows, yardstick)
    if scores != before:
        files.write_json(workspace.takes / SCORES_NAME, scores.model_dump(mode="json"))
    return scores


@dataclass(frozen=True)
class _Yardstick:
    """What takes are measured against."""

    workspace: Workspace
    palette: tuple[str, ...]
    is_brand_palette: bool
    vision: Vision | None
    blind: str | None  # why identity is not measured
    held_out: Sequence[Clip]
    manifest: dict = field(repr=False)

    def key(self, take: Take) -> str:
        vision = self.vision.sha256 if self.vision is not None else None
        parts = [take.take_id, take.video_sha256, self.palette, vision, self.blind, self.manifest["dataset_sha256"], VERSIONS]
        return files.sha256_json(parts)

    @cached_property
    def palette_lab(self) -> np.ndarray:
        return colour.palette_lab(self.palette)

    @cached_property
    def references(self) -> identity.References:
        assert self.vision is not None
        return identity.embed_references(
            self.workspace, self.held_out, self.vision, self.manifest["num_frames"], self.manifest["fps"]
        )

    def shot_of(self, clip_id: str | None) -> str | None:
        return next((clip.shot_id for clip in self.held_out if clip.clip_id == clip_id), None)


def _make_yardstick(workspace: Workspace, vision_folder: Path | None) -> _Yardstick:
    manifest, held_out = read_manifest(workspace), dataset_clips(workspace, "held_out")
    palette = load_brand(workspace).palette
    vision, blind = _open_vision(vision_folder, manifest["model"])
    if not held_out:
        blind = "not measured: no footage is held out, so there is nothing real to compare with"
    return _Yardstick(
        workspace=workspace,
        palette=palette or _measure_palette(workspace, manifest),
        is_brand_palette=bool(palette),
        vision=vision,
        blind=blind,
        held_out=held_out,
        manifest=manifest,
    )


def _open_vision(folder: Path | None, model: str) -> tuple[Vision | None, str | None]:
    if folder is None and (model != "nano" or not shipped_vision().is_dir()):
        return None, "not measured: the shipped vision model knows only nova-nano's stage; give another with --vision FOLDER"
    vision = load_vision(folder or shipped_vision())
    return vision, identity.why_blind(vision)


def _measure_palette(workspace: Workspace, manifest: dict) -> tuple[str, ...]:
    clips = dataset_clips(workspace, "train")
    if not clips:
        raise WorkspaceError(f"{workspace.brand_file} has no palette and there is no training footage to measure one from")
    spaced = [clips[i] for i in colour.spread(len(clips), PALETTE_CLIPS)]
    times = [sample_times(clip.start_s, 3, manifest["fps"] * 3 / manifest["num_frames"]) for clip in spaced]
    frames = [read_frames(workspace.shots / f"{clip.shot_id}.mp4", when) for clip, when in zip(spaced, times, strict=True)]
    return colour.measure_palette(np.concatenate([colour.small_lab(part).reshape(-1, 3) for part in frames]))


def _score_take(take: Take, side: Side, key: str, yardstick: _Yardstick) -> TakeScore:
    path = yardstick.workspace.takes / f"{take.take_id}.mp4"
    frames = np.stack([frame for _, frame in iterate_frames(path)])  # (F, H, W, 3)
    values: dict[str, float | None] = dict.fromkeys(METRICS)
    reasons: dict[str, str] = {}
    values["palette_distance"], values["palette_share"] = colour.palette_distance(frames, yardstick.palette_lab)
    if len(frames) >= 3:
        values["flicker"], values["flicker_local"] = motion.flicker(frames)
        values["motion"] = motion.motion_amount(frames, take.fps)
    else:
        reasons |= dict.fromkeys(("flicker", "flicker_local", "motion"), f"not measured: {len(frames)} frames, three are needed")
    values["identity"], reason = _identity(take, frames, yardstick)
    if reason is not None:
        reasons["identity"] = reason
    return TakeScore(
        take_id=take.take_id, key=key, look=take.look, side=side, prompt_id=take.prompt_id, seed=take.seed,
        shot_id=yardstick.shot_of(take.clip_id), values=values, reasons=reasons,
    )  # fmt: skip


def _identity(take: Take, frames: np.ndarray, yardstick: _Yardstick) -> tuple[float | None, str | None]:
    if yardstick.blind is not None or yardstick.vision is None:
        return None, yardstick.blind
    references = yardstick.references.without(yardstick.shot_of(take.clip_id))
    if not references.shots:
        return None, "not measured: only this shot is held out, and footage is not compared with itself"
    vectors = yardstick.vision.embed_images(frames[colour.spread(len(frames), identity.FRAMES_PER_CLIP)])
    return identity.likeness(vectors, references.vectors), None


def _gather(rows: Sequence[TakeScore], yardstick: _Yardstick) -> Scores:
    unmeasured = {metric: [row.reasons.get(metric) for row in rows] for metric in METRICS}
    return Scores(
        palette=yardstick.palette,
        palette_source="brand.toml" if yardstick.is_brand_palette else "measured from footage",
        vision_sha256=yardstick.vision.sha256 if yardstick.vision is not None else None,
        reasons={metric: reasons[0] for metric, reasons in unmeasured.items() if reasons and reasons[0] and all(reasons)},
        takes=tuple(rows),
        looks=summarise(rows),
        differences=compare(rows),
    )
