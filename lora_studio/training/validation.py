"""The loss on held-out clips, the same draws every time. Knows how to compare two of them; knows no optimizer and no run.

Masks, noise and timesteps come from a constant seed, whatever the recipe says: two checkpoints are compared on exactly the
same questions, and figures of different runs on one dataset can be laid side by side. The unit of evidence is the shot:
clips of one shot are nearly the same picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from scipy.special import stdtrit

from lora_studio.training.learner import Learner
from lora_studio.training.samples import decode

SEED = 40_207  # of every validation, for ever
NUM_DRAWS = 4  # mask ratio, masks, noise and timesteps, each drawn this often per clip
LOSS_REPEAT = 4
MAX_CLIPS = 64  # spread evenly over the split when it holds more


@dataclass(frozen=True)
class Validation:
    """Held-out losses of one state of the adapter.

    Attributes:
        clips: loss per clip, averaged over the draws.
        per_frame: loss per latent frame, averaged over clips and draws.
        shots: the shot of each clip.
    """

    clips: tuple[float, ...]
    per_frame: tuple[float, ...]
    shots: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean over shots."""
        return float(np.mean(_by_shot(self.clips, self.shots)))

    @property
    def standard_error(self) -> float | None:
        """Of the mean over shots; None with fewer than two."""
        return _standard_error(_by_shot(self.clips, self.shots))


@dataclass(frozen=True)
class Change:
    """How far the loss moved between two validations of the same clips; about 95 % between `low` and `high`."""

    mean: float
    low: float | None
    high: float | None


def compare(before: Validation, after: Validation) -> Change:
    """The paired difference, clip by clip: what all clips have in common cancels out."""
    assert before.shots == after.shots
    differences = _by_shot(np.subtract(after.clips, before.clips), before.shots)
    mean, error = float(np.mean(differences)), _standard_error(differences)
    if error is None:
        return Change(mean, None, None)
    reach = float(stdtrit(len(differences) - 1, 0.975)) * error  # Student's t: few shots make a wide band
    return Change(mean, mean - reach, mean + reach)


@torch.no_grad()
def validate(learner: Learner, held_out: Dataset, accelerator: Accelerator) -> Validation | None:
    """The held-out loss; every process takes its share of the clips. None when nothing is held out."""
    if not held_out:
        return None
    rows = chosen_rows(len(held_out))
    learner.model.eval()
    table = torch.zeros(len(rows), 1 + learner.num_frames, device=accelerator.device)
    for place in range(accelerator.process_index, len(rows), accelerator.num_processes):
        batch = decode([held_out[rows[place]]], [rows[place]], ["long"], accelerator.device)
        for draw in range(NUM_DRAWS):
            with accelerator.autocast():
                losses = learner.loss(batch, SEED, draw, LOSS_REPEAT)
            table[place] += torch.cat([losses.total.reshape(1), losses.per_frame]).float() / NUM_DRAWS
    table = torch.as_tensor(accelerator.reduce(table, "sum")).cpu().double()
    shots = tuple(held_out[row]["shot_id"] for row in rows)
    return Validation(tuple(table[:, 0].tolist()), tuple(table[:, 1:].mean(0).tolist()), shots)


def chosen_rows(num_clips: int) -> list[int]:
    """Which held-out clips are asked: all, or MAX_CLIPS spread evenly."""
    count = min(num_clips, MAX_CLIPS)
    return [math.floor(i * num_clips / count) for i in range(count)]


def _by_shot(values: Sequence[float] | np.ndarray, shots: Sequence[str]) -> np.ndarray:
    array, names = np.asarray(values), np.asarray(shots)
    return np.array([array[names == shot].mean() for shot in dict.fromkeys(shots)])


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
