"""Replays a recorded VAE, 3D or 2D. Keys look like `osp.moments9`: a prefix, what it is, and for which number of frames.

B clips, C latent channels, T latent frames.
"""

import re

import torch
from torch import Tensor

from lora_studio.nova.vae import TILE_LATENTS, AutoencoderKLImage, AutoencoderKLOpenSora, sample_moments
from lora_studio.parity.recordings import Recording

_TILE_FRAMES = 4 * (TILE_LATENTS - 1) + 1
_UNUSED = ("latents_mean", "latents_std", "double_z")  # written by diffusers and by the published code, used by neither


def build(recording: Recording) -> AutoencoderKLOpenSora | AutoencoderKLImage:
    """The recorded VAE."""
    config = {key: value for key, value in recording.config.items() if key not in _UNUSED}
    is_video = any("3D" in name for name in config.get("down_block_types", ()))
    vae = AutoencoderKLOpenSora(**config) if is_video else AutoencoderKLImage.from_config(config)
    assert isinstance(vae, AutoencoderKLOpenSora | AutoencoderKLImage)
    vae.load_state_dict(recording.weights)
    return vae.eval()


@torch.no_grad()
def replay(recording: Recording) -> None:
    """Compares every encoding and decoding; the published counts of frames that come out are compared where whole."""
    vae = build(recording)
    for key in sorted(recording.tensors):
        match = re.fullmatch(r"(\w+)\.(x|image|z|z_image)(\d*)", key)
        if match is None:
            continue
        prefix, name, frames = match.groups()
        if name in ("x", "image"):
            _encode(recording, vae, f"{prefix}.", key, "image_" if name == "image" else "", frames)
        else:
            pixels = vae.decode(_as_clip(recording.given(key)))
            recording.compare(f"{prefix}.dec{'_image' if name == 'z_image' else frames}", _like(pixels, recording.given(key)))
    _counts(recording, vae)


def _encode(
    recording: Recording, vae: AutoencoderKLOpenSora | AutoencoderKLImage, prefix: str, key: str, kind: str, frames: str
) -> None:
    pixels = recording.given(key)
    posterior = vae.encode(_as_clip(pixels))
    recording.compare(f"{prefix}{kind}moments{frames}", _like(posterior.parameters, pixels))
    recording.compare(f"{prefix}mean{frames}", posterior.mean)
    recording.compare(f"{prefix}std{frames}", posterior.std)
    whole = f"{prefix}moments{frames}_untiled"
    if whole in recording:
        assert isinstance(vae, AutoencoderKLOpenSora)
        recording.compare(whole, untiled := vae.quant_conv(vae.encoder(pixels)))
        _tiling(recording, float((untiled - posterior.parameters).abs().max()))
    draws = recording.draws(f"{prefix}sample{frames}")
    if draws:
        latents = sample_moments(posterior.parameters, draws[0][1])
        recording.compare(f"{prefix}sample{frames}", latents)
        recording.compare(f"{prefix}scaled{frames}", vae.scale(latents))


def _as_clip(values: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 1, H, W)."""
    return values.unsqueeze(2) if values.ndim == 4 else values


def _like(values: Tensor, given: Tensor) -> Tensor:
    """(B, C, 1, H, W) -> (B, C, H, W) where single images were given."""
    return values[:, :, 0] if given.ndim == 4 else values


def _tiling(recording: Recording, found: float) -> None:
    """How much a clip encoded in tiles differs from the same clip encoded whole."""
    if "osp_tiled_vs_untiled_encode_maxdiff" in recording.facts:
        want = recording.facts["osp_tiled_vs_untiled_encode_maxdiff"]
        recording.compare_number("osp_tiled_vs_untiled_encode_maxdiff", found, want)
        recording.settle("osp_tiled_vs_untiled_encode_maxdiff")


def _counts(recording: Recording, vae: AutoencoderKLOpenSora | AutoencoderKLImage) -> None:
    """Parameters; frames out for latents in, and the other way round.

    The published tiles drop frames where a clip does not fill them, ours keep all (4 (T - 1) + 1): such lengths are left out, a
    remark says which, and a count that is not what the published tiles give either is noted.
    """
    facts = recording.facts
    channels = recording.config["latent_channels"]
    if "opensora_params" in facts:
        found = sum(parameter.numel() for parameter in vae.parameters())
        recording.compare_fact("opensora_params", found, facts["opensora_params"])
    decoded, encoded = facts.get("osp_frames_out_for_latents", {}), facts.get("osp_latents_out_for_frames", {})
    left_out: dict[str, int] = {}  # what the published tiles give
    for length, frames in decoded.items():
        if _fills_tiles(int(length)):
            found = vae.decode(torch.zeros(1, channels, int(length), 2, 2)).shape[2]
            recording.compare_fact(f"frames of {length} latents", found, frames)
        else:
            left_out[length] = (_TILE_FRAMES - 1) * ((int(length) - 1) // (TILE_LATENTS - 1)) + 1
    _leave_out(recording, "osp_frames_out_for_latents", decoded, left_out)
    left_out = {}
    for frames, length in encoded.items():
        latents = (int(frames) - 1) // 4 + 1
        if int(frames) % 4 == 1 and _fills_tiles(latents):
            found = vae.encode(torch.zeros(1, 3, int(frames), 16, 16)).parameters.shape[2]
            recording.compare_fact(f"latents of {frames} frames", found, length)
        else:
            tiled = (TILE_LATENTS - 1) * ((int(frames) - 1) // (_TILE_FRAMES - 1)) + 1
            left_out[frames] = latents if latents <= TILE_LATENTS and int(frames) <= _TILE_FRAMES else tiled
    _leave_out(recording, "osp_latents_out_for_frames", encoded, left_out)
    recording.settle("opensora_params", "osp_frames_out_for_latents", "osp_latents_out_for_frames")


def _leave_out(recording: Recording, fact: str, told: dict[str, int], published: dict[str, int]) -> None:
    """Says which lengths were not compared with ours, and which of them were told otherwise than the published tiles give."""
    if published:
        recording.remarks.append(
            f"{fact}: not compared with ours for {', '.join(published)}: such a clip does not fill the published tiles, which then "
            "drop frames, and ours drops none"
        )
    for length, count in published.items():
        if told[length] != count:
            recording.notes.append(f"{fact}: {told[length]} is told for {length}, and the published tiles give {count}")


def _fills_tiles(num_latents: int) -> bool:
    return num_latents <= TILE_LATENTS or num_latents % (TILE_LATENTS - 1) == 1
