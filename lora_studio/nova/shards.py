"""Reads the weights of one part from safetensors files, and checks them against what the model wants. Builds no model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lora_studio.errors import ModelError


def read_weights(paths: Iterable[Path], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All tensors of a part's files, in the precision asked for.

    Raises:
        ModelError: a file is damaged, a tensor is in two files, or holds anything but floating-point numbers.
    """
    state: dict[str, torch.Tensor] = {}
    for path in paths:
        _read_shard(path, dtype, state)
    return state


def _read_shard(path: Path, dtype: torch.dtype, state: dict[str, torch.Tensor]) -> None:
    """Adds the tensors of one file, one by one. Each is copied: where a mapped one lies depends on the length of the file's
    header, and matrix products of the same numbers then differ in their last bits."""
    try:
        with safe_open(path, framework="pt") as shard:
            for key in shard.keys():  # noqa: SIM118
                if key in state:
                    raise ModelError(f"{path}: {key} is also in another file of this part: one of them is left over")
                tensor = shard.get_tensor(key)
                if not tensor.is_floating_point():
                    raise ModelError(f"{path}: {key} is {tensor.dtype}; weights must be floating-point numbers")
                state[key] = tensor.to(dtype, copy=True)
    except SafetensorError as fault:
        raise ModelError(f"{path} is damaged ({fault}): fetch it again") from None


def check_keys(want: dict[str, Any], have: dict[str, torch.Tensor], place: Path) -> None:
    """Refuses weights that are not exactly those a model wants, by name and by shape."""
    faults = []
    if missing := sorted(want.keys() - have.keys()):
        faults.append(f"missing: {some(missing)}")
    if leftover := sorted(have.keys() - want.keys()):
        faults.append(f"not in this model: {some(leftover)}")
    differing = [key for key in want.keys() & have.keys() if want[key].shape != have[key].shape]
    if shapes := [f"{key} is {list(have[key].shape)}, not {list(want[key].shape)}" for key in sorted(differing)]:
        faults.append(f"of another shape: {some(shapes)}")
    if faults:
        raise ModelError(f"the weights in {place} do not fit its config.json; {'; '.join(faults)}")


def check_values(state: dict[str, torch.Tensor], place: Path) -> None:
    """Refuses weights that are not finite numbers."""
    wrong = [key for key, value in state.items() if not torch.isfinite(value.sum(dtype=torch.float32))]  # one pass, no copy
    if bad := [key for key in wrong if not torch.isfinite(state[key]).all()]:
        raise ModelError(f"{len(bad)} weights in {place} are not finite numbers ({some(sorted(bad))}): fetch them again")


def some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
