"""Makes videos: frame by frame, patch set by patch set, each patch from noise. Knows no prompt text, no file, no progress bar.

B batch, R rows of the model (B, or 2 B with guidance: conditional ones first), T latent frames, C H W latents, N patches
per frame, M patches of one set, P values of a patch, D width, S diffusion steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.nova.layers import KVCache, gather_patches, patchify, scatter_patches, unpatchify
from lora_studio.nova.masking import Round, generation_rounds
from lora_studio.nova.schedules import Plan, Schedule
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora

Progress = Callable[[int, int], None]  # patch sets done, patch sets in all


class SamplerSettings(BaseModel):
    """How a video is sampled. The published video model was shown with 128 steps, 100 diffusion steps and guidance 7."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    num_steps: int = Field(default=12, ge=1)  # patch sets per frame
    num_diffusion_steps: int = Field(default=16, ge=1)  # per patch set
    guidance: float = Field(default=3.0, ge=1)  # 1: no unconditional rows, half the work
    motion_flow: float = Field(default=5.0, ge=0)  # mean optical flow asked for, pixels per frame


class NoiseSource(Protocol):
    """Where the sampler's random numbers come from, in the order it asks for them."""

    def order(self, num_patches: int) -> Tensor:
        """A random order of the patches for each sample, (B, N); asked for once per video."""
        ...

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """Standard normal latents of one frame, (B, C, H, W)."""
        ...


class SeededNoise:
    """Random numbers of each sample from its own seed: neighbours in a batch do not change a sample."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def order(self, num_patches: int) -> Tensor:
        """(B, N)."""
        return torch.stack([torch.rand(num_patches, generator=g).argsort() for g in self._generators])

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """(B, C, H, W)."""
        return torch.stack([torch.randn(channels, height, width, generator=g) for g in self._generators])


@torch.no_grad()
def generate(
    transformer: NOVATransformer3DModel,
    vae: AutoencoderKLOpenSora | AutoencoderKLImage,
    scheduler: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
    seed: int | list[int],
    first_frames: np.ndarray | None = None,
    negative: list[Tensor] | None = None,
    progress: Progress | None = None,
    num_latents: int | None = None,
) -> np.ndarray:
    """Samples one clip per text.

    Args:
        transformer: the backbone.
        vae: of the same checkpoint.
        scheduler: of the same checkpoint.
        text: B tensors (n_i, D_text).
        settings: how to sample.
        seed: one for every sample, or one each.
        first_frames: uint8 (B, F, H, W, 3), F = 4k + 1: how each clip begins, at the model's size.
        negative: B tensors (n_i, D_text) to steer away from; the null prompt when not given.
        progress: called after every patch set with the number done and the number in all.
        num_latents: latent frames T; 1 makes a still (text to image). None: as many as the checkpoint's clips have.

    Returns:
        uint8 frames (B, F, H, W, 3).

    Raises:
        ModelError: the first frames have another size, or leave nothing to generate.
    """
    seeds = [seed] * len(text) if isinstance(seed, int) else seed
    first = None if first_frames is None else encode_frames(vae, first_frames)
    noise = SeededNoise(seeds)
    latents = generate_latents(transformer, scheduler, text, settings, noise, first, negative, progress, num_latents)
    return decode_to_frames(vae, latents)


@torch.no_grad()
def generate_latents(
    transformer: NOVATransformer3DModel,
    scheduler: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
    noise: NoiseSource,
    first_latents: Tensor | None = None,
    negative: list[Tensor] | None = None,
    progress: Progress | None = None,
    num_latents: int | None = None,
) -> Tensor:
    """`generate` without the VAE: scaled latents (B, C, T, H, W) float32; `first_latents` is (B, C, T0, H, W), scaled."""
    size, length = (transformer.config.image_dim, *transformer.latent_size), num_latents or transformer.num_latents
    given = _given_frames(first_latents, (len(text), *size), length)
    artist = _Artist(transformer, scheduler.plan(settings.num_diffusion_steps), noise, settings.guidance, size)
    condition = _read_prompts(transformer, text, negative, settings)  # (R, L, D)
    rounds = _plan_rounds(transformer, noise, settings)
    frames: list[Tensor] = []
    cache, num_done, num_rounds = KVCache(), 0, (length - len(given)) * len(rounds)
    for frame in range(length):
        before = artist.repeat(frames[-1]) if frames else None  # (R, C, H, W)
        context, cache = transformer.encode_video_frame(before, None if frames else condition, frame, length, cache)
        if frame < len(given):
            frames.append(given[frame])
            continue
        canvas = torch.zeros(len(text), *size, device=context.device)
        for patches in rounds:
            canvas = artist.paint(canvas, context, patches)
            num_done += 1
            if progress is not None:
                progress(num_done, num_rounds)
        frames.append(canvas)
    return torch.stack(frames, dim=2)


def encode_frames(vae: AutoencoderKLOpenSora | AutoencoderKLImage, frames: np.ndarray) -> Tensor:
    """uint8 frames (B, F, H, W, 3) -> scaled latents (B, C, T, H, W) float32: the mean of the VAE's posterior."""
    weight = next(vae.parameters())
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(weight.device).movedim(-1, 1).float() / 127.5 - 1.0
    return vae.scale(vae.encode(pixels.to(weight.dtype)).mode().float())


@torch.no_grad()
def decode_to_frames(vae: AutoencoderKLOpenSora | AutoencoderKLImage, latents: Tensor) -> np.ndarray:
    """Scaled latents (B, C, T, H, W) -> uint8 frames (B, F, H, W, 3), one clip at a time."""
    weight = next(vae.parameters())
    clips = []
    for clip in latents.split(1):
        pixels = vae.decode(vae.unscale(clip.to(weight.device)).to(weight.dtype)).float()  # (1, 3, F, H, W)
        values = (pixels * 127.5 + 127.5).clamp(0.0, 255.0).to(torch.uint8)  # cut off as the published code does
        clips.append(values.movedim(1, -1).cpu().numpy())
    return np.concatenate(clips)


def _read_prompts(
    transformer: NOVATransformer3DModel, text: list[Tensor], negative: list[Tensor] | None, settings: SamplerSettings
) -> Tensor:
    rows = list(text)
    if settings.guidance > 1:
        rows += negative if negative is not None else [row[:0] for row in text]
    return transformer.condition(rows, torch.full((len(rows),), settings.motion_flow))


def _plan_rounds(transformer: NOVATransformer3DModel, noise: NoiseSource, settings: SamplerSettings) -> list[Round]:
    device = next(transformer.parameters()).device
    return generation_rounds(noise.order(transformer.num_patches).to(device), settings.num_steps)


def _given_frames(first: Tensor | None, shape: tuple[int, ...], num_latents: int) -> tuple[Tensor, ...]:
    if first is None:
        return ()
    got = (first.shape[0], first.shape[1], *first.shape[3:])
    if got != shape or first.shape[2] >= num_latents:
        raise ModelError(
            f"the first frames give latents {tuple(first.shape)}; needed are {shape[0]} clips of fewer than {num_latents} latent "
            f"frames, {shape[1]} x {shape[2]} x {shape[3]} each: crop them to {shape[2] * 8} x {shape[3] * 8} pixels, or give fewer"
        )
    return first.float().unbind(2)


@dataclass(frozen=True)
class _Artist:
    """What stays the same while a video is painted."""

    transformer: NOVATransformer3DModel
    plan: Plan
    noise: NoiseSource
    guidance: float
    size: tuple[int, int, int]  # C, H, W

    def repeat(self, values: Tensor) -> Tensor:
        """(B, ...) -> (R, ...)."""
        return torch.cat([values, values]) if self.guidance > 1 else values

    def paint(self, canvas: Tensor, context: Tensor, patches: Round) -> Tensor:
        """One more set of patches: canvas (B, C, H, W), context (R, N_video, D) -> the fuller canvas."""
        patch = self.transformer.patch
        z = self.transformer.encode_image(self.repeat(canvas), context, self.repeat(patches.kept_ids))  # (R, N, D)
        z = gather_patches(z, self.repeat(patches.predicted_ids))  # (R, M, D)
        sample = self._denoise(z, patches.predicted_ids)  # (B, M, P)
        whole = scatter_patches(patchify(canvas, patch), patches.predicted_ids, sample)
        return unpatchify(whole, patch, *self.size[1:])

    def _denoise(self, z: Tensor, ids: Tensor) -> Tensor:
        decoder = self.transformer.image_decoder
        fixed = decoder.embed_condition(z)  # (R, M, W)
        times = decoder.embed_time(self.plan.timesteps.to(z.device))  # (S, W)
        sample = self._fresh(ids)  # (B, M, P)
        for index, time in enumerate(times):
            prediction = self._guide(decoder(self.repeat(sample), fixed + time).float())
            noise = self._fresh(ids) if self.plan.needs_noise(index) else None
            sample = self.plan.step(index, prediction, sample, noise)
        return sample

    def _fresh(self, ids: Tensor) -> Tensor:
        grid = self.noise.grid(*self.size).to(ids.device)  # drawn for the whole frame: a sample does not depend on its order
        return gather_patches(patchify(grid, self.transformer.patch), ids)

    def _guide(self, prediction: Tensor) -> Tensor:
        if self.guidance == 1:
            return prediction
        conditional, unconditional = prediction.chunk(2)
        return unconditional + self.guidance * (conditional - unconditional)
