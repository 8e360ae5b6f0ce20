"""The end of a run: the adapter's files, its card, the finished state. Knows what the dataset says of itself; trains nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import lora_studio
from lora_studio.adapters import card, storage
from lora_studio.recipe import Recipe
from lora_studio.runs import Run, RunState
from lora_studio.training.dataset import ClipDataset
from lora_studio.training.learner import Learner
from lora_studio.training.validation import NUM_DRAWS, Validation, compare


def deliver(
    run: Run, recipe: Recipe, clips: ClipDataset, learner: Learner, losses: Sequence[Validation], trigger: str, precision: str
) -> RunState:
    """Saves adapter and card, then marks the run finished; safe to do again after a kill at any moment.

    Args:
        losses: held-out losses before and after, or nothing.
        trigger: the brand's trigger phrase.
        precision: what the base was computed in.
    """
    state = run.state()
    assert state is not None
    header = _metadata(recipe, clips, state, trigger)
    digest = storage.save_adapter(learner.attached.model, run.adapter, header)
    loss = _held_out_loss(losses)
    data = _describe_data(clips)
    made = card.Card(
        identity=_identity(run, storage.adapter_metadata(run.adapter)["modelspec.hash_sha256"], digest),
        base=card.Base(name=base_name(recipe.model.base), sha256=state.model_sha256, precision=precision),
        method=_method(recipe, learner, state),
        data=data,
        held_out_loss=loss,
        trigger=trigger,
        limits=card.known_limits(data, loss),
    )
    card.write_card(run.folder, made)
    before, after = (loss.before, loss.after) if loss is not None else (None, None)
    changes = {"status": "finished", "validation_before": before, "validation_after": after, "adapter_sha256": digest}
    finished = state.model_copy(update=changes)
    run.save_state(finished)
    return finished


def is_delivered(run: Run, state: RunState) -> bool:
    """Whether a run is finished and its adapter is the one that was delivered."""
    is_there = (run.adapter / storage.WEIGHTS).is_file()
    return state.status == "finished" and is_there and storage.adapter_sha256(run.adapter) == state.adapter_sha256


def summary(losses: Sequence[Validation]) -> str:
    """What the held-out clips say of a run, in one sentence."""
    loss = _held_out_loss(losses)
    return loss.reading if loss is not None else "no clip is held out: nothing says whether it learned more than its own clips"


def base_name(base: str) -> str:
    """A base as others may know it: its id, or `local` for a folder, whose path is nobody's business."""
    return "local" if Path(base).expanduser().is_dir() or base.startswith((".", "/", "~")) else base


def _metadata(recipe: Recipe, clips: ClipDataset, state: RunState, trigger: str) -> dict[str, str]:
    manifest = clips.manifest
    ours = {
        "version": lora_studio.__version__,
        "base_model": base_name(recipe.model.base),
        "base_sha256": state.model_sha256,
        "method": recipe.adapter.method,
        "preset": recipe.adapter.preset,
        "rank": recipe.adapter.rank,
        "alpha": recipe.adapter.alpha,
        "steps": recipe.train.steps,
        "seed": recipe.train.seed,
        "recipe_sha256": state.recipe_sha256,
        "dataset_sha256": state.dataset_sha256,
        "rights_sha256": manifest.rights_sha256,
    }
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": "nova/lora",
        "implementation": "diffusers",
        "title": f"NOVA LoRA ({recipe.adapter.preset})",
        "trigger_phrase": trigger,
        "resolution": f"{manifest.width}x{manifest.height}",
    }
    return {f"lora_studio.{key}": str(value) for key, value in ours.items()} | {f"modelspec.{key}": spec[key] for key in spec}


def _identity(run: Run, tensors_sha256: str, digest: str) -> card.Identity:
    return card.Identity(
        name=run.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_with=f"lora-studio {lora_studio.__version__}",
        adapter_sha256=digest,
        tensors_sha256=tensors_sha256,
        size_bytes=(run.adapter / storage.WEIGHTS).stat().st_size,
    )


def _method(recipe: Recipe, learner: Learner, state: RunState) -> card.Method:
    return card.Method(
        preset=recipe.adapter.preset,
        pattern=learner.attached.pattern,
        rank=recipe.adapter.rank,
        alpha=recipe.adapter.alpha,
        num_modules=learner.attached.num_modules,
        num_parameters=learner.attached.num_parameters,
        steps=recipe.train.steps,
        batch_size=recipe.train.batch_size,
        lr=recipe.optim.lr,
        seed=recipe.train.seed,
        caption_dropout=recipe.data.caption_dropout,
        prior=recipe.data.prior,
        recipe_sha256=state.recipe_sha256,
    )


def _describe_data(clips: ClipDataset) -> card.Data:
    manifest, train, held_out = clips.manifest, clips.train, clips.held_out
    return card.Data(
        train_clips=len(train),
        train_shots=len(set(train["shot_id"])),
        train_seconds=len(train) * manifest.num_frames / manifest.fps,
        held_out_clips=len(held_out),
        held_out_shots=len(set(held_out["shot_id"])),
        num_frames=manifest.num_frames,
        fps=manifest.fps,
        width=manifest.width,
        height=manifest.height,
        dataset_sha256=manifest.dataset_sha256,
        rights_sha256=manifest.rights_sha256,
        footage_sha256=tuple(sorted(set(train["footage_sha256"]))),
        held_out_footage_sha256=tuple(sorted(set(held_out["footage_sha256"]))),
        owners=manifest.owners,
        licences=manifest.licences,
        earliest_expiry=manifest.earliest_expiry,
    )


def _held_out_loss(losses: Sequence[Validation]) -> card.HeldOutLoss | None:
    if not losses:
        return None
    before, after = losses[0], losses[-1]
    change = compare(before, after)
    return card.HeldOutLoss(
        before=before.mean,
        after=after.mean,
        change=change.mean,
        low=change.low,
        high=change.high,
        per_frame_before=before.per_frame,
        per_frame_after=after.per_frame,
        shots=len(set(after.shots)),
        draws=NUM_DRAWS,
    )
