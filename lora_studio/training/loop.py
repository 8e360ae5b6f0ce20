"""The training loop: steps, checkpoints, validations, metrics. Knows accelerate; knows no file of footage and no card.

Several processes share a global batch: each takes its slice, and the adapter's gradients are summed by one all-reduce per
optimizer step (`accelerator.reduce`), already weighted by each slice's share. The model is not wrapped in DDP: an adapter's
gradients are small, a wrapper would have to see every call through one `forward` and would synchronise at each micro-step,
and without it the weights' names, checkpoints and losses are the same for any number of processes.
"""

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lora_studio.errors import TrainingError
from lora_studio.precision import has_bf16
from lora_studio.recipe import Recipe, TrainSection
from lora_studio.runs import Run
from lora_studio.threads import usable_cores
from lora_studio.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from lora_studio.training.dataset import ClipDataset
from lora_studio.training.learner import Learner
from lora_studio.training.optim import build_optimizer, learning_rate, set_learning_rate_
from lora_studio.training.samples import DROPOUT, Sample, caption_of, decode, samples_of_step, seed_of, share_of_rank
from lora_studio.training.validation import Validation, validate

logger = logging.getLogger(__name__)


def start_accelerator(section: TrainSection) -> Accelerator:
    """The device, the precision and the processes of a run.

    `auto` precision is bf16 on GPUs and CPUs that compute in it, else float32.
    """
    use_bf16 = section.precision == "bf16" or (section.precision == "auto" and has_bf16())
    torch.set_flush_denormal(True)  # without it AdamW's square roots of denormals take a sixth of a step on a CPU
    accelerator = Accelerator(mixed_precision="bf16" if use_bf16 else "no")
    if accelerator.device.type == "cpu" and os.environ.get("OMP_NUM_THREADS") == "1" and "ACCELERATE_MIXED_PRECISION" in os.environ:
        torch.set_num_threads(max(1, usable_cores() // accelerator.num_processes))  # `accelerate launch` leaves one thread
    return accelerator


def precision_of(accelerator: Accelerator) -> str:
    """What the backbone computes in: `bf16` or `float32`."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "float32"


def train(run: Run, recipe: Recipe, clips: ClipDataset, learner: Learner, accelerator: Accelerator) -> list[Validation]:
    """Trains to the recipe's last step, from the newest checkpoint if there is one.

    Returns:
        The held-out loss before the first step and after the last; empty when nothing is held out.

    Raises:
        TrainingError: a loss or gradient is not finite, a checkpoint is damaged, or the disk is full.
    """
    work = _Work(run, recipe, clips, learner, accelerator, build_optimizer(learner.parameters, recipe.optim))
    step, is_validated = _resume(work)
    with _board(work, step) as board, _bar(work, step) as bar:
        while True:
            if (step % recipe.train.validate_every == 0 or step == recipe.train.steps) and not is_validated:
                _validate(work, step, board)
            is_validated = False
            if step == recipe.train.steps:
                return _first_and_last(work)
            row = _step(work, step)
            step += 1
            _record(work, board, {"step": step, **row})
            bar.update(1)
            bar.set_postfix(loss=f"{row['loss']:.4f}")
            if step % recipe.train.checkpoint_every == 0 or step == recipe.train.steps:
                _checkpoint(work, step)


@dataclass(frozen=True)
class _Work:
    run: Run
    recipe: Recipe
    clips: ClipDataset
    learner: Learner
    accelerator: Accelerator
    optimizer: Optimizer


def _resume(work: _Work) -> tuple[int, bool]:
    """Steps already done, and whether the last of them was validated; weights, moments and metrics are as they were then."""
    checkpoint = newest_checkpoint(work.run.checkpoints)
    step = checkpoint.step if checkpoint is not None else 0
    if checkpoint is not None:
        load_checkpoint(checkpoint, work.learner.parameters, work.optimizer)
    work.accelerator.wait_for_everyone()
    if work.accelerator.is_main_process:
        work.run.drop_metrics_after(step)
    work.accelerator.wait_for_everyone()
    is_validated = any(row["step"] == step and "held_out_loss" in row for row in work.run.metrics())
    work.accelerator.wait_for_everyone()
    return step, is_validated


def _step(work: _Work, step: int) -> dict[str, float]:
    """One optimizer step; `step` counts from 0."""
    started, train, optim = time.perf_counter(), work.recipe.train, work.recipe.optim
    rate = learning_rate(step, train.steps, optim)
    set_learning_rate_(work.optimizer, rate)
    samples = samples_of_step(train.seed, step, train.batch_size, len(work.clips.train))
    loss, prior_loss = _accumulate_gradients(work, step, samples).tolist()
    norm = _clip_gradients(work).item()
    if not (math.isfinite(loss) and math.isfinite(prior_loss) and math.isfinite(norm)):
        raise TrainingError(_not_finite(work, step, samples, loss + prior_loss, norm))
    work.optimizer.step()
    work.optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    losses = {"loss": loss, **({"prior_loss": prior_loss} if work.recipe.data.prior > 0 else {})}
    return {**losses, "grad_norm": norm, "lr": rate, "seconds": seconds, "clips_per_s": len(samples) / seconds}


def _accumulate_gradients(work: _Work, step: int, samples: list[Sample]) -> Tensor:
    """Leaves the global batch's mean gradient on every process; returns its mean loss and its mean prior loss, (2,)."""
    accelerator, train = work.accelerator, work.recipe.train
    work.learner.model.train()
    losses = torch.zeros(2, device=accelerator.device)
    share = share_of_rank(samples, accelerator.process_index, accelerator.num_processes, train.grad_accumulation)
    for micro in share:
        rows = [work.clips.train[sample.row] for sample in micro]
        ids = [sample.id for sample in micro]
        batch = decode(rows, ids, [caption_of(train.seed, i, work.recipe.data) for i in ids], accelerator.device)
        key, part = (batch, train.seed, step, train.loss_repeat), len(micro) / len(samples)
        for kind, (ask, weight) in enumerate(((work.learner.loss, 1.0), (work.learner.prior_loss, work.recipe.data.prior))):
            if weight > 0:  # one after the other: the memory of one pass is enough
                with _dropout_seed(work, ids[0]), accelerator.autocast():
                    total = part * weight * ask(*key).total
                accelerator.backward(total)
                losses[kind] += total.detach() / weight
    return _sum_over_processes(work, losses)


def _sum_over_processes(work: _Work, losses: Tensor) -> Tensor:
    if work.accelerator.num_processes == 1:
        return losses
    parameters = list(work.learner.parameters.values())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([losses, *(g.flatten() for g in gradients)])
    losses, *parts = torch.as_tensor(work.accelerator.reduce(flat, "sum")).split([2, *(p.numel() for p in parameters)])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return losses


def _clip_gradients(work: _Work) -> Tensor:
    return torch.nn.utils.clip_grad_norm_(list(work.learner.parameters.values()), work.recipe.optim.max_grad_norm)


@contextmanager
def _dropout_seed(work: _Work, sample_id: int) -> Iterator[None]:
    """Adapter dropout draws from torch's own generator: seeded from the place in the run, so a resume needs no RNG state."""
    if work.recipe.adapter.dropout > 0:
        torch.manual_seed(seed_of(work.recipe.train.seed, DROPOUT, sample_id))
    yield


def _not_finite(work: _Work, step: int, samples: list[Sample], loss: float, norm: float) -> str:
    ids = ", ".join(sorted({work.clips.train[sample.row]["clip_id"] for sample in samples}))
    return (
        f"step {step + 1}: loss is {loss:g} and gradient norm {norm:g} on clips {ids}; the last checkpoint is untouched. "
        "Look at these clips, or train at a lower optim.lr or in float32, with --name NEW"
    )


def _validate(work: _Work, step: int, board: SummaryWriter | None) -> None:
    result = validate(work.learner, work.clips.held_out, work.accelerator)
    if result is not None:
        row = {"step": step, "held_out_loss": result.mean, "held_out_error": result.standard_error}
        _record(work, board, {**row, "clips": result.clips, "per_frame": result.per_frame, "shots": result.shots})


def _first_and_last(work: _Work) -> list[Validation]:
    work.accelerator.wait_for_everyone()
    rows = [row for row in work.run.metrics() if "held_out_loss" in row]
    return [Validation(tuple(row["clips"]), tuple(row["per_frame"]), tuple(row["shots"])) for row in (rows[:1] + rows[-1:])]


def _checkpoint(work: _Work, step: int) -> None:
    work.accelerator.wait_for_everyone()
    if work.accelerator.is_main_process:
        save_checkpoint(work.run.checkpoints, step, work.learner.parameters, work.optimizer)
        state = work.run.state()
        assert state is not None
        work.run.save_state(state.model_copy(update={"steps_done": step}))


def _record(work: _Work, board: SummaryWriter | None, row: dict[str, Any]) -> None:
    if board is None:
        return
    work.run.append_metrics(row)
    for key, value in row.items():
        if isinstance(value, float):
            board.add_scalar(key, value, row["step"])


@contextmanager
def _board(work: _Work, step: int) -> Iterator[SummaryWriter | None]:
    """TensorBoard on the main process; figures of steps that are done again are purged."""
    if not work.accelerator.is_main_process:
        yield None
        return
    with SummaryWriter(str(work.run.tensorboard), purge_step=step + 1) as board:
        yield board


def _bar(work: _Work, step: int) -> tqdm:
    is_quiet = not work.accelerator.is_main_process
    return tqdm(total=work.recipe.train.steps, initial=step, desc="training", unit="step", disable=is_quiet)
