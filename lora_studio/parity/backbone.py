"""Replays a recorded backbone: condition, video encoder, image encoder, decoder, each tensor between the layers.

B batch, T latent frames, N patches, D width, R rows (B * T), L condition tokens, C H W latents.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lora_studio.nova.layers import KVCache, gather_patches, patchify, scatter_patches, unpatchify
from lora_studio.nova.positions import rotary_angles, rotate, sincos
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.parity.recordings import Recording


def build(recording: Recording, num_latents: int | None = None) -> NOVATransformer3DModel:
    """The recorded transformer, for clips of `num_latents` frames (those of the recorded input when not given)."""
    length = num_latents or recording.wanted("in.x").shape[2]
    model = NOVATransformer3DModel(**recording.config, clip_latents=length)
    model.load_state_dict(recording.weights)
    return model.eval()


def inputs(recording: Recording) -> tuple[list[Tensor], Tensor | None, Tensor]:
    """Texts, motion flow (B,) and latents (B, C, T, H, W) of the forward parts."""
    keys = sorted((key for key in recording.tensors if key.startswith("in.text")), key=lambda key: int(key[7:]))
    flow = recording.facts["in"].get("motion_flow")
    return [recording.given(key) for key in keys], None if flow is None else torch.tensor(flow), recording.given("in.x")


@torch.no_grad()
def replay(recording: Recording) -> None:
    """Compares every tensor of the forward passes."""
    model = build(recording)
    text, flow, latents = inputs(recording)
    fps = float(recording.facts["in"].get("fps") or 12.0)
    condition = _condition(recording, model, text, flow, fps)
    _video_encoder(recording, model, latents, condition)
    _image_encoder(recording, model, latents)
    _decoder(recording, model, latents)


def _condition(recording: Recording, model: NOVATransformer3DModel, text: list[Tensor], flow: Tensor | None, fps: float) -> Tensor:
    recording.compare("cond.text_padded", model.text_embed.pad(text))
    recording.compare("cond.text_tokens", model.text_embed(text))
    condition = model.condition(text, flow, fps)
    if model.motion_embed is not None and flow is not None:
        recording.compare("cond.motion_tokens", condition[:, -2:])
    recording.compare("cond.c", condition)
    return condition


def _video_encoder(recording: Recording, model: NOVATransformer3DModel, latents: Tensor, condition: Tensor) -> None:
    batch, _, num_frames, *size = latents.shape
    length = condition.shape[1]
    before = latents[:, :, :-1].transpose(1, 2).flatten(0, 1)  # (B * (T - 1), C, H, W)
    patches = model.video_encoder.patch_embed(before).unflatten(0, (batch, num_frames - 1))
    recording.compare("venc.patch", patches)
    with outputs_of(model.video_encoder) as seen:
        mixed = model.encode_video(latents, condition)
    tokens = seen["in"][:, length:].unflatten(1, (num_frames, -1))  # (B, T, N, D)
    recording.compare("venc.tokens", tokens)
    recording.compare("venc.attn_mask", _mask(length, num_frames, tokens.shape[2]))
    for name, value in seen.items():
        if name.startswith("block"):
            recording.compare(f"venc.{name}", value)
    recording.compare("venc.out", seen["out"][:, length:])
    recording.compare("venc.mixed", mixed)
    if recording.facts.get("venc_kvcache_vs_mask_maxdiff") is not None:
        cached = _frame_by_frame(model, latents, condition)
        recording.compare_number("venc_kvcache_vs_mask_maxdiff", float((cached - mixed).abs().max()), 0.0)
        recording.settle("venc_kvcache_vs_mask_maxdiff")
    if "venc.rope_q" in recording:
        _rotary(recording, model, length, num_frames, size)


def _mask(length: int, num_frames: int, per_frame: int) -> Tensor:
    """Which token sees which: 0 or minus infinity, (L + T * N, L + T * N). Ours never makes it; it says what segments mean."""
    segment = torch.tensor([0] * length + [frame for frame in range(num_frames) for _ in range(per_frame)])
    return torch.zeros(len(segment), len(segment)).masked_fill(segment[:, None] < segment[None], float("-inf"))


def _frame_by_frame(model: NOVATransformer3DModel, latents: Tensor, condition: Tensor) -> Tensor:
    cache, outputs = KVCache(), []
    for frame in range(latents.shape[2]):
        before = latents[:, :, frame - 1] if frame else None
        out, cache = model.encode_video_frame(before, None if frame else condition, frame, latents.shape[2], cache)
        outputs.append(out)
    return torch.stack(outputs, dim=1)


def _rotary(recording: Recording, model: NOVATransformer3DModel, length: int, num_frames: int, size: list[int]) -> None:
    heads = recording.given("venc.rope_q")  # (B, A, S, K)
    positions = model.video_positions(length, torch.arange(num_frames), size)  # (S, 3)
    angles = rotary_angles(positions, model.head_width)  # (S, K / 2)
    recording.compare("venc.rope_pos", positions.expand(len(heads), -1, -1))
    cos, sin = angles.cos(), angles.sin()
    turn = torch.stack([torch.stack([cos, -sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)  # (S, K / 2, 2, 2)
    recording.compare("venc.rope_weight", turn.expand(len(heads), 1, *turn.shape))
    recording.compare("venc.rope_q_out", rotate(heads, angles.unsqueeze(0)))


def _image_encoder(recording: Recording, model: NOVATransformer3DModel, latents: Tensor) -> None:
    frames = latents.transpose(1, 2).flatten(0, 1)  # (R, C, H, W)
    condition = recording.wanted("venc.mixed").flatten(0, 1)  # (R, N_video, D)
    patches = model.image_encoder.patch_embed(frames)  # (R, N, D)
    recording.compare("ienc.patch", patches)
    recording.compare("ienc.patchify", cut := patchify(frames, model.patch))
    if "unpatchify_roundtrip_exact" in recording.facts:
        is_exact = torch.equal(unpatchify(cut, model.patch, *frames.shape[-2:]), frames)
        recording.compare_fact("unpatchify_roundtrip_exact", is_exact, recording.facts["unpatchify_roundtrip_exact"])
        recording.settle("unpatchify_roundtrip_exact")
    kept = recording.given("ienc.prev_ids")  # (R, K, 1)
    mask = torch.ones_like(patches[..., :1]).scatter(1, kept, 0.0)
    recording.compare("ienc.mask", mask)
    unknown = model.mask_embed.mask_token.expand_as(patches)
    recording.compare("ienc.masked", scatter_patches(unknown, kept[..., 0], gather_patches(patches, kept[..., 0])))
    with outputs_of(model.image_encoder) as seen:
        out = model.encode_image(frames, condition, kept[..., 0])
    for name, value in seen.items():
        if name.startswith("block"):
            recording.compare(f"ienc.{name}", value)
    recording.compare("ienc.out", out)
    every = torch.arange(patches.shape[1]).expand(len(frames), -1)
    recording.compare("ienc.out0", model.encode_image(frames, condition, every[:, :0]))
    recording.compare("ienc.outall", model.encode_image(frames, condition, every))


def _decoder(recording: Recording, model: NOVATransformer3DModel, latents: Tensor) -> None:
    patches = patchify(latents.transpose(1, 2), model.patch).flatten(0, 1)  # (R, N, P)
    z, times = recording.given("mlp.z"), recording.given("mlp.t_token")
    decoder = model.image_decoder
    width = recording.wanted("mlp.freq_token0").shape[-1]
    sine, cosine = sincos(times[0], width).chunk(2, dim=-1)
    recording.compare("mlp.freq_token0", torch.cat([cosine, sine], dim=-1))
    recording.compare("mlp.cond_token", decoder.embed_condition(z) + decoder.embed_time(times))
    recording.compare("mlp.out_token", model.denoise(patches, times, z))
    ids = recording.given("mlp.ids")[..., 0]  # (R, M)
    some = model.denoise(gather_patches(patches, ids), torch.tensor(437.5), gather_patches(z, ids))
    recording.compare("mlp.out_ids", scatter_patches(patches, ids, some))  # other rows hold their own noisy value


@contextmanager
def outputs_of(encoder: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What goes through an encoder meanwhile: `in` (of the first block), `block0`, `block1`, ... and `out` (normalised)."""
    seen: dict[str, Tensor] = {}
    blocks = encoder.get_submodule("blocks")

    def keep(name: str):
        def hook(_: nn.Module, __: tuple, output: Tensor) -> None:
            seen[name] = output

        return hook

    handles = [block.register_forward_hook(keep(f"block{index}")) for index, block in enumerate(blocks.children())]
    handles.append(next(blocks.children()).register_forward_pre_hook(lambda _, args: seen.__setitem__("in", args[0])))
    handles.append(encoder.get_submodule("norm").register_forward_hook(keep("out")))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
