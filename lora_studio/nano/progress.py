"""Training in pieces, on a GPU where there is one: a loop that stops after some minutes, and goes on where it stopped (bit for
bit on a CPU).

Serves every network of nova-nano; knows none of them, and no data.

On disk: one safetensors file with the weights, their running average and the optimizers' moments; the step is in its metadata.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from lora_studio import files
from lora_studio.errors import TrainingError
from lora_studio.precision import has_bf16

logger = logging.getLogger(__name__)

_KEPT: Final = 0.999  # of the running average, per step; less while few steps are done
_SAVE_EVERY_S: Final = 120.0
_MOMENTS: Final = ("exp_avg", "exp_avg_sq", "momentum_buffer")  # AdamW's two, Muon's one


class Course(BaseModel):
    """How long and how fast something is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(default=0, ge=0)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)
    muon_lr: float | None = Field(default=None, gt=0)  # of the linear layers' matrices, by Muon; without it AdamW trains all
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)

    def rate(self, step: int) -> float:
        """What a step multiplies every learning rate with: a straight warm-up to 1, then half a cosine down to 0.02."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Progress:
    """A network under training: its weights, their running average, the optimizer and the step.

    Attributes:
        step: how many steps are done.
        optimizers: AdamW, and Muon where the course asks for it.
        average: the running average of every parameter by name; what is shipped.
    """

    def __init__(self, network: nn.Module, course: Course, path: Path) -> None:
        """Moves the network to the device, and takes up the file at `path` if there is one; else starts with it as it is.

        Raises:
            TrainingError: the file belongs to another network.
        """
        self.network, self.course, self.path, self.step = network.to(training_device()), course, path, 0
        self.parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        self.optimizers = _optimizers(network, course)
        self._groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self._optimizer_of = {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        self.average = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        if path.is_file():
            self._load()

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.step >= self.course.steps

    def advance(self, minutes: float, loss_of_step: Callable[[int], dict[str, Tensor]]) -> None:
        """Trains for so many minutes, or to the end.

        Args:
            loss_of_step: step -> losses by name; their sum is minimised. All chance in it must follow from the step.

        Raises:
            TrainingError: a loss is no number any more; the file stays as it was when it last was one.
        """
        ends, saved = time.monotonic() + 60 * minutes, time.monotonic()
        seen: dict[str, Tensor] = {}
        bar = tqdm(total=self.course.steps, initial=self.step, desc=self.path.stem, unit="step", mininterval=10)
        while not self.done and time.monotonic() < ends:
            for name, value in self._step(loss_of_step).items():
                seen[name] = value.lerp(seen.get(name, value), 0.99)
            bar.update()
            if self.step % 50 == 0:  # not at every step: reading a number makes a GPU wait
                bar.set_postfix_str(" ".join(f"{name} {float(value):.4f}" for name, value in seen.items()), refresh=False)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                self._save_finite(seen)
                saved = time.monotonic()
        bar.close()
        self._save_finite(seen)

    def _step(self, loss_of_step: Callable[[int], dict[str, Tensor]]) -> dict[str, Tensor]:
        for group in self._groups:
            group["lr"] = group["initial_lr"] * self.course.rate(self.step)
        losses = loss_of_step(self.step)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        kept = min(_KEPT, self.step / (self.step + 10))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - kept)
        return {name: value.detach() for name, value in losses.items()}

    def _save_finite(self, seen: dict[str, Tensor]) -> None:
        bad = [name for name, value in seen.items() if not torch.isfinite(value)]
        if bad:
            raise TrainingError(
                f"the loss {bad[0]} is no number any more at step {self.step}: {self.path} is kept as it was, try a lower lr"
            )
        self.save()

    def save(self) -> None:
        """Writes the file; a kill leaves the one before."""
        state = {f"weight.{name}": value.detach() for name, value in self.parameters.items()}
        state |= {f"average.{name}": value for name, value in self.average.items()}
        for name, parameter in self.parameters.items():
            moments = self._optimizer_of[parameter].state.get(parameter, {})
            state |= {f"{key}.{name}": moments[key] for key in _MOMENTS if key in moments}
        with files.atomic_path(self.path) as temporary:
            save_file({name: value.cpu().contiguous() for name, value in state.items()}, temporary, {"step": str(self.step)})

    def _load(self) -> None:
        with safe_open(self.path, "pt") as file:
            names, self.step = set(file.keys()), int(file.metadata()["step"])
            missing = [name for name in self.parameters if f"weight.{name}" not in names]
            if missing:
                raise TrainingError(f"{self.path} is of another network (no {missing[0]}): delete it to start afresh")
            for name, parameter in self.parameters.items():
                weight = file.get_tensor(f"weight.{name}")
                if weight.shape != parameter.shape:
                    sizes = f"{name} has the shape {tuple(weight.shape)}, not {tuple(parameter.shape)}"
                    raise TrainingError(f"{self.path} is of another network ({sizes}): delete it to start afresh")
                parameter.data.copy_(weight)
                self.average[name].copy_(file.get_tensor(f"average.{name}"))
                optimizer = self._optimizer_of[parameter]
                keys = ["momentum_buffer"] if isinstance(optimizer, torch.optim.Muon) else ["exp_avg", "exp_avg_sq"]
                if all(f"{key}.{name}" in names for key in keys):
                    moments = {key: file.get_tensor(f"{key}.{name}").to(parameter.device) for key in keys}
                    optimizer.state[parameter] = {"step": torch.tensor(float(self.step)), **moments}
        logger.info("%s: goes on at step %d", self.path.name, self.step)

    def use_average(self) -> None:
        """Puts the running average in the place of the weights."""
        for name, parameter in self.parameters.items():
            parameter.data.copy_(self.average[name])


def _optimizers(network: nn.Module, course: Course) -> list[torch.optim.Optimizer]:
    """Muon for the linear layers' matrices, if the course names its rate; AdamW for all else.

    Every group keeps its full rate as "initial_lr". Muon's updates are as large as AdamW's (its factor is 0.2 * sqrt(longer side)).
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    linear = {layer.weight for layer in network.modules() if isinstance(layer, nn.Linear) and layer.weight.requires_grad}
    matrices = linear if course.muon_lr else set()
    rest = [parameter for parameter in trained if parameter not in matrices]
    groups = [{"params": [p for p in rest if p.ndim > 1], "weight_decay": course.weight_decay},
              {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0}]  # fmt: skip
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=course.lr, betas=(0.9, 0.98))]
    if course.muon_lr:
        kept_order = [parameter for parameter in trained if parameter in matrices]
        optimizers.append(torch.optim.Muon(
            kept_order, lr=course.muon_lr, weight_decay=course.weight_decay, adjust_lr_fn="match_rms_adamw"
        ))  # fmt: skip
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def training_device() -> torch.device:
    """The first GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast() -> torch.autocast:
    """bf16 where the training device computes in it; elsewhere it would be emulated, up to fifteen times as slow as float32."""
    return torch.autocast(training_device().type, torch.bfloat16, enabled=has_bf16())


def read_course(path: Path, kind: type[Course]) -> Course:
    """Reads a course from a TOML file.

    Raises:
        TrainingError: it is no TOML, or a key is unknown or out of range.
    """
    from lora_studio.settings import read_toml, validate

    return validate(kind, read_toml(path, TrainingError), path, TrainingError)
