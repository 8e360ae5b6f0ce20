"""What the wall is hung with: the clips of the dataset, and the current takes, the ones that may be compared with each other.

Reads dataset/clips, takes/*.json and takes/plan.json; makes no take, scores none, opens no video. Takes of an earlier
prompt sheet, adapter or sampler setting stay on disk, but they are not current: only takes made alike may be compared.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError

from lora_studio import files
from lora_studio.brand import load_prompts
from lora_studio.errors import WorkspaceError
from lora_studio.records import Take
from lora_studio.runs import finished_runs
from lora_studio.workspace import Workspace

PLAN_NAME: Final = "plan.json"
NOT_TAKES: Final = (PLAN_NAME, "scores.json")


@dataclass(frozen=True)
class Clip:
    """One row of dataset/clips without its features. The pictures are in `catalog/shots/<shot_id>.mp4`."""

    clip_id: str
    shot_id: str
    start_s: float
    caption_long: str
    caption_short: str


def read_manifest(workspace: Workspace) -> dict[str, Any]:
    """dataset/manifest.json as plain values.

    Raises:
        WorkspaceError: no dataset was built.
    """
    path = workspace.dataset / "manifest.json"
    if not path.is_file():
        raise WorkspaceError(f"no dataset in {workspace.root}: build one with `data-tools build {workspace.root}`")
    return files.read_json(path)


def base_caveat(workspace: Workspace) -> str:
    """What everyone who looks at takes must know of the base they come from; empty for a published model or no dataset."""
    if not (workspace.dataset / "manifest.json").is_file() or read_manifest(workspace)["model"] != "nano":
        return ""
    return (
        "The base is nova-nano, the tiny model that comes with the package: its takes show that the path works, "
        "not what the published model can do."
    )


def dataset_clips(workspace: Workspace, split: Literal["train", "held_out"]) -> list[Clip]:
    """The clips of one split, in the order of the dataset.

    Raises:
        WorkspaceError: no dataset was built.
    """
    folder = workspace.dataset / "clips" / split
    if not folder.is_dir():
        raise WorkspaceError(f"no dataset in {workspace.root}: build one with `data-tools build {workspace.root}`")
    from datasets import Dataset  # takes seconds to import

    rows = Dataset.load_from_disk(str(folder)).select_columns(list(Clip.__dataclass_fields__))
    return [Clip(**row) for row in rows.to_list()]


def save_plan(workspace: Workspace, take_ids: list[str]) -> None:
    """Writes takes/plan.json: the ids of every take of the present sheet, runs and sampler settings, in order."""
    if take_ids != read_plan(workspace):
        files.write_json(workspace.takes / PLAN_NAME, {"take_ids": take_ids})


def read_plan(workspace: Workspace) -> list[str] | None:
    """The planned take ids, in order; None when nothing was planned."""
    path = workspace.takes / PLAN_NAME
    return files.read_json(path)["take_ids"] if path.is_file() else None


def all_takes(workspace: Workspace) -> list[Take]:
    """Every take that has a sidecar and a video, by id.

    Raises:
        WorkspaceError: a sidecar is damaged.
    """
    takes = []
    for path in sorted(workspace.takes.glob("[!.]*.json")):
        if path.name in NOT_TAKES or not path.with_suffix(".mp4").is_file():
            continue
        try:
            takes.append(Take.model_validate_json(path.read_bytes()))
        except ValidationError as fault:
            raise WorkspaceError(
                f"{path} is damaged ({fault.error_count()} faults): delete it and run `lora-studio takes` again"
            ) from None
    return takes


def current_takes(workspace: Workspace) -> list[Take]:
    """The takes of the last plan that still belong to the prompt sheet and to finished runs.

    Without a plan (takes copied here by hand), the takes of the sheet's prompts and seeds. Real footage has no seed: it
    comes once per prompt, and its sidecar says 0.

    Returns:
        In the order of the plan (prompts, then seeds, then looks: real, base, runs by name); empty when none is made.

    Raises:
        BrandError: there are takes, but prompts.toml is missing or wrong.
        WorkspaceError: a sidecar is damaged.
    """
    takes = all_takes(workspace)
    if not takes:
        return []
    sheet = load_prompts(workspace)
    texts = {prompt.id: prompt.text for prompt in sheet.prompts}
    adapters = {run.name: state.adapter_sha256 for run in finished_runs(workspace) if (state := run.state()) is not None}
    current = [take for take in takes if texts.get(take.prompt_id) == take.prompt]
    current = [take for take in current if take.adapter is None or adapters.get(take.adapter.run) == take.adapter.sha256]
    plan = read_plan(workspace)
    if plan is None:
        return [take for take in current if take.kind == "real" or take.seed in sheet.seeds]
    place = {take_id: index for index, take_id in enumerate(plan)}
    return sorted((take for take in current if take.take_id in place), key=lambda take: place[take.take_id])
