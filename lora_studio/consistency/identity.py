"""How alike two sets of frames look to an image-text model. Knows vectors and clips; reads no take and no catalog."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lora_studio.video import read_frames, sample_times
from lora_studio.vision import COLOUR_CARDS, COLOUR_CARDS_NEEDED, Vision
from lora_studio.wall import Clip
from lora_studio.workspace import Workspace

VERSION: Final = 1
FRAMES_PER_CLIP: Final = 8
MOST_CLIPS: Final = 64


@dataclass(frozen=True)
class References:
    """Vectors of real footage that no adapter was trained on: `vectors` (N, D), and the shot each row comes from."""

    vectors: Tensor
    shots: tuple[str, ...]

    def without(self, shot_id: str | None) -> "References":
        """The references that are not from this shot: footage must not be compared with itself."""
        kept = [row for row, shot in enumerate(self.shots) if shot != shot_id]
        return References(self.vectors[kept], tuple(self.shots[row] for row in kept))


def why_blind(vision: Vision) -> str | None:
    """Why a model's likeness scores mean nothing, in words; None when they can be used."""
    if vision.knows_colours:
        return None
    return (
        f"not measured: the vision model names {vision.colour_cards_right} of {len(COLOUR_CARDS)} plain colour cards correctly "
        f"({COLOUR_CARDS_NEEDED} are needed), so what it says of footage means nothing"
    )


def embed_references(workspace: Workspace, clips: Sequence[Clip], vision: Vision, num_frames: int, fps: float) -> References:
    """Embeds up to 64 held-out clips, eight frames each, spread over the clip."""
    spaced = [clips[i] for i in np.unique(np.linspace(0, len(clips) - 1, min(len(clips), MOST_CLIPS)).round().astype(int))]
    count = min(FRAMES_PER_CLIP, num_frames)
    rows, shots = [], []
    for clip in tqdm(spaced, desc="looking at held-out footage", unit="clip", leave=False):
        times = sample_times(clip.start_s, count, fps * count / num_frames)
        rows.append(vision.embed_images(read_frames(workspace.shots / f"{clip.shot_id}.mp4", times)))
        shots += [clip.shot_id] * count
    return References(torch.cat(rows), tuple(shots))


def likeness(vectors: Tensor, references: Tensor) -> float:
    """Metric S2, with the model of this workspace: mean cosine over all pairs of a frame and a reference frame.

    Range and direction: -1 to 1, higher is nearer to the real footage. Only differences under one model can be read; a
    typical pair of unrelated frames already scores well above zero.

    Failure modes: insensitive to exact colour and to wrong letters or mirrored logos; rises with the right background as
    much as with the right product; a copy of training footage scores highest. Real footage is scored against the other
    shots only (leave one out), so it is what a perfect take could hope for.

    Args:
        vectors: (F, D), rows of length 1.
        references: (N, D), rows of length 1.
    """
    return float(vectors.mean(dim=0) @ references.mean(dim=0))
