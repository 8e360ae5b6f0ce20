"""Where a token is: sine-cosine embeddings and rotary angles. Pure functions of their arguments, nothing cached.

B batch, S sequence, N patches of a frame, D width, A heads, K head width. Angles are computed in float32 whatever the
model's precision is.
"""

import math

import torch
from torch import Tensor


def sincos(positions: Tensor, width: int) -> Tensor:
    """[sin | cos] of `width / 2` frequencies from 1 down to 1/10000: positions (...) -> (..., width) float32."""
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=positions.device) * (-math.log(10000.0) / half)
    angles = positions.float().unsqueeze(-1) * exponents.exp()  # (..., width / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def grid_cells(height: int, width: int, device: torch.device) -> Tensor:
    """Row and column of every patch in reading order, (N, 2)."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    return torch.cartesian_prod(rows, columns)  # (N, 2)


def grid_embedding(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Absolute position of every patch, (N, channels): one half for the column, the other for the row."""
    row, column = grid_cells(height, width, device).unbind(-1)
    return torch.cat([sincos(column, channels // 2), sincos(row, channels // 2)], dim=-1)


def rotary_angles(positions: Tensor, head_width: int) -> Tensor:
    """Rotation angle of each channel pair: positions (..., S, 3) of time, row, column -> (..., S, K / 2).

    An eighth of the head's channels turn with time, the rest with row and column in equal parts.
    """
    time = head_width // 8
    sides = (time, (head_width - time) // 2, (head_width - time) // 2)
    parts = []
    for axis, side in enumerate(sides):
        exponents = torch.arange(0, side, 2, dtype=torch.float64, device=positions.device) / side
        parts.append(positions[..., axis, None].double() / 10000.0**exponents)  # (..., S, side / 2)
    return torch.cat(parts, dim=-1).float()


def rotate(heads: Tensor, angles: Tensor) -> Tensor:
    """Turns neighbouring channel pairs: heads (B, A, S, K), angles (B or 1, S, K / 2) -> (B, A, S, K)."""
    even, odd = heads.float().unflatten(-1, (-1, 2)).unbind(-1)  # (B, A, S, K / 2) each
    cos, sin = angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(heads.dtype)
