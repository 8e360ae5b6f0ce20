"""Building blocks of the causal 3D autoencoder. Parameter names are those of the published weights.

B batch, C channels, F frames, H W pixels or latent cells. Convolutions look only back in time; the frame before the
first is the first again. The two outer encoder stages work on single frames.

A clip travels as parts, pieces in time that follow each other: (B, C, F_i, H, W) each. A block empties the list it is given, so
that a clip is never whole at more than two stages at once; what depends on all frames (the statistics of a norm) is worked
out first. The result is that of the clip in one part, up to rounding.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Parts = list[Tensor]
Statistics = tuple[Tensor, Tensor]  # mean and variance of each group of each sample, (B, G) each, float32

PART_NUMBERS = 2**25  # a part holds no more numbers than this, or one frame


def drain(parts: Parts) -> Iterator[Tensor]:
    """Hands the parts out in order and forgets each."""
    parts.reverse()
    while parts:
        yield parts.pop()


def cut(parts: Iterable[Tensor], channels: int) -> Iterator[Tensor]:
    """Parts that are not too large once they have that many channels; uncut for training, which keeps every stage anyway."""
    if torch.is_grad_enabled():
        yield from parts
        return
    for part in parts:
        frame = len(part) * channels * part.shape[-2] * part.shape[-1]
        yield from part.split(max(1, PART_NUMBERS // frame), dim=2)


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

    def over(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """Parts of F frames in all -> parts of ceil(F / stride) frames in all, (B, C_out, F_i, H', W') each."""
        length, stride = self.kernel_size[0], self.stride[0]
        before: Tensor | None = None
        for part in parts:
            if before is None:
                before = part[:, :, :1].expand(-1, -1, length - 1, -1, -1)
            x = torch.cat([before, part], dim=2) if before.shape[2] else part
            part = before = None  # full-size frames are what fills memory: none is held longer than needed
            count = (x.shape[2] - length) // stride + 1
            y = self(x) if count > 0 else None
            before = x[:, :, stride * count :].clone()
            del x
            if y is not None:
                yield y


class PartNorm(nn.GroupNorm):
    """Group norm over all frames of a clip that may come in parts."""

    def statistics(self, parts: Parts) -> Statistics | None:
        """What `forward` must be told about the whole clip; None when the clip is one part."""
        if len(parts) == 1:
            return None
        found = []
        for part in parts:
            groups = part.flatten(2).unflatten(1, (self.num_groups, -1)).flatten(2)  # (B, G, n_i)
            found.append((groups.shape[-1], *torch.var_mean(groups.float(), dim=-1, correction=0)))
        total = sum(count for count, _, _ in found)
        mean = sum(count / total * part for count, _, part in found)
        variance = sum(count / total * (spread + (part - mean) ** 2) for count, spread, part in found)
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        return mean, variance

    def forward(self, x: Tensor, statistics: Statistics | None = None) -> Tensor:  # type: ignore[override]
        """(B, C, F, H, W) -> the same shape."""
        if statistics is None:
            return super().forward(x)
        mean, variance = (part.repeat_interleave(self.num_channels // self.num_groups, dim=1).flatten() for part in statistics)
        weight, bias = (parameter.float().repeat(len(x)) for parameter in (self.weight, self.bias))
        rows = x.reshape(1, -1, *x.shape[2:])  # a batch of one, so that every sample has statistics of its own
        return functional.batch_norm(rows, mean, variance, weight, bias, eps=self.eps).view_as(x)


class FrameResnet(nn.Module):
    """Two convolutions and a shortcut, for single frames."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) -> (R, C_out, H, W)."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = self.conv2(functional.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Resnet(nn.Module):
    """Two causal convolutions and a shortcut."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = PartNorm(groups, channels, eps=1e-6)
        self.norm2 = PartNorm(groups, out_channels, eps=1e-6)
        self.conv1 = CausalConv3d(channels, out_channels)
        self.conv2 = CausalConv3d(out_channels, out_channels)
        self.conv_shortcut = CausalConv3d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> (B, C_out, F_i, H, W) each."""
        statistics, kept = self.norm1.statistics(parts), []

        def enter(part: Tensor) -> Tensor:
            kept.append(part if self.conv_shortcut is None else self.conv_shortcut(part))
            return functional.silu(self.norm1(part, statistics))

        hidden = list(self.conv1.over(map(enter, drain(parts))))
        return [y + x for y, x in zip(self.conv2.over(activate(self.norm2, hidden)), drain(kept), strict=True)]


class FrameAttention(nn.Module):
    """Self-attention of one head over the cells of each frame, normalised over all frames."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = PartNorm(groups, channels, eps=1e-6)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> the same shapes."""
        statistics = self.group_norm.statistics(parts)
        return [x + self._attend(self.group_norm(x, statistics)) for x in drain(parts)]

    def _attend(self, x: Tensor) -> Tensor:
        cells = x.movedim(1, -1).flatten(2, 3)  # (B, F, H * W, C)
        out = functional.scaled_dot_product_attention(self.to_q(cells), self.to_k(cells), self.to_v(cells))
        return self.to_out[0](out).unflatten(2, x.shape[-2:]).movedim(-1, 1)


class MidBlock(nn.Module):
    """Resnet, attention within each frame, resnet."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(channels, channels, groups) for _ in range(2))
        self.attentions = nn.ModuleList([FrameAttention(channels, groups)])

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> the same shapes."""
        return self.resnets[1](self.attentions[0](self.resnets[0](parts)))


class Downsample(nn.Module):
    """Halves height and width, and frames too when 3D (the first frame stays by itself)."""

    def __init__(self, channels: int, is_3d: bool) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, stride=2) if is_3d else nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> (B, C, F'_i, H / 2, W / 2) each; the sum of F'_i is (F + 1) / 2 when 3D."""
        padded = (functional.pad(part, (0, 1, 0, 1)) for part in drain(parts))
        if isinstance(self.conv, CausalConv3d):
            return list(self.conv.over(padded))
        return [per_frame(self.conv, part) for part in padded]


class Upsample(nn.Module):
    """Doubles height and width, and every frame but the first when `doubles_frames`."""

    def __init__(self, channels: int, doubles_frames: bool) -> None:
        super().__init__()
        self.channels = channels
        self.doubles_frames = doubles_frames
        self.conv = CausalConv3d(channels, channels, 3 if doubles_frames else (1, 3, 3))

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> (B, C, F'_i, 2 H, 2 W) each; the sum of F'_i is 2 F - 1 when frames double."""
        if self.doubles_frames:
            larger = double_frames(cut(drain(parts), 8 * self.channels))
        else:
            smaller = cut(drain(parts), 4 * self.channels)
            larger = (functional.interpolate(part, scale_factor=(1, 2, 2), mode="nearest") for part in smaller)
        return list(self.conv.over(cut(larger, self.channels)))


class DownBlock(nn.Module):
    """Resnets at one size, then the way down."""

    def __init__(self, channels: int, out_channels: int, groups: int, num_layers: int, is_3d: bool, down: str) -> None:
        super().__init__()
        self.is_3d = is_3d
        kind = Resnet if is_3d else FrameResnet
        self.resnets = nn.ModuleList(
            kind(channels if index == 0 else out_channels, out_channels, groups) for index in range(num_layers)
        )
        self.downsamplers = None if down == "none" else nn.ModuleList([Downsample(out_channels, is_3d=down == "3d")])

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> (B, C_out, F'_i, H', W') each."""
        for resnet in self.resnets:
            parts = resnet(parts) if self.is_3d else [per_frame(resnet, part) for part in drain(parts)]
        return parts if self.downsamplers is None else self.downsamplers[0](parts)


class UpBlock(nn.Module):
    """Resnets at one size, then the way up."""

    def __init__(self, channels: int, out_channels: int, groups: int, num_layers: int, up: str) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            Resnet(channels if index == 0 else out_channels, out_channels, groups) for index in range(num_layers)
        )
        self.upsamplers = None if up == "none" else nn.ModuleList([Upsample(out_channels, doubles_frames=up == "3d")])

    def forward(self, parts: Parts) -> Parts:
        """(B, C, F_i, H, W) each -> (B, C_out, F'_i, H', W') each."""
        for resnet in self.resnets:
            parts = resnet(parts)
        return parts if self.upsamplers is None else self.upsamplers[0](parts)


def activate(norm: PartNorm, parts: Parts) -> Iterator[Tensor]:
    """SiLU of the norm, part by part."""
    statistics = norm.statistics(parts)
    return (functional.silu(norm(part, statistics)) for part in drain(parts))


def double_frames(parts: Iterator[Tensor]) -> Iterator[Tensor]:
    """Twice the height and width, and two frames for every one but the first, each between its neighbours."""
    head = next(parts)
    first = [functional.interpolate(head[:, :, :1], scale_factor=(1, 2, 2), mode="trilinear")]
    before = None  # the frame before a part, if that frame doubles too
    for part, after in pairwise(chain([head[:, :, 1:]], parts, [None])):
        assert part is not None
        yield torch.cat([*first, *([_between(before, part, after)] if part.shape[2] else [])], dim=2)
        first, before = [], part[:, :, -1:] if part.shape[2] else None


def _between(before: Tensor | None, part: Tensor, after: Tensor | None) -> Tensor:
    sides = [before] if before is not None else [], [after[:, :, :1]] if after is not None else []
    grown = functional.interpolate(torch.cat([*sides[0], part, *sides[1]], dim=2), scale_factor=(2, 2, 2), mode="trilinear")
    return grown[:, :, 2 * len(sides[0]) : grown.shape[2] - 2 * len(sides[1])]
