"""Pixels to latents and back: the causal 3D autoencoder of the video checkpoints, and diffusers' 2D one for images.

B batch, C latent channels, F pixel frames, T latent frames, H W pixels, h w latent cells. Pixels are in -1..1. Long clips
are cut into tiles in time that overlap by one frame; every frame count 4k + 1 comes out whole.
"""


import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from lora_studio.errors import ModelError
from lora_studio.nova.rules import check_vae
from lora_studio.nova.vae_layers import CausalConv3d, DownBlock, MidBlock, PartNorm, UpBlock, activate, cut, per_frame

_TILE_FRAMES, TILE_LATENTS, _FRAMES_PER_LATENT = 17, 5, 4


def sample_moments(moments: Tensor, noise: Tensor) -> Tensor:
    """Draws latents from a posterior: moments (B, 2C, T, h, w), standard normal noise (B, C, T, h, w) -> (B, C, T, h, w).

    Computed in float32; the result is unscaled.
    """
    mean, log_variance = moments.float().chunk(2, dim=1)
    return mean + (0.5 * log_variance.clamp(-30.0, 20.0)).exp() * noise


def pixel_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a VAE computes in beside a backbone of `dtype`: bfloat16 has too few digits for pixels, float16 has as many bits."""
    return torch.float16 if dtype == torch.bfloat16 else dtype


class _ScaledLatents(ConfigMixin):
    def scale(self, latents: Tensor) -> Tensor:
        """Latents as the backbone expects them: (latents - shift) * scaling factor."""
        return (latents - (self.config["shift_factor"] or 0.0)) * self.config["scaling_factor"]

    def unscale(self, latents: Tensor) -> Tensor:
        """The inverse of `scale`."""
        return latents / self.config["scaling_factor"] + (self.config["shift_factor"] or 0.0)


class _Encoder(nn.Module):
    def __init__(self, in_channels: int, latent_channels: int, widths: tuple[int, ...], depth: int, groups: int, kinds: list[bool]):
        super().__init__()
        ins, downs = (widths[0], *widths[:-1]), _ways(len(widths))
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock(i, o, groups, depth, is_3d, down) for i, o, is_3d, down in zip(ins, widths, kinds, downs, strict=True)
        )
        self.mid_block = MidBlock(widths[-1], groups)
        self.conv_norm_out = PartNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = CausalConv3d(widths[-1], 2 * latent_channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [per_frame(self.conv_in, part) for part in cut([x], self.conv_in.out_channels)]
        for block in self.down_blocks:
            parts = block(parts)
        return torch.cat(list(self.conv_out.over(activate(self.conv_norm_out, self.mid_block(parts)))), dim=2)


class _Decoder(nn.Module):
    def __init__(self, out_channels: int, latent_channels: int, widths: tuple[int, ...], depth: int, groups: int) -> None:
        super().__init__()
        outs = widths[::-1]
        ins, ups = (outs[0], *outs[:-1]), (*_ways(len(widths))[-2::-1], "none")
        self.conv_in = CausalConv3d(latent_channels, outs[0])
        self.mid_block = MidBlock(outs[0], groups)
        self.up_blocks = nn.ModuleList(
            UpBlock(i, o, groups, depth + 1, up) for i, o, up in zip(ins, outs, ups, strict=True)
        )
        self.conv_norm_out = PartNorm(groups, widths[0], eps=1e-6)
        self.conv_out = CausalConv3d(widths[0], out_channels)

    def forward(self, z: Tensor) -> Tensor:
        parts = self.mid_block(list(self.conv_in.over([z])))
        for block in self.up_blocks:
            parts = block(parts)
        return torch.cat(list(self.conv_out.over(activate(self.conv_norm_out, parts))), dim=2)


def _ways(num_blocks: int) -> tuple[str, ...]:
    """Which sizes halve after each encoder stage: only space, then space and time, nothing after the last."""
    return ("2d", *("3d",) * (num_blocks - 2), "none")


class AutoencoderKLOpenSora(ModelMixin, _ScaledLatents):
    """Causal 3D autoencoder: 8 x 8 pixels and 4 frames to one latent cell, the first frame by itself."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",) * 2 + ("DownEncoderBlock3D",) * 2,
        up_block_types: tuple[str, ...] = ("UpDecoderBlock3D",) * 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        sample_size: int = 480,
        scaling_factor: float = 0.18215,
        shift_factor: float | None = None,
        force_upcast: bool = True,
        use_quant_conv: bool = True,
        use_post_quant_conv: bool = True,
    ) -> None:
        super().__init__()
        check_vae(dict(self.config), is_video=True)
        kinds = [name == "DownEncoderBlock3D" for name in down_block_types]
        widths = tuple(block_out_channels)
        self.encoder = _Encoder(in_channels, latent_channels, widths, layers_per_block, norm_num_groups, kinds)
        self.decoder = _Decoder(out_channels, latent_channels, widths, layers_per_block, norm_num_groups)
        moments = 2 * latent_channels
        self.quant_conv = nn.Conv3d(moments, moments, 1) if use_quant_conv else nn.Identity()
        self.post_quant_conv = nn.Conv3d(latent_channels, latent_channels, 1) if use_post_quant_conv else nn.Identity()

    @apply_forward_hook
    def encode(self, pixels: Tensor) -> DiagonalGaussianDistribution:
        """Posterior of a clip, unscaled.

        Args:
            pixels: (B, 3, F, H, W) in -1..1; F is 4k + 1, H and W are multiples of 8.

        Returns:
            A distribution whose `parameters` are the moments (B, 2C, T, h, w), T = (F - 1) / 4 + 1.

        Raises:
            ModelError: for any other number of frames or size.
        """
        _check_clip(pixels, self.config["in_channels"])
        pixels, parts = pixels.to(self.device), []
        for start in range(0, max(pixels.shape[2] - 1, 1), _TILE_FRAMES - 1):
            moments = self.quant_conv(self.encoder(pixels[:, :, start : start + _TILE_FRAMES]))
            parts.append(moments if start == 0 else moments[:, :, 1:])  # the overlap belongs to the earlier tile
        return DiagonalGaussianDistribution(torch.cat(parts, dim=2))

    @apply_forward_hook
    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents (B, C, T, h, w) -> pixels (B, 3, F, H, W), about -1..1, F = 4 (T - 1) + 1."""
        _check_latents(latents, self.config["latent_channels"])
        latents, parts = latents.to(self.device), []
        for start in range(0, max(latents.shape[2] - 1, 1), TILE_LATENTS - 1):
            pixels = self.decoder(self.post_quant_conv(latents[:, :, start : start + TILE_LATENTS]))
            parts.append(pixels if start == 0 else pixels[:, :, 1:])
        return torch.cat(parts, dim=2)


class AutoencoderKLImage(AutoencoderKL, _ScaledLatents):
    """diffusers' 2D autoencoder of the image checkpoints, behind the same two calls as the 3D one."""

    @apply_forward_hook
    def encode(self, pixels: Tensor) -> DiagonalGaussianDistribution:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As `AutoencoderKLOpenSora.encode`, for one frame."""
        _check_clip(pixels, self.config["in_channels"])
        if pixels.shape[2] != 1:
            raise ModelError(f"this model's VAE is for single images, got a clip of {pixels.shape[2]} frames")
        (posterior,) = super().encode(pixels[:, :, 0].to(self.device), return_dict=False)
        return DiagonalGaussianDistribution(posterior.parameters.unsqueeze(2))

    @apply_forward_hook
    def decode(self, latents: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As `AutoencoderKLOpenSora.decode`, for one frame."""
        _check_latents(latents, self.config["latent_channels"])
        (pixels,) = super().decode(latents[:, :, 0].to(self.device), return_dict=False)  # pyright: ignore[reportArgumentType]
        return pixels.unsqueeze(2)


def _check_clip(pixels: Tensor, channels: int) -> None:
    if pixels.ndim != 5 or pixels.shape[1] != channels:
        raise ModelError(f"a clip must be (B, {channels}, F, H, W), got {tuple(pixels.shape)}")
    frames, height, width = pixels.shape[2:]
    if frames % _FRAMES_PER_LATENT != 1:
        help_words = f": drop {(frames - 1) % 4} frames" if frames else ""
        raise ModelError(f"a clip must have 1, 5, 9, 13, ... frames (4k + 1), got {frames}{help_words}")
    if height % 8 or width % 8:
        raise ModelError(f"height and width must be multiples of 8 pixels, got {height} x {width}")


def _check_latents(latents: Tensor, channels: int) -> None:
    if latents.ndim != 5 or latents.shape[1] != channels:
        raise ModelError(f"latents must be (B, {channels}, T, h, w), got {tuple(latents.shape)}")
