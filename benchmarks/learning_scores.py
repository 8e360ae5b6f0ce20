"""What the learning proof measures on clips of a brand. Makes no clip; knows the judge's features, the
segmenter's masks and CIEDE2000.

B clips, F frames, H W pixels, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from skimage.color import deltaE_ciede2000
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.frames import prepare
from benchmarks.judge import AXES, Judge, judge_frames
from benchmarks.learning_brand import BACKDROPS, Asked
from benchmarks.segmenter import product_masks
from data_tools.stage import Product
from data_tools.stage.colours import NAMED
from data_tools.stage.lessons import FPS
from data_tools.stage.sample import BODIES
from lora_studio.consistency.colour import palette_lab, small_lab
from lora_studio.consistency.motion import motion_amount

LOOKED_AT: Final = (0, 4, 8)  # frames of a clip
NEAR: Final = 15.0  # CIEDE2000 with lightness weighed by half (kL = 2), for light makes a colour lighter and darker
LEAST_SHARE: Final = 0.01  # of the product
LEAST_CELLS: Final = 30
GRID: Final = (60, 96)  # rows and columns of a frame whose colours are compared
RESAMPLED: Final = 2_000  # times, for an interval
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


@dataclass(frozen=True)
class Cells:
    """What of a frame, 60 by 96 cells, shows the product: N cells."""

    lab: np.ndarray  # (N, 3) CIELAB
    across: np.ndarray  # (N,) 0 at the left edge of the frame, 1 at the right one


def product_cells(segmenter: nn.Module, clips: np.ndarray) -> list[Cells]:
    """uint8 (B, F, H, W, 3) -> the product in the middle frame of each."""
    middles = clips[:, clips.shape[1] // 2]
    masks, across = product_masks(segmenter, middles, GRID), (np.arange(GRID[1]) + 0.5) / GRID[1]
    columns = np.broadcast_to(across, GRID)
    return [Cells(small_lab(frame[None])[0][mask], columns[mask]) for frame, mask in zip(middles, masks, strict=True)]


def backdrops(segmenter: nn.Module, clips: np.ndarray) -> list[str]:
    """Which of `BACKDROPS` each backdrop is nearest to: the median colour of what is not the product, upper half, middle frame."""
    middles, codes = clips[:, clips.shape[1] // 2], palette_lab([NAMED[name] for name in BACKDROPS])
    upper, found = GRID[0] // 2, []
    for frame, mask in zip(middles, product_masks(segmenter, middles, GRID), strict=True):
        around = small_lab(frame[None])[0][:upper][~mask[:upper]]
        nearest = deltaE_ciede2000(np.median(around, axis=0)[None], codes, kL=2).argmin() if len(around) else None
        found.append("" if nearest is None else BACKDROPS[int(nearest)])
    return found


def colour_shares(products: Sequence[Cells], product: Product) -> np.ndarray:
    """(B, K): how much of each clip's product is near each of its K colours (body, cap, band); 0 where no product is seen."""
    colours = palette_lab([colour for colour in (product.body, product.cap, product.band) if colour])  # (K, 3)
    shares = np.zeros((len(products), len(colours)))
    for number, cells in enumerate(products):
        if len(cells.lab):
            shares[number] = (deltaE_ciede2000(cells.lab[:, None], colours[None], kL=2) <= NEAR).mean(axis=0)
    return shares


def usual_shares(shares: np.ndarray) -> np.ndarray:
    """(K,): what real footage, (B, K), mostly shows of each colour; 1 % at least."""
    return np.median(shares, axis=0).clip(LEAST_SHARE)


def palette(shares: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """(B,) mean over the colours: 1 where as much of a colour is seen as real footage mostly shows, less where there is less."""
    return np.minimum(shares / usual, 1.0).mean(axis=-1)


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


def measured_colours(products: Sequence[Cells]) -> list[str]:
    """The name of the body's colour in each clip, by its pixels alone: the commonest colour of its cells; "" if there are few.

    Coloured light and dark scenes mislead it: read it beside what it says of renders.
    """
    codes, found = palette_lab([NAMED[name] for name in BODIES]), []
    for cells in products:
        if len(cells.lab) < LEAST_CELLS:
            found.append("")
            continue
        centres, owner = _clusters(cells.lab, 3)
        body = centres[np.bincount(owner).argmax()]
        found.append(BODIES[int(deltaE_ciede2000(body[None], codes, kL=2).argmin())])
    return found


def _clusters(pixels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (K, 3) of Lab pixels (N, 3), K up to `most`, and the centre of each pixel."""
    count = min(most, len(np.unique(pixels.round(1), axis=0)))
    return kmeans2(pixels.astype(np.float64), count, minit="++", rng=np.random.default_rng(0))


def brighter_sides(products: Sequence[Cells]) -> list[str]:
    """Which side of the product is lighter in each clip, `side_left` or `side_right`; "" if there is hardly any product."""
    found = []
    for cells in products:
        slope = np.polyfit(cells.across, cells.lab[:, 0], 1)[0] if len(cells.lab) >= LEAST_CELLS else 0.0
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
    # Weibull: of few real clips, too, a fresh one is above it in 5 %
    null = np.percentile((real.features @ training.T).max(-1).values.numpy(), COPIES_OF_REAL, method="weibull")
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


def index_interval(
    score: np.ndarray, floor: np.ndarray, ceiling: np.ndarray, prompts: Sequence[str], real_prompts: Sequence[str]
) -> tuple[float, float]:
    """The 95 % interval of `index` over prompts: all clips of a prompt, of all three sides, are drawn together.

    Args:
        prompts: of each clip of `score` and `floor`.
        real_prompts: of each clip of `ceiling`.
    """
    names = list(dict.fromkeys(prompts))
    sums = np.array([[values[[one == name for one in of]].mean() for name in names]
                     for values, of in ((score, prompts), (floor, prompts), (ceiling, real_prompts))])  # fmt: skip
    picks = np.random.default_rng(0).integers(len(names), size=(RESAMPLED, len(names)))
    means = sums[:, picks].mean(-1)  # (3, RESAMPLED)
    found = 100 * (means[0] - means[1]) / (means[2] - means[1])
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
