"""Checkpoints: everything that a resumed run needs, in one atomic folder without pickles. Knows no loss and no data.

    checkpoints/step_000050/
      adapter.safetensors      the adapter's weights, float32
      optimizer.safetensors    AdamW's moments and counters, by parameter name
      state.json               the step, and the hashes of the two files

Data order, masks, noise, dropout and the learning rate are pure functions of (seed, step): there is no other state.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from lora_studio import files
from lora_studio.errors import TrainingError, WorkspaceError

logger = logging.getLogger(__name__)

KEPT = 2  # the newest, and one before it in case the newest is damaged
ADAPTER, OPTIMIZER, STATE = "adapter.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk. `step` is the number of steps done."""

    folder: Path
    step: int


def save_checkpoint(checkpoints: Path, step: int, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer) -> Checkpoint:
    """Writes a checkpoint and lets go of all but the newest two.

    Raises:
        TrainingError: the disk has no room for it; nothing was written.
    """
    tensors = {
        ADAPTER: {name: p.detach().cpu() for name, p in parameters.items()},
        OPTIMIZER: _optimizer_tensors(parameters, optimizer),
    }
    _require_room(checkpoints, sum(t.nbytes for group in tensors.values() for t in group.values()))
    checkpoint = Checkpoint(checkpoints / f"step_{step:06d}", step)
    with files.atomic_folder(checkpoint.folder) as temporary:
        for name, group in tensors.items():
            save_file(group, temporary / name)
        hashes = {name: files.sha256_file(temporary / name) for name in tensors}
        files.write_json(temporary / STATE, {"step": step, "sha256": hashes})
    for old in list_checkpoints(checkpoints)[:-KEPT]:
        shutil.rmtree(old.folder)
    return checkpoint


def list_checkpoints(checkpoints: Path) -> list[Checkpoint]:
    """Every checkpoint of a run, oldest first. (One being written has another name and is not listed.)"""
    folders = [folder for folder in checkpoints.glob("step_*") if (folder / STATE).is_file()]
    steps = sorted((int(folder.name.removeprefix("step_")), folder) for folder in folders)
    return [Checkpoint(folder, step) for step, folder in steps]


def newest_checkpoint(checkpoints: Path) -> Checkpoint | None:
    """The newest checkpoint whose files are what they were when written; None when there is none.

    Raises:
        TrainingError: there are checkpoints, and every one of them is damaged.
    """
    found = list_checkpoints(checkpoints)
    for checkpoint in reversed(found):
        if _is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is damaged and passed over", checkpoint.folder)
    if found:
        raise TrainingError(f"every checkpoint in {checkpoints} is damaged: start afresh with --name NEW")
    return None


def load_checkpoint(checkpoint: Checkpoint, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer) -> None:
    """Puts a checkpoint's weights and optimizer state in place, bit for bit.

    Raises:
        TrainingError: it was written for another adapter.
    """
    weights = load_file(checkpoint.folder / ADAPTER)
    if {name: t.shape for name, t in weights.items()} != {name: p.shape for name, p in parameters.items()}:
        raise TrainingError(f"{checkpoint.folder} was written for another adapter: start afresh with --name NEW")
    state = load_file(checkpoint.folder / OPTIMIZER)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
            moments = {key: state[f"{key}.{name}"] for key in ("exp_avg", "exp_avg_sq", "step")}
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}


def _optimizer_tensors(parameters: Mapping[str, nn.Parameter], optimizer: Optimizer) -> dict[str, Tensor]:
    return {f"{key}.{name}": value.detach().cpu() for name, p in parameters.items() for key, value in optimizer.state[p].items()}


def _is_whole(checkpoint: Checkpoint) -> bool:
    try:
        hashes = files.read_json(checkpoint.folder / STATE)["sha256"]
    except (WorkspaceError, KeyError):
        return False
    paths = {checkpoint.folder / name: digest for name, digest in hashes.items()}
    return all(path.is_file() and files.sha256_file(path) == digest for path, digest in paths.items())


def _require_room(checkpoints: Path, size_bytes: int) -> None:
    checkpoints.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(checkpoints).free
    needed = 2 * size_bytes + 50_000_000
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB free, got {free / 1e6:.0f} MB"
        raise TrainingError(f"{checkpoints}: a checkpoint needs {sizes}: make room and run the same command again")
