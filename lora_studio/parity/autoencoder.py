"""Replays a recorded VAE, 3D or 2D. Keys look like `osp.moments9`: a prefix, what it is, and for which number of frames.

B clips, C latent channels, T latent frames.
"""

import re

import torch
from torch import Tensor

from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora, sample_moments
from lora_studio.parity.recordings import Recording

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
        recording.compare(whole, vae.quant_conv(vae.encoder(pixels)))
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


def _counts(recording: Recording, vae: AutoencoderKLOpenSora | AutoencoderKLImage) -> None:
    """Frames out for latents in. The published tiles drop frames at other lengths; ours keep all (4 (T - 1) + 1)."""
    counts = recording.facts.get("osp_frames_out_for_latents", {})
    if not counts:
        return
    channels = recording.config["latent_channels"]
    for length, frames in counts.items():
        if frames == 4 * (int(length) - 1) + 1:
            found = vae.decode(torch.zeros(1, channels, int(length), 2, 2)).shape[2]
            recording.compare_fact(f"frames of {length} latents", found, frames)
