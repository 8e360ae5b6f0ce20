"""Building blocks of the causal 3D autoencoder. Parameter names are those of the published weights.

B batch, C channels, F frames, H W pixels or latent cells. Convolutions look only back in time; the frame before the
first is the first again. The two outer encoder stages work on single frames.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def per_frame(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a layer for images to each frame of (B, C, F, H, W)."""
    batch = x.shape[0]
    return layer(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, -1)).transpose(1, 2)


class CausalConv3d(nn.Conv3d):
    """3D convolution that sees this frame and the ones before; zeros beyond the picture's edge."""

    def __init__(self, channels: int, out_channels: int, kernel: int | tuple[int, int, int] = 3, stride: int = 1) -> None:
        kernel = (kernel, kernel, kernel) if isinstance(kernel, int) else kernel
        side = kernel[1] // 2 if stride == 1 else 0
        super().__init__(channels, out_channels, kernel, stride, padding=(0, side, side))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, F, H, W) -> (B, C_out, ceil(F / stride), H', W')."""
        if self.kernel_size[0] > 1:
            x = torch.cat([x[:, :, :1].expand(-1, -1, self.kernel_size[0] - 1, -1, -1), x], dim=2)
        return super().forward(x)


class Resnet(nn.Module):
    """Two convolutions and a shortcut; 3D, or 2D on single frames."""

    def __init__(self, channels: int, out_channels: int, groups: int, is_3d: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        if is_3d:
            self.conv1 = CausalConv3d(channels, out_channels)
            self.conv2 = CausalConv3d(out_channels, out_channels)
            shortcut = CausalConv3d(channels, out_channels, 1)
        else:
            self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
            self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
            shortcut = nn.Conv2d(channels, out_channels, 1)
        self.conv_shortcut = shortcut if channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C_out, ...)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class FrameAttention(nn.Module):
    """Self-attention of one head over the cells of each frame, normalised over all frames."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C, F, H, W)."""
        cells = self.group_norm(x).movedim(1, -1).flatten(2, 3)  # (B, F, H * W, C)
        out = functional.scaled_dot_product_attention(self.to_q(cells), self.to_k(cells), self.to_v(cells))
        return x + self.to_out[0](out).unflatten(2, x.shape[-2:]).movedim(-1, 1)


class MidBlock(nn.Module):
    """Resnet, attention within each frame, resnet."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(channels, channels, groups, is_3d=True) for _ in range(2))
        self.attentions = nn.ModuleList([FrameAttention(channels, groups)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C, F, H, W)."""
        x = self.resnets[0](x)
        x = self.attentions[0](x)
        return self.resnets[1](x)


class Downsample(nn.Module):
    """Halves height and width, and frames too when 3D (the first frame stays by itself)."""

    def __init__(self, channels: int, is_3d: bool) -> None:
        super().__init__()
        self.is_3d = is_3d
        self.conv = CausalConv3d(channels, channels, stride=2) if is_3d else nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C, F', H / 2, W / 2), F' = (F + 1) / 2 when 3D."""
        x = functional.pad(x, (0, 1, 0, 1))
        return self.conv(x) if self.is_3d else per_frame(self.conv, x)


class Upsample(nn.Module):
    """Doubles height and width, and every frame but the first when `doubles_frames`."""

    def __init__(self, channels: int, doubles_frames: bool) -> None:
        super().__init__()
        self.doubles_frames = doubles_frames
        self.conv = CausalConv3d(channels, channels, 3 if doubles_frames else (1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C, F', 2 H, 2 W), F' = 2 F - 1 when frames double."""
        if not self.doubles_frames:
            x = functional.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
        else:
            first = functional.interpolate(x[:, :, :1], scale_factor=(1, 2, 2), mode="trilinear")
            later = [functional.interpolate(x[:, :, 1:], scale_factor=(2, 2, 2), mode="trilinear")] if x.shape[2] > 1 else []
            x = torch.cat([first, *later], dim=2)
        return self.conv(x)


class DownBlock(nn.Module):
    """Resnets at one size, then the way down."""

    def __init__(self, channels: int, out_channels: int, groups: int, num_layers: int, is_3d: bool, down: str) -> None:
        super().__init__()
        self.is_3d = is_3d
        self.resnets = nn.ModuleList(
            Resnet(channels if index == 0 else out_channels, out_channels, groups, is_3d) for index in range(num_layers)
        )
        self.downsamplers = None if down == "none" else nn.ModuleList([Downsample(out_channels, is_3d=down == "3d")])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C_out, F', H', W')."""
        for resnet in self.resnets:
            x = resnet(x) if self.is_3d else per_frame(resnet, x)
        return x if self.downsamplers is None else self.downsamplers[0](x)


class UpBlock(nn.Module):
    """Resnets at one size, then the way up."""

    def __init__(self, channels: int, out_channels: int, groups: int, num_layers: int, up: str) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            Resnet(channels if index == 0 else out_channels, out_channels, groups, is_3d=True) for index in range(num_layers)
        )
        self.upsamplers = None if up == "none" else nn.ModuleList([Upsample(out_channels, doubles_frames=up == "3d")])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) -> (B, C_out, F', H', W')."""
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.upsamplers is None else self.upsamplers[0](x)
