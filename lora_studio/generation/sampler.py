"""Makes videos: reads the prompts, plans the sets of patches, paints frame after frame, decodes them as they come.

B samples, R rows of the model (B times the branches of guidance), T latent frames, F pixel frames, C H W latents, N patches
per frame, D width. Knows no prompt text, no file, no progress bar.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.generation.given import check_fit, check_pictures, check_text, clip_length, given_frames
from lora_studio.generation.noise import NoiseSource, SeededNoise
from lora_studio.generation.painter import Painter
from lora_studio.generation.sequence import Story
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.masking import generation_rounds
from lora_studio.nova.schedules import Schedule
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import TILE_LATENTS, AutoencoderKLImage, AutoencoderKLOpenSora

Progress = Callable[[int, int], None]  # patch sets done, patch sets in all


def generate(
    transformer: NOVATransformer3DModel,
    vae: AutoencoderKLOpenSora | AutoencoderKLImage,
    scheduler: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
    seed: int | Sequence[int],
    first_frames: np.ndarray | None = None,
    negative: list[Tensor] | None = None,
    progress: Progress | None = None,
    num_latents: int | None = None,
    keyframes: Mapping[int, np.ndarray] | None = None,
) -> np.ndarray:
    """Samples one clip per text.

    Args:
        transformer: the backbone.
        vae: of the same checkpoint.
        scheduler: of the same checkpoint.
        text: B tensors (n_i, D_text), n_i up to the backbone's `text_token_len`.
        settings: how to sample.
        seed: one for every sample, or one each.
        first_frames: uint8 (B, F, H, W, 3), F = 4k + 1: how each clip begins, at the model's size. No other kind of number is
            taken: a float picture could reach from 0 to 1 as well as to 255.
        negative: B tensors (n_i, D_text) to steer away from; the null prompt when not given.
        progress: called after every patch set with the number done and the number in all; to cancel, raise from it.
        num_latents: latent frames T; 1 makes a still (text to image). None: as many as the checkpoint's clips have. More than
            that goes on with a sliding window (see `Story`).
        keyframes: latent frame -> uint8 pictures (B, H, W, 3) shown there, none of them within `first_frames`. Frames before a
            key frame do not see it coming.

    Returns:
        uint8 frames (B, F, H, W, 3), F = 4 (T - 1) + 1.

    Raises:
        ModelError: an argument is not as told above (texts of another width or longer than the model reads, pictures of another
            kind, number or size, seeds that are no whole numbers), or the given frames leave nothing to generate.
    """
    chunks = stream(
        transformer, vae, scheduler, text, settings, seed, first_frames, negative, progress, num_latents, keyframes
    )  # fmt: skip
    return np.concatenate(list(chunks), axis=1)


def stream(
    transformer: NOVATransformer3DModel,
    vae: AutoencoderKLOpenSora | AutoencoderKLImage,
    scheduler: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
    seed: int | Sequence[int],
    first_frames: np.ndarray | None = None,
    negative: list[Tensor] | None = None,
    progress: Progress | None = None,
    num_latents: int | None = None,
    keyframes: Mapping[int, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """`generate` that hands frames out as soon as they are decoded: uint8 (B, F_i, H, W, 3), 17 and then 16 at a time.

    Closing the iterator stops the work; nothing is left behind.
    """
    text, keyframes = check_text("text", text, transformer.config), keyframes or {}
    _check_pictures(first_frames, keyframes, len(text), transformer.latent_size)
    noise = SeededNoise(_seeds(seed, len(text)))
    first = None if first_frames is None else encode_frames(vae, first_frames)
    fixed = {index: encode_keyframe(vae, picture, index) for index, picture in keyframes.items()}
    latents = stream_latents(
        transformer, scheduler, text, settings, noise, first, negative, progress, num_latents, fixed
    )  # fmt: skip
    yield from decode_stream(vae, latents)


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
    keyframes: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """`generate` without the VAE: scaled latents (B, C, T, H, W) float32.

    `first_latents` is (B, C, T0, H, W) and each of `keyframes` (B, C, H, W), scaled; `noise` draws for B samples.
    """
    frames = stream_latents(
        transformer, scheduler, text, settings, noise, first_latents, negative, progress, num_latents, keyframes
    )  # fmt: skip
    return torch.stack(list(frames), dim=2)


@torch.no_grad()
def stream_latents(
    transformer: NOVATransformer3DModel,
    scheduler: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
    noise: NoiseSource,
    first_latents: Tensor | None = None,
    negative: list[Tensor] | None = None,
    progress: Progress | None = None,
    num_latents: int | None = None,
    keyframes: Mapping[int, Tensor] | None = None,
) -> Iterator[Tensor]:
    """`generate_latents`, one frame (B, C, H, W) at a time."""
    length, guidance = clip_length(num_latents, transformer.num_latents), settings.as_guidance()
    condition = _read_prompts(transformer, text, negative, settings)  # (R, L, D)
    size = (transformer.config.image_dim, *transformer.latent_size)
    given = given_frames(first_latents, keyframes or {}, (len(text), *size), length)
    order = _order(noise, len(text), transformer.num_patches).to(condition.device)  # (B, N)
    rounds = generation_rounds(order, settings.num_steps)
    plan = scheduler.plan(settings.num_diffusion_steps)
    painter = Painter(transformer, plan, noise, guidance, rounds, size, settings.temperature)
    story = Story(transformer, condition, guidance, len(text), length)
    tick = _counter(progress, (length - len(given)) * len(rounds))
    for index in range(length):
        frame = given[index] if index in given else painter.paint(story.context(), tick)
        if not torch.isfinite(frame).all():
            raise ModelError(
                f"latent frame {index} holds values that are not finite: text features, given frames or weights do, or half "
                "precision overflowed; try float32"
            )
        story.add(frame)
        yield frame


@torch.no_grad()
def encode_frames(vae: AutoencoderKLOpenSora | AutoencoderKLImage, frames: np.ndarray) -> Tensor:
    """uint8 frames (B, F, H, W, 3) -> scaled latents (B, C, T, H, W) float32: the mean of the VAE's posterior."""
    check_pictures("frames", frames, 5)
    weight = next(vae.parameters())
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(weight.device).movedim(-1, 1).float() / 127.5 - 1.0
    return vae.scale(vae.encode(pixels.to(weight.dtype)).mode().float())


def encode_keyframe(vae: AutoencoderKLOpenSora | AutoencoderKLImage, picture: np.ndarray, index: int) -> Tensor:
    """A picture, uint8 (B, H, W, 3), as latent frame `index`: (B, C, H, W). After frame 0 it stands for four still frames."""
    check_pictures("picture", picture, 4)
    num_frames = 1 if index == 0 else 5
    return encode_frames(vae, np.repeat(picture[:, None], num_frames, axis=1))[:, :, -1]


def decode_to_frames(vae: AutoencoderKLOpenSora | AutoencoderKLImage, latents: Tensor) -> np.ndarray:
    """Scaled latents (B, C, T, H, W) -> uint8 frames (B, F, H, W, 3)."""
    return np.concatenate(list(decode_stream(vae, latents.unbind(2))), axis=1)


@torch.no_grad()
def decode_stream(vae: AutoencoderKLOpenSora | AutoencoderKLImage, latents: Iterable[Tensor]) -> Iterator[np.ndarray]:
    """Scaled latent frames (B, C, H, W), one by one -> uint8 frames (B, F_i, H, W, 3) as soon as a tile is full."""
    tile: list[Tensor] = []
    is_first = True
    for latent in latents:
        tile.append(latent)
        if len(tile) == TILE_LATENTS:
            yield _decode_tile(vae, tile)[:, 0 if is_first else 1 :]
            tile, is_first = tile[-1:], False  # the next tile begins with the last frame of this one
    if is_first or len(tile) > 1:
        yield _decode_tile(vae, tile)[:, 0 if is_first else 1 :]


def _decode_tile(vae: AutoencoderKLOpenSora | AutoencoderKLImage, tile: list[Tensor]) -> np.ndarray:
    weight, clips = next(vae.parameters()), []
    for clip in torch.stack(tile, dim=2).split(1):  # one clip at a time: decoding is the largest user of memory
        pixels = vae.decode(vae.unscale(clip.to(weight.device)).to(weight.dtype)).float()  # (1, 3, F, H, W)
        if not torch.isfinite(pixels).all():
            kind = str(weight.dtype).removeprefix("torch.")
            raise ModelError(f"the VAE made pixels that are not finite in {kind}: decode in float32 (`vae.to(torch.float32)`)")
        values = (pixels * 127.5 + 127.5).clamp(0.0, 255.0).to(torch.uint8)  # cut off as the published code does
        clips.append(values.movedim(1, -1).cpu().numpy())
    return np.concatenate(clips)


def _check_pictures(
    first: np.ndarray | None, keyframes: Mapping[int, np.ndarray], count: int, latent_size: tuple[int, int]
) -> None:
    named = {f"keyframes[{index!r}]": (picture, 4) for index, picture in keyframes.items()}
    if first is not None:
        named["first_frames"] = (first, 5)
    for name, (pictures, num_axes) in named.items():
        check_pictures(name, pictures, num_axes)
        check_fit(name, pictures, count, latent_size)


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed for each sample."""
    each: Any = seed if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) else [seed] * count
    seeds = list(each)
    if len(seeds) != count:
        raise ModelError(f"seed: one for all or one each, got {len(seeds)} seeds for {count} prompts")
    return seeds


def _order(noise: NoiseSource, count: int, num_patches: int) -> Tensor:
    order = noise.order(num_patches)
    if order.shape != (count, num_patches):
        raise ModelError(f"noise draws for {len(order)} samples and there are {count} texts: give it a seed for each text")
    return order


def _read_prompts(
    transformer: NOVATransformer3DModel, text: list[Tensor], negative: list[Tensor] | None, settings: SamplerSettings
) -> Tensor:
    text = check_text("text", text, transformer.config)
    without = [row[:0] for row in text] if negative is None else check_text("negative", negative, transformer.config)
    if len(without) != len(text):
        raise ModelError(f"negative: one negative prompt for each prompt, got {len(without)} for {len(text)}")
    rows = text + without * (settings.as_guidance().num_branches - 1)
    return transformer.condition(rows, torch.full((len(rows),), settings.motion_flow))


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return tick
