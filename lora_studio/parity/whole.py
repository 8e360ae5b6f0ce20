"""Replays a recorded pipeline: a model folder as published, prompts in, latents and frames out.

Cases without recorded draws name the seed of the one generator that the published pipeline drew everything from.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lora_studio.generation.noise import NoiseSource
from lora_studio.generation.sampler import decode_to_frames, generate_latents
from lora_studio.nova import weights
from lora_studio.nova.text import TextEncoder
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora, sample_moments
from lora_studio.parity.recordings import Recording, Replay
from lora_studio.parity.sampling import SETTINGS, settings_of

_OTHER = {"prompt", "negative_prompt", "generator_seed", "max_latent_length", "image", "num_images_per_prompt", "frames_shape"}
_LEVEL = 1.0  # of 255: a value next to a whole number is cut off to either side
_Parts = tuple[NOVATransformer3DModel, AutoencoderKLOpenSora | AutoencoderKLImage, TextEncoder]


class OneGenerator:
    """Draws for a whole batch from one generator."""

    def __init__(self, seed: int, batch: int) -> None:
        self.generator, self._batch = torch.Generator().manual_seed(seed), batch

    def order(self, num_patches: int) -> Tensor:
        """(B, N)."""
        return torch.empty(self._batch, num_patches, 1).uniform_(generator=self.generator)[..., 0].argsort(1)

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """(B, C, H, W)."""
        return torch.randn(self._batch, channels, height, width, generator=self.generator)


def replay(recording: Recording) -> None:
    """Compares latents and frames of every recorded case; one that is malformed or has settings unknown here is noted."""
    folder = recording.folder / "pipeline"
    parts = weights.load_transformer(folder), weights.load_vae(folder), weights.load_text(folder)
    for case, facts in recording.facts["cases"].items():
        recording.attempt(f"cases.{case}", partial(_case, recording, case, facts, parts))


def _case(recording: Recording, case: str, facts: dict[str, Any], parts: _Parts) -> None:
    if recording.knows(f"cases.{case}", facts, {*SETTINGS, *_OTHER}):
        _replay(recording, case, facts, parts)
        recording.settle(f"cases.{case}")


@torch.no_grad()
def _replay(recording: Recording, case: str, facts: dict[str, Any], parts: _Parts) -> None:
    folder, (transformer, vae, encoder) = recording.folder / "pipeline", parts
    transformer.register_to_config(clip_latents=facts["max_latent_length"])
    prompts = _as_list(facts["prompt"])
    prompts = [prompt for prompt in prompts for _ in range(facts.get("num_images_per_prompt", 1))]
    negative = _as_list(facts["negative_prompt"]) if "negative_prompt" in facts else None
    if negative is not None:
        negative = negative * len(prompts) if len(negative) == 1 else negative
    noise, first = _noise(recording, case, facts, len(prompts)), None
    if "image" in facts:
        assert isinstance(noise, OneGenerator)
        picture = recording.given(facts["image"]).movedim(-1, 0)[None, :, None].float() / 127.5 - 1.0
        moments = vae.encode(picture).parameters
        sampled = torch.randn(1, *_latent(moments), generator=noise.generator)
        first = vae.scale(sample_moments(moments, sampled)).expand(len(prompts), -1, -1, -1, -1)
    latents = generate_latents(
        transformer, weights.load_scheduler(folder), encoder.encode(prompts), settings_of(facts), noise, first,
        encoder.encode(negative) if negative is not None else None,
    )  # fmt: skip
    if isinstance(noise, Replay) and noise.left:
        recording.notes.append(f"cases.{case}: {len(noise.left)} recorded draws were not asked for")
    recording.compare(f"{case}.latents", latents)
    if f"{case}.frames" in recording:
        frames = decode_to_frames(vae, recording.wanted(f"{case}.latents"))
        recording.compare(f"{case}.frames", torch.from_numpy(frames), _LEVEL / 255)
    recording.compare_fact(f"{case}.frames_shape", _shape(latents, folder), list(facts["frames_shape"]))


def _noise(recording: Recording, case: str, facts: dict[str, Any], batch: int) -> NoiseSource:
    """The recorded draws of a case; where it has none, or begins with an image, its generator."""
    entries = recording.facts.get("rng", {}).get(case, [])
    if entries and "image" not in facts:
        return Replay(recording.draws(case))
    if entries:
        recording.notes.append(
            f"cases.{case}: {len(entries)} recorded draws were not used: a case with an image is replayed from its generator_seed"
        )
    return OneGenerator(facts["generator_seed"], batch)


def _latent(moments: Tensor) -> tuple[int, ...]:
    return (moments.shape[1] // 2, *moments.shape[2:])


def _shape(latents: Tensor, folder: Any) -> list[int]:
    shape = weights.clip_shape(folder)
    return [len(latents), 4 * (latents.shape[2] - 1) + 1, shape.height, shape.width, 3]


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
