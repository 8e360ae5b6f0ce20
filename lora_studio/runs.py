"""A run folder: recipe, state, metrics, checkpoints, adapter, card. Knows where they lie and writes the plain ones.

    runs/NAME/
      recipe.toml          the resolved recipe
      run.json             RunState: hashes, status, steps done
      metrics.jsonl        one JSON object per line: {"step": 10, "loss": 1.2, "lr": ..., "seconds": ...}
      tensorboard/         the same numbers
      checkpoints/         step_000100/: adapter, optimizer, state
      adapter/             adapter_config.json, adapter_model.safetensors (peft's layout)
      card.md, card.json   what it is, what it was made from
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from lora_studio import files
from lora_studio.errors import WorkspaceError
from lora_studio.records import Record
from lora_studio.workspace import Workspace


class RunState(Record):
    """run.json: what this run was started with, and how far it is."""

    name: str
    status: Literal["training", "finished"]
    recipe_sha256: str
    dataset_sha256: str
    model: str  # the base as the recipe names it
    model_sha256: str
    num_modules: int  # adapted Linear layers
    num_parameters: int  # adapter parameters
    steps_done: int
    validation_before: float | None = None  # held-out loss of the bare base
    validation_after: float | None = None
    adapter_sha256: str | None = None


@dataclass(frozen=True)
class Run:
    """The places of one run."""

    folder: Path

    @property
    def name(self) -> str:
        """The run's name is its folder's."""
        return self.folder.name

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def state_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    def state(self) -> RunState | None:
        """What run.json says; None when the run has not started.

        Raises:
            WorkspaceError: it is damaged, or of another version.
        """
        if not self.state_file.is_file():
            return None
        try:
            return RunState.model_validate(files.read_json(self.state_file))
        except ValidationError as fault:
            wrong = ", ".join(sorted({str(entry["loc"][0]) for entry in fault.errors()}))
            raise WorkspaceError(
                f"{self.state_file} is damaged (wrong: {wrong}): move the folder {self.folder.name} out of {self.folder.parent}, "
                "or train that run again under another name"
            ) from None

    def save_state(self, state: RunState) -> None:
        """Replaces run.json."""
        files.write_json(self.state_file, state.model_dump(mode="json"))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Adds one line to metrics.jsonl."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole line of metrics.jsonl; a line cut short by a kill is left out."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def drop_metrics_after(self, step: int) -> None:
        """Rewrites metrics.jsonl without the rows of steps that will be done again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        files.write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))


def run_named(workspace: Workspace, name: str) -> Run:
    """The run of that name, there or not."""
    return Run(workspace.runs / name)


def finished_runs(workspace: Workspace) -> list[Run]:
    """Every finished run of a workspace, by name."""
    folders = sorted(p for p in workspace.runs.glob("*") if p.is_dir() and not p.name.startswith("."))
    return [run for run in map(Run, folders) if (state := run.state()) is not None and state.status == "finished"]
