"""How a prediction is pushed towards the prompt. Knows rows and numbers, no model and no text.

The rows of the model come in branches, one after the other: every sample with its prompt, then (with guidance) every
sample without it, then (with image guidance) every sample without it but with the frames before.
B samples, R rows (B times the number of branches), M patches, P values of a patch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Guidance:
    """One strength of guidance.

    Attributes:
        scale: 1 follows the prompt as it was learned; more follows it more strictly (Ho & Salimans 2022).
        least: scale at the first set of patches; it grows evenly to `scale` at the last. None: `scale` all along.
        until: guidance is left out from this timestep (1000 is noise, 0 is data) to the end; 0 leaves it in all along.
        renorm: the guided prediction of a frame may not be longer than the one with the prompt; it is shortened, by this
            factor at most. 1 leaves it as it is.
        image: how strictly the frames before are followed; 0 makes it part of `scale`.
        every: the rows without the prompt look at the picture before every so many sets, and their last look serves the
            sets between. 1 is exact; more is an approximation.
    """

    scale: float = 1.0
    least: float | None = None
    until: float = 0.0
    renorm: float = 1.0
    image: float = 0.0
    every: int = 1

    @property
    def num_branches(self) -> int:
        """Rows of the model for each sample."""
        return 3 if self.image > 0 else 2 if self.scale > 1 else 1

    @property
    def needs_whole_frame(self) -> bool:
        """Whether the length of a prediction is asked for: it is that of the whole frame."""
        return self.renorm < 1 and self.num_branches > 1

    def active(self, timestep: float) -> bool:
        """Whether a prediction at this timestep is guided; if not, the first branch is all that is needed."""
        return self.num_branches > 1 and (self.until == 0 or timestep > self.until)

    def at(self, step: int, num_steps: int) -> float:
        """The scale for set `step` of `num_steps`."""
        if self.least is None:
            return self.scale
        return self.least + (self.scale - self.least) * (step + 1) / num_steps

    def repeat(self, values: Tensor) -> Tensor:
        """(B, ...) -> (R, ...): the same for every branch."""
        return torch.cat([values] * self.num_branches)

    def blind_rows(self, batch: int, device: torch.device) -> Tensor | None:
        """Which rows do not see the frames before, (R,) bool; None when all do."""
        if self.image == 0:
            return None
        rows = torch.zeros(3 * batch, dtype=torch.bool, device=device)
        rows[batch : 2 * batch] = True
        return rows

    def combine(self, prediction: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """(R, M, P) -> the guided prediction and the one with the prompt alone, (B, M, P) each."""
        conditional, bare, *seeing = prediction.chunk(self.num_branches)
        if not seeing:
            return torch.lerp(bare, conditional, scale), conditional
        return bare + scale * (conditional - seeing[0]) + self.image * (seeing[0] - bare), conditional

    def shorten(self, guided: Tensor, conditional: Tensor) -> Tensor:
        """Whole frames (B, N, P): the guided prediction, no longer than the conditional one."""
        ratio = _length(conditional) / _length(guided)  # (B, 1, 1)
        return guided * ratio.clamp(self.renorm, 1.0)


def _length(frames: Tensor) -> Tensor:
    return frames.flatten(1).norm(dim=1)[:, None, None]
