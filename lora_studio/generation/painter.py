"""Paints one frame: set of patches after set of patches, each patch from noise. Knows nothing of time or of prompts.

B samples, R rows of the model (B times the branches of guidance), N patches per frame, M patches of one set, P values of a
patch, D width of the backbone, W width of the decoder, S diffusion steps, C H W latents.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_studio.generation.guidance import Guidance
from lora_studio.generation.noise import NoiseSource
from lora_studio.nova.decoder import Modulation
from lora_studio.nova.layers import gather_patches, patchify, scatter_patches, unpatchify
from lora_studio.nova.masking import Round
from lora_studio.nova.schedules import Plan
from lora_studio.nova.transformer import NOVATransformer3DModel

_MODULATED = 2**20  # numbers of context that are worked out at once: 46 MB of statistics for the 0.6B model in float32


@dataclass(frozen=True)
class Painter:
    """What stays the same while a video is painted. `size` is (C, H, W); `temperature` is a factor on all noise."""

    transformer: NOVATransformer3DModel
    plan: Plan
    noise: NoiseSource
    guidance: Guidance
    rounds: Sequence[Round]
    size: tuple[int, int, int]
    temperature: float = 1.0

    def paint(self, context: Tensor, tick: Callable[[], None]) -> Tensor:
        """A frame from what the video encoder says of it: context (R, N_video, D) -> latents (B, C, H, W) float32."""
        batch, bare = len(self.rounds[0].predicted_ids), None
        canvas = torch.zeros(batch, *self.size, device=context.device)
        for step, patches in enumerate(self.rounds):
            if step % self.guidance.every == 0:
                bare = None
            z, bare = self._look(canvas, context, patches, bare)
            sample = self.denoise(z, patches.predicted_ids, self.guidance.at(step, len(self.rounds)))
            canvas = self._place(canvas, patches.predicted_ids, sample)
            tick()
        return canvas

    def _look(self, canvas: Tensor, context: Tensor, patches: Round, bare: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """z (R, M, D) of one set, and what the rows without the prompt say of all patches, to be used again for later sets.

        `bare` (R - B, N, D) is such an older look. By default nothing is kept and every row looks at every set.
        """
        repeat, batch, wanted = self.guidance.repeat, len(canvas), patches.predicted_ids
        if self.guidance.every == 1 or self.guidance.num_branches == 1:
            return self.transformer.encode_image(repeat(canvas), context, repeat(patches.kept_ids), repeat(wanted)), None
        if bare is None:
            bare = self.transformer.encode_image(repeat(canvas)[batch:], context[batch:], repeat(patches.kept_ids)[batch:])
        z = self.transformer.encode_image(canvas, context[:batch], patches.kept_ids, wanted)  # (B, M, D)
        return torch.cat([z, gather_patches(bare, repeat(wanted)[batch:])]), bare

    def _place(self, canvas: Tensor, ids: Tensor, sample: Tensor) -> Tensor:
        patch = self.transformer.patch
        return unpatchify(scatter_patches(patchify(canvas, patch), ids, sample), patch, *self.size[1:])

    def denoise(self, z: Tensor, ids: Tensor, scale: float) -> Tensor:
        """z (R, M, D) of the patches at `ids` (B, M) -> their values (B, M, P)."""
        count = ids.shape[1]
        tracked = self._with_others(ids) if self.guidance.needs_whole_frame else ids
        sample = self._fresh(tracked)  # (B, M or N, P)
        guided = [self.guidance.active(timestep) for timestep in self.plan.timesteps.tolist()]
        for index, modulation in enumerate(self._modulations(z, len(ids), guided)):
            prediction = self._predict(modulation, sample, count, guided[index], scale)
            noise = self._fresh(tracked) if self.plan.needs_noise(index) else None
            sample = self.plan.step(index, prediction, sample, noise)
        return sample[:, :count]

    def _modulations(self, z: Tensor, batch: int, guided: list[bool]) -> Iterator[Modulation]:
        """What condition and time do to the decoder's layers at each diffusion step; worked out for many steps at once."""
        decoder = self.transformer.image_decoder
        fixed = decoder.embed_condition(z)  # (R, M, W)
        times = decoder.embed_time(self.plan.timesteps.to(z.device))  # (S, W)
        at_once = max(1, _MODULATED // fixed.numel())
        for active, group in itertools.groupby(range(len(times)), guided.__getitem__):
            steps, rows = list(group), fixed if active else fixed[:batch]
            for start in range(0, len(steps), at_once):
                some = times[steps[start : start + at_once]]
                modulation = decoder.modulate(rows + some[:, None, None])  # (s, R, M, W) each
                by_layer = [zip(*(values.unbind(0) for values in statistics), strict=True) for statistics in modulation]
                yield from zip(*by_layer, strict=True)

    def _predict(self, modulation: Modulation, sample: Tensor, count: int, active: bool, scale: float) -> Tensor:
        decoder, wanted = self.transformer.image_decoder, sample[:, :count]
        if not active:
            return self._whole(decoder(wanted, modulation).float(), sample, count)
        prediction = decoder(self.guidance.repeat(wanted), modulation).float()  # (R, M, P)
        guided, conditional = self.guidance.combine(prediction, scale)
        if not self.guidance.needs_whole_frame:
            return guided
        return self.guidance.shorten(self._whole(guided, sample, count), self._whole(conditional, sample, count))

    def _whole(self, prediction: Tensor, sample: Tensor, count: int) -> Tensor:
        """The published model predicts only patches of the set; what it hands on for the others is their own noisy value."""
        return torch.cat([prediction, sample[:, count:]], dim=1)

    def _fresh(self, ids: Tensor) -> Tensor:
        grid = self.noise.grid(*self.size).to(ids.device)  # drawn for the whole frame: a patch does not depend on its order
        return gather_patches(patchify(self.temperature * grid, self.transformer.patch), ids)

    def _with_others(self, ids: Tensor) -> Tensor:
        """(B, M) -> (B, N): those of the set first, then all others."""
        is_other = torch.ones(len(ids), self.transformer.num_patches, dtype=torch.int8, device=ids.device).scatter(1, ids, 0)
        others = is_other.argsort(dim=1, descending=True, stable=True)[:, : is_other.shape[1] - ids.shape[1]]
        return torch.cat([ids, others], dim=1)
