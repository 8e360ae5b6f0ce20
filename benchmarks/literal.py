"""The published order of work, written out plainly on the same weights: what the benchmarks compare with.

As published: keys and values cached by concatenation; every block of the image encoder on all rows; in each diffusion step
the decoder's 2x2 convolution over the whole frame, the patches of the set picked from it, condition and time worked out
anew, the prediction put back into the whole frame, and the schedule's step on the whole frame. With `cached=False` also
without the cache: the video encoder reads all frames again for each one, under a dense mask.
B samples, R rows (2 B with guidance), N patches, M patches of a set, P values of a patch, D width, C H W latents.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lora_studio.generation.noise import NoiseSource
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.layers import KVCache, gather_patches, patchify, scatter_patches, unpatchify
from lora_studio.nova.masking import generation_rounds
from lora_studio.nova.schedules import Schedule
from lora_studio.nova.transformer import NOVATransformer3DModel


@torch.no_grad()
def generate_literally(
    model: NOVATransformer3DModel,
    schedule: Schedule,
    text: list[Tensor],
    settings: SamplerSettings,
    noise: NoiseSource,
    num_latents: int,
    cached: bool = True,
) -> Tensor:
    """Latents (B, C, T, H, W) as `lora_studio.generation.sampler.generate_latents` gives them, the long way."""
    rows = text + [row[:0] for row in text] if settings.guidance > 1 else text
    condition = model.condition(rows, torch.full((len(rows),), settings.motion_flow))
    device = condition.device
    size = (model.config.image_dim, *model.latent_size)
    rounds = generation_rounds(noise.order(model.num_patches).to(device), settings.num_steps)
    frames: list[Tensor] = []
    cache = KVCache()
    for frame in range(num_latents):
        if cached:
            before = _rows(frames[-1], settings) if frames else None
            context, cache = model.encode_video_frame(before, None if frames else condition, frame, num_latents, cache)
        else:
            clip = torch.stack([_rows(one, settings) for one in [*frames, torch.zeros(len(text), *size, device=device)]], dim=2)
            context = read_clip(model, clip, condition, num_latents)[:, -1]
        canvas = torch.zeros(len(text), *size, device=device)
        for patches in rounds:
            z = model.encode_image(_rows(canvas, settings), context, _rows(patches.kept_ids, settings))  # (R, N, D)
            canvas = denoise(model, schedule, z, canvas, patches.predicted_ids, settings, noise)
        frames.append(canvas)
    return torch.stack(frames, dim=2)


def _rows(values: Tensor, settings: SamplerSettings) -> Tensor:
    return torch.cat([values, values]) if settings.guidance > 1 else values


def read_clip(model: NOVATransformer3DModel, clip: Tensor, condition: Tensor, num_latents: int) -> Tensor:
    """The video encoder on all frames at once, under a dense mask: (R, C, t, H, W) -> (R, t, N_video, D).

    The last frame of the clip is not read.
    """
    batch, _, count, *size = clip.shape
    before = clip[:, :, :-1].transpose(1, 2).flatten(0, 1)
    tokens = model.video_encoder.patch_embed(before).unflatten(0, (batch, count - 1))
    tokens = torch.cat([model._no_frame(batch, size).unsqueeze(1), tokens], dim=1)
    tokens = tokens + model._video_positions(torch.arange(count, device=clip.device), num_latents, size)
    length, per_frame = condition.shape[1], tokens.shape[2]
    segment = torch.tensor([0] * length + [index for index in range(count) for _ in range(per_frame)], device=clip.device)
    mask = torch.zeros(len(segment), len(segment), device=clip.device).masked_fill(segment[:, None] < segment[None], float("-inf"))
    x = torch.cat([condition, tokens.flatten(1, 2)], dim=1)
    for block in model.video_encoder.blocks:
        q, k, v = block.attn.qkv(x).unflatten(-1, (3, block.attn.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = x + block.norm1(block.attn.proj(seen))
        x = x + block.norm2(block.mlp(x))
    out = model.video_encoder.norm(x)[:, length:].unflatten(1, (count, per_frame))
    first, later = out.split([1, count - 1], dim=1)
    return torch.cat([first, model.video_encoder.mix(first, later)], dim=1)


def denoise(
    model: NOVATransformer3DModel,
    schedule: Schedule,
    z: Tensor,
    canvas: Tensor,
    ids: Tensor,
    settings: SamplerSettings,
    noise: NoiseSource,
) -> Tensor:
    """All diffusion steps of one set, on the whole frame: z (R, N, D) -> the canvas (B, C, H, W) with the set's patches."""
    decoder, patch, size = model.image_decoder, model.patch, canvas.shape[1:]
    plan, sample = schedule.plan(settings.num_diffusion_steps), noise.grid(*size).to(canvas.device)  # (B, C, H, W)
    for index, timestep in enumerate(plan.timesteps):
        shown, picked = _rows(sample, settings), _rows(ids, settings)
        x = gather_patches(decoder.patch_embed(shown.to(z.dtype)), picked)  # (R, M, W)
        context = gather_patches(decoder.embed_condition(z), picked) + decoder.embed_time(timestep.to(z.device))
        modulation = decoder.modulate(context)
        for block, statistics in zip(decoder.blocks, modulation, strict=False):
            x = block(x, statistics)
        out = decoder.head(decoder.norm(x, modulation[-1])).float()  # (R, M, P)
        whole = unpatchify(scatter_patches(patchify(shown, patch), picked, out), patch, *size[1:])  # (R, C, H, W)
        if settings.guidance > 1:
            conditional, bare = whole.chunk(2)
            whole = bare + settings.guidance * (conditional - bare)
        fresh = noise.grid(*size).to(canvas.device) if plan.needs_noise(index) else None
        sample = plan.step(index, whole, sample, fresh)
    painted = gather_patches(patchify(sample, patch), ids)
    return unpatchify(scatter_patches(patchify(canvas, patch), ids, painted), patch, *size[1:])
