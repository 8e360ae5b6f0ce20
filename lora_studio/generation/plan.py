"""Which takes there should be: prompts x seeds x looks, each with its id. Knows hashes and records; renders nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lora_studio import files
from lora_studio.adapters.storage import adapter_sha256
from lora_studio.errors import AdapterError
from lora_studio.nova.config import ClipShape
from lora_studio.records import AdapterRef, Prompt
from lora_studio.runs import Run
from lora_studio.wall import Clip

Settings = Mapping[str, float | int | str | bool]
MODEL_DIGITS: Final = 12
NO_SEED: Final = 0  # what the sidecar of real footage says


@dataclass(frozen=True)
class Base:
    """The backbone all looks share: its name as the dataset gives it, the hash of its weights, and what its clips look like."""

    name: str
    sha256: str
    shape: ClipShape

    @property
    def label(self) -> str:
        """Name and short hash, as a take's sidecar tells it."""
        return f"{self.name} {self.sha256[:MODEL_DIGITS]}"


@dataclass(frozen=True)
class PlannedTake:
    """One take that should exist. `run` is None for real footage and the bare base; `clip` only stands for real footage."""

    take_id: str
    kind: Literal["real", "base", "adapter"]
    prompt: Prompt
    seed: int
    run: Run | None = None
    adapter: AdapterRef | None = None
    clip: Clip | None = None


def plan_takes(
    base: Base, prompts: Sequence[Prompt], seeds: Sequence[int], runs: Sequence[Run], real: Mapping[str, Clip], settings: Settings
) -> list[PlannedTake]:
    """Every take of a sheet in the order of the wall: prompts, then seeds, then real, base and the runs by name.

    Real footage has no seed (its sidecar says 0): it stands once per prompt, before the first seed's takes. An id is a
    hash of all a take depends on, so a file name tells a voter nothing and a changed setting makes a new take.

    Args:
        base: the backbone.
        prompts: the sheet's lines.
        seeds: shared by all looks.
        runs: finished runs on this backbone.
        real: prompt id -> held-out clip.
        settings: the sampler's, as they are stored in sidecars.

    Raises:
        AdapterError: a run's adapter is missing or not the one its run.json names.
    """
    adapters = {run.name: check_adapter(run, base) for run in runs}
    planned = []
    for prompt in prompts:
        for seed in seeds:
            if prompt.id in real and seed == seeds[0]:
                planned.append(_plan_real(base, prompt, real[prompt.id]))
            planned.append(PlannedTake(_take_id(base, prompt, seed, None, settings), "base", prompt, seed))
            for run in runs:
                adapter = adapters[run.name]
                take_id = _take_id(base, prompt, seed, adapter, settings)
                planned.append(PlannedTake(take_id, "adapter", prompt, seed, run=run, adapter=adapter))
    return planned


def check_adapter(run: Run, base: Base) -> AdapterRef:
    """The adapter of a finished run, once its files and its backbone are the ones run.json names.

    Raises:
        AdapterError: the adapter is missing or changed, or was trained on another backbone.
    """
    state = run.state()
    assert state is not None
    if state.model_sha256 != base.sha256:
        raise AdapterError(
            f"run {run.name} was trained on {state.model} {state.model_sha256[:MODEL_DIGITS]}, but the dataset's model is "
            f"{base.label}: train it again under another name, or move {run.folder} away"
        )
    sha256 = adapter_sha256(run.adapter)
    if sha256 != state.adapter_sha256:
        raise AdapterError(
            f"{run.adapter} is not the adapter that run {run.name} trained: its hash is {sha256[:MODEL_DIGITS]}, "
            f"run.json says {str(state.adapter_sha256)[:MODEL_DIGITS]}; restore it or train again"
        )
    return AdapterRef(run=run.name, sha256=sha256)


def _plan_real(base: Base, prompt: Prompt, clip: Clip) -> PlannedTake:
    shape = base.shape
    parts = ["real", prompt.id, prompt.text, clip.clip_id, shape.num_frames, shape.fps, shape.height, shape.width]
    return PlannedTake(files.sha256_json(parts)[:16], "real", prompt, NO_SEED, clip=clip)


def _take_id(base: Base, prompt: Prompt, seed: int, adapter: AdapterRef | None, settings: Settings) -> str:
    made_with = adapter.model_dump(mode="json") if adapter is not None else None
    return files.sha256_json([base.sha256, made_with, prompt.id, prompt.text, seed, dict(settings)])[:16]
