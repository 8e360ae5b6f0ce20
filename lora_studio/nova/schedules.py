"""Noise schedules: flow matching and DDPM behind the same few calls. A schedule holds settings only, never a position.

One schedule object may train and sample at once: every sampling run gets its own `plan`. Noised patches are computed in
float32 whatever precision the model runs in (rounding the DDPM table to bf16 would lose the noise of small timesteps).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.nova.rules import check_scheduler


class Plan(Protocol):
    """The steps of one sampling run, from noise to data."""

    @property
    def timesteps(self) -> Tensor:
        """(S,) what the model is told, falling from 1000 to 0."""
        ...

    def needs_noise(self, index: int) -> bool:
        """Whether step `index` adds fresh noise."""
        ...

    def step(self, index: int, prediction: Tensor, sample: Tensor, noise: Tensor | None) -> Tensor:
        """One step: prediction and sample of equal shape -> the less noisy sample."""
        ...


class Schedule(Protocol):
    """How much noise there is when, and what the model is asked to predict."""

    @property
    def config(self) -> dict[str, Any]:
        """The settings, as written to scheduler_config.json."""
        ...

    def index_from_normal(self, normal: Tensor) -> Tensor:
        """Training timesteps as indices (int64), from standard normal draws: the same draws serve every schedule."""
        ...

    def timesteps(self, index: Tensor) -> Tensor:
        """Index -> what the model is told (0 to 1000)."""
        ...

    def add_noise(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """Noised values, float32; clean and noise (..., P), index (...)."""
        ...

    def target(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """What the model should predict, float32, shaped like `clean`."""
        ...

    def plan(self, num_steps: int) -> Plan:
        """The steps of one sampling run."""
        ...


@dataclass(frozen=True)
class FlowMatchScheduler:
    """Straight path from data to noise: x = (1 - sigma) * data + sigma * noise, the model predicts noise - data.

    `shift` bends the sigmas towards noise: sigma' = shift * sigma / (1 + (shift - 1) * sigma). As in the published
    schedule, sampling applies it to a range that already ends at the shifted smallest sigma.
    """

    num_train_timesteps: int = 1000
    shift: float = 1.0

    @property
    def config(self) -> dict[str, Any]:
        """The settings, as written to scheduler_config.json."""
        return {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "num_train_timesteps": self.num_train_timesteps,
            "shift": self.shift,
        }

    @property
    def train_sigmas(self) -> Tensor:
        """(num_train_timesteps,) float32, falling: index 0 is pure noise."""
        count = self.num_train_timesteps
        return self._shifted(torch.linspace(count, 1, count, dtype=torch.float64) / count).float()

    def index_from_normal(self, normal: Tensor) -> Tensor:
        """Logit-normal indices, most of them in the middle."""
        index = (normal.sigmoid() * self.num_train_timesteps).long()
        return index.clamp(max=self.num_train_timesteps - 1)

    def timesteps(self, index: Tensor) -> Tensor:
        """Index -> sigma * 1000."""
        return self.train_sigmas.to(index.device)[index] * self.num_train_timesteps

    def add_noise(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """(1 - sigma) * clean + sigma * noise."""
        sigma = self.train_sigmas.to(index.device)[index].unsqueeze(-1)
        return (1.0 - sigma) * clean.float() + sigma * noise.float()

    def target(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """noise - clean, whatever the index."""
        return noise.float() - clean.float()

    def plan(self, num_steps: int) -> "FlowMatchPlan":
        """Euler steps from sigma 1 to 0."""
        last = float(self.train_sigmas[-1])
        sigmas = self._shifted(torch.linspace(1.0, last, num_steps, dtype=torch.float64))
        return FlowMatchPlan(torch.cat([sigmas, sigmas.new_zeros(1)]).float(), self.num_train_timesteps)

    def _shifted(self, sigmas: Tensor) -> Tensor:
        return self.shift * sigmas / (1.0 + (self.shift - 1.0) * sigmas)


@dataclass(frozen=True)
class FlowMatchPlan:
    """Euler steps along `sigmas` (S + 1 values, the last is 0)."""

    sigmas: Tensor
    num_train_timesteps: int

    @property
    def timesteps(self) -> Tensor:
        """(S,) sigma * 1000."""
        return self.sigmas[:-1] * self.num_train_timesteps

    @cached_property
    def _strides(self) -> list[float]:
        return self.sigmas.diff().tolist()

    def needs_noise(self, index: int) -> bool:
        """Never: the path is deterministic."""
        return False

    def step(self, index: int, prediction: Tensor, sample: Tensor, noise: Tensor | None) -> Tensor:
        """sample + (next sigma - sigma) * prediction, in float32."""
        return torch.add(sample.float(), prediction.float(), alpha=self._strides[index])


@dataclass(frozen=True)
class DDPMSchedule:
    """Denoising diffusion with the tables, timesteps and variances of diffusers' `DDPMScheduler`.

    `even_stride` takes t - 1000 // S as the timestep before t, as the scheduler of the published code does; diffusers takes
    the next entry of the list. They differ for spacings other than `leading` only.
    """

    scheduler: DDPMScheduler = field(default_factory=lambda: DDPMScheduler(clip_sample=False))
    even_stride: bool = False

    def __post_init__(self) -> None:
        """Refuses settings that NOVA's patches or its head cannot mean."""
        check_scheduler(dict(self.scheduler.config), is_ddpm=True)

    @property
    def config(self) -> dict[str, Any]:
        """The settings, as written to scheduler_config.json."""
        return {"_class_name": "DDPMScheduler", **{k: v for k, v in self.scheduler.config.items() if k[0] != "_"}}

    def index_from_normal(self, normal: Tensor) -> Tensor:
        """Uniform over all timesteps."""
        count = len(self.scheduler.alphas_cumprod)
        return (torch.special.ndtr(normal.double()) * count).long().clamp(max=count - 1)

    def timesteps(self, index: Tensor) -> Tensor:
        """The index itself."""
        return index

    def add_noise(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """sqrt(a) * clean + sqrt(1 - a) * noise with a = alphas_cumprod[index]."""
        signal, spread = self._factors(index)
        return signal * clean.float() + spread * noise.float()

    def target(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """The noise, the clean values or the velocity, as `prediction_type` says."""
        if self.scheduler.config["prediction_type"] == "epsilon":
            return noise.float()
        if self.scheduler.config["prediction_type"] == "sample":
            return clean.float()
        signal, spread = self._factors(index)
        return signal * noise.float() - spread * clean.float()

    def plan(self, num_steps: int) -> "DDPMPlan":
        """Ancestral steps at the timesteps diffusers would take.

        Raises:
            ModelError: more steps than the schedule has.
        """
        if num_steps > (most := self.scheduler.config["num_train_timesteps"]):
            raise ModelError(f"this schedule has {most} timesteps, num_diffusion_steps asks for {num_steps}")
        scheduler = DDPMScheduler.from_config(self.scheduler.config)
        assert isinstance(scheduler, DDPMScheduler)
        scheduler.set_timesteps(num_steps)
        return DDPMPlan(scheduler, num_steps if self.even_stride else None)

    def _factors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.scheduler.alphas_cumprod.to(index.device)[index].unsqueeze(-1)
        return alphas.sqrt(), (1.0 - alphas).sqrt()


@dataclass(frozen=True)
class DDPMPlan:
    """The steps of one run. The noise is passed in, since diffusers' own step would draw one for the whole batch."""

    scheduler: DDPMScheduler
    even_steps: int | None = None  # S, where every step is equally long

    @property
    def timesteps(self) -> Tensor:
        """(S,) int64, falling."""
        return self.scheduler.timesteps

    def needs_noise(self, index: int) -> bool:
        """At every timestep above 0."""
        return int(self.timesteps[index]) > 0

    def step(self, index: int, prediction: Tensor, sample: Tensor, noise: Tensor | None) -> Tensor:
        """Posterior mean given the predicted clean values (Ho et al. 2020, equation 7) plus scaled `noise`."""
        now = int(self.timesteps[index])
        before = int(self.scheduler.previous_timestep(now)) if self.even_steps is None else now - self._stride
        kept_now = float(self.scheduler.alphas_cumprod[now])
        kept_before = float(self.scheduler.alphas_cumprod[before]) if before >= 0 else 1.0
        ratio = kept_now / kept_before
        clean = self._clean(prediction.float(), sample.float(), kept_now)
        mean = (kept_before**0.5 * (1 - ratio) * clean + ratio**0.5 * (1 - kept_before) * sample.float()) / (1 - kept_now)
        if noise is None:
            return mean
        large = self.scheduler.config["variance_type"] == "fixed_large"
        variance = 1 - ratio if large else max((1 - kept_before) / (1 - kept_now) * (1 - ratio), 1e-20)
        return mean + variance**0.5 * noise.float()

    @property
    def _stride(self) -> int:
        assert self.even_steps is not None
        return len(self.scheduler.alphas_cumprod) // self.even_steps

    def _clean(self, prediction: Tensor, sample: Tensor, kept: float) -> Tensor:
        config = self.scheduler.config
        if config["prediction_type"] == "epsilon":
            clean = (sample - (1 - kept) ** 0.5 * prediction) / kept**0.5
        elif config["prediction_type"] == "sample":
            clean = prediction
        else:
            clean = kept**0.5 * sample - (1 - kept) ** 0.5 * prediction
        return clean.clamp(-config["clip_sample_range"], config["clip_sample_range"]) if config["clip_sample"] else clean
