"""What the learning proof measures on clips of a brand. Makes no clip; knows the judge's features and CIEDE2000.

B clips, F frames, H W pixels, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from skimage.color import deltaE_ciede2000
from torch import Tensor
from torch.nn import functional

from benchmarks.judge import AXES, Judge, judge_frames, prepare
from benchmarks.learning_brand import Asked
from data_tools.stage import Product
from data_tools.stage.colours import NAMED
from data_tools.stage.lessons import FPS
from data_tools.stage.sample import BODIES
from lora_studio.consistency.colour import palette_lab, small_lab
from lora_studio.consistency.motion import motion_amount

LOOKED_AT: Final = (0, 4, 8)  # frames of a clip
NEAR: Final = 12.0  # CIEDE2000 with lightness weighed by half (kL = 2), for light makes a colour lighter and darker
LEAST_AREA: Final = 0.004  # of the picture
RIM_COLOURS: Final = 5
APART: Final = 14.0  # CIELAB distance between a product's cell and any colour of the rim
LEAST_CELLS: Final = 30
COPIES_OF_REAL: Final = 95.0  # percentile of real footage's likeness to the training footage above which a clip counts as a copy


@dataclass(frozen=True)
class Seen:
    """What the judge sees in clips: their mean features, of length 1, and the index it names for each axis."""

    features: Tensor  # (B, D)
    named: dict[str, Tensor]  # axis -> (B,)


def look(judge: Judge, clips: np.ndarray) -> Seen:
    """uint8 (B, F, H, W, 3) -> what is seen in three of their frames (one, if that is all there are)."""
    frames = sorted({min(frame, clips.shape[1] - 1) for frame in LOOKED_AT})
    with torch.inference_mode():
        vectors = torch.stack([judge.features(prepare(clips[:, frame])) for frame in frames]).mean(0)
    answers = [judge_frames(judge, clips[:, frame]) for frame in frames]
    named = {axis: torch.stack([answer[axis] for answer in answers]).mean(0).argmax(-1) for axis in AXES}
    return Seen(functional.normalize(vectors, dim=-1), named)


def palette(clips: np.ndarray, product: Product) -> np.ndarray:
    """(B,) share of the product's body, cap and band colours that each clip shows, in at least 0.4 % of its middle frame.

    Only colours that the product has count; white and grey backdrops can pass for a pale band, which the base's own share shows.
    """
    colours = palette_lab([colour for colour in (product.body, product.cap, product.band) if colour])  # (K, 3)
    shares = []
    for clip in clips:
        lab = small_lab(clip[clip.shape[0] // 2][None]).reshape(-1, 1, 3)
        near = deltaE_ciede2000(lab, colours[None], kL=2) <= NEAR  # (P, K)
        shares.append(float((near.mean(axis=0) >= LEAST_AREA).mean()))
    return np.array(shares)


def identity(seen: Seen, look_alikes: Sequence[Tensor]) -> np.ndarray:
    """(B,) 1 where the clip is nearer to renders of the brand's product than to those of any look-alike, else 0.

    Args:
        look_alikes: features (N, D) of the same scenes with each product, the brand's first.
    """
    middle = torch.cat(list(look_alikes)).mean(0)  # what all have in common says nothing
    prototypes = functional.normalize(torch.stack([vectors.mean(0) - middle for vectors in look_alikes]), dim=-1)
    nearest = (functional.normalize(seen.features - middle, dim=-1) @ prototypes.T).argmax(-1)
    return (nearest == 0).numpy().astype(float)


def motion(clips: np.ndarray) -> np.ndarray:
    """(B,) mean optical flow of each clip, percent of its width per second."""
    return np.array([motion_amount(clip, FPS) for clip in clips])


def foreground(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells in the middle of a frame, uint8 (H, W, 3), whose colour is not one of the picture's rim.

    Returns:
        Lab values (N, 3) and columns (N,), 0 to 1 from left to right.
    """
    lab = small_lab(frame[None])[0]  # (60, 96, 3)
    rows, columns = lab.shape[:2]
    down, across = rows // 8, columns // 8
    rim = np.concatenate([part.reshape(-1, 3) for part in (lab[:down], lab[-down:], lab[:, :across], lab[:, -across:])])
    around, _ = _clusters(rim, RIM_COLOURS)
    middle = lab[down:-down, 2 * across : -2 * across]
    apart = np.linalg.norm(middle[:, :, None] - around, axis=-1).min(-1) > APART
    return middle[apart], (np.nonzero(apart)[1] + 0.5) / middle.shape[1]


def _clusters(pixels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (K, 3) of Lab pixels (N, 3), K up to `most`, and the centre of each pixel."""
    count = min(most, len(np.unique(pixels.round(1), axis=0)))
    return kmeans2(pixels.astype(np.float64), count, minit="++", rng=np.random.default_rng(0))


def measured_colours(clips: np.ndarray) -> list[str]:
    """The name of the body's colour in each clip, by its pixels alone: the commonest colour of the foreground; "" if there is none.

    Coloured light and dark scenes mislead it: read it beside what it says of renders.
    """
    codes, found = palette_lab([NAMED[name] for name in BODIES]), []
    for clip in clips:
        pixels, _ = foreground(clip[len(clip) // 2])
        if len(pixels) < LEAST_CELLS:
            found.append("")
            continue
        centres, owner = _clusters(pixels, 3)
        body = centres[np.bincount(owner).argmax()]
        found.append(BODIES[int(deltaE_ciede2000(body[None], codes, kL=2).argmin())])
    return found


def brighter_sides(clips: np.ndarray) -> list[str]:
    """Which side of the foreground is lighter in each clip, `side_left` or `side_right`; "" if there is no foreground."""
    found = []
    for clip in clips:
        pixels, across = foreground(clip[len(clip) // 2])
        slope = np.polyfit(across, pixels[:, 0], 1)[0] if len(pixels) >= LEAST_CELLS else 0.0
        found.append("side_left" if slope < 0 else "side_right" if slope > 0 else "")
    return found


def fidelity(seen: Seen, rows: Sequence[Asked]) -> np.ndarray:
    """(B,) share of camera angle and light direction that the judge names as asked."""
    wanted = {"angle": [row.angle for row in rows], "light": [row.light for row in rows]}
    right = [np.array([AXES[axis][int(index)] for index in seen.named[axis]]) == np.array(wanted[axis]) for axis in wanted]
    return np.mean(right, axis=0)


def copies(seen: Seen, real: Seen, training: Tensor) -> float:
    """Share of clips that are more like a frame of the training footage than 95 % of real footage is; 0.05 is expected."""
    nearest = (seen.features @ training.T).max(-1).values
    null = np.percentile((real.features @ training.T).max(-1).values.numpy(), COPIES_OF_REAL)
    return float((nearest.numpy() > null).mean())


def diversity(seen: Seen, rows: Sequence[Asked]) -> float:
    """Mean of 1 - cosine between the seeds of a prompt."""
    found = []
    for prompt_id in dict.fromkeys(row.prompt_id for row in rows):
        vectors = seen.features[[number for number, row in enumerate(rows) if row.prompt_id == prompt_id]]
        cosines = vectors @ vectors.T
        count = len(vectors)
        found.append(1 - float(cosines.sum() - count) / (count * (count - 1)))
    return float(np.mean(found))


def index(score: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> float | None:
    """0 where the base's clips stand on average, 100 where real footage does; None where the two can hardly be told apart."""
    room = ceiling.mean() - floor.mean()
    doubt = np.hypot(*(values.std(ddof=1) / len(values) ** 0.5 for values in (ceiling, floor)))
    return float(100 * (score.mean() - floor.mean()) / room) if abs(room) > 2 * doubt else None
