"""Words for what is in each shot, by a vision-language model: asked once per clip and model, and checked.

A camera report and a person's words stand above a model's. What fails a check is not used, and said; the caption then falls
back to the brand's subject.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from tqdm import tqdm

from data_tools.captions import captioned, constants_of
from data_tools.catalog import Catalog, ShotRow
from data_tools.content import collapsed, faults_of
from data_tools.tags import with_statements
from lora_studio import files, video
from lora_studio.brand import load_brand
from lora_studio.errors import FootageError
from lora_studio.workspace import Workspace

PLACES: Final = (0.15, 0.5, 0.85)  # where in a shot it is looked at
SIDE: Final = 512  # pixels of the longer side that a model is shown
QUESTION: Final = (
    "These are frames of one shot, in order. In one phrase of at most 20 words, name the main subject with its colours, what it "
    "does, and where it is. Say nothing of the camera, framing, light, style or mood, and read out no brand name. Answer with "
    "the phrase alone, in lower case, for example: a cyclist in a yellow jacket rides along a wet street"
)


class Describer(Protocol):
    """Any model that answers a question about pictures."""

    def describe(self, frames: np.ndarray, question: str) -> str:
        """(F, H, W, 3) uint8 and a question -> the answer as the model gave it."""
        ...


@dataclass(frozen=True)
class Descriptions:
    """What one run did: shots asked about, and why answers were left out (reason -> number)."""

    num_shots: int
    num_asked: int
    left_out: dict[str, int]
    repeated: dict[str, int]  # words said of more than three scenes alike


def describe_shots(workspace: Workspace, folder: Path, load: Callable[[Path], Describer] | None = None) -> Descriptions:
    """Asks a model about every shot it has not seen yet.

    Args:
        workspace: one with footage taken in.
        folder: a vision-language model as transformers saves it.
        load: makes a model of a folder; None is `data_tools.vlm.load_describer`.

    Raises:
        FootageError: there is no shot yet.
        ModelError: the folder holds no such model.
        MediaError: a clip cannot be read.
    """
    catalog, brand = Catalog(workspace), load_brand(workspace)
    rows = catalog.shots()
    if not rows:
        raise FootageError(f"no shots in {workspace.root}: take footage in first with `data-tools ingest {workspace.root} FOLDER`")
    model_key = _model_key(folder)
    stale = [row for row in rows if row.keys.get("described") != _key(row, model_key)]
    describer = (load or _load)(folder) if stale else None
    for row in tqdm(stale, desc="describe", unit="shot", disable=not stale):
        assert describer is not None
        answer = describer.describe(_frames(workspace, row), QUESTION)
        words = answer.strip().strip("\"'").removesuffix(".").strip()
        faults = faults_of(words, brand.trigger)
        shot = row.shot.model_copy(update={"described_content": "" if faults else words, "described_fault": "; ".join(faults)})
        catalog.put_shots([replace(row, shot=shot, keys={**row.keys, "described": _key(row, model_key)})])
    renewed = with_statements(workspace, catalog, catalog.shots())
    constant = constants_of([row.shot for row in renewed])
    catalog.put_shots([replace(r, shot=captioned(r.shot, brand, constant)) if r.shot.caption_long else r for r in renewed])
    left_out: dict[str, int] = {}
    for row in renewed:
        if row.shot.described_fault:
            left_out[row.shot.described_fault] = left_out.get(row.shot.described_fault, 0) + 1
    scenes = {row.shot.scene or row.shot.shot_id: row.shot.described_content for row in renewed}
    return Descriptions(len(rows), len(stale), left_out, collapsed(scenes))


def _load(folder: Path) -> Describer:
    from data_tools.vlm import load_describer  # imports torch and transformers

    return load_describer(folder)


def _model_key(folder: Path) -> str:
    kept = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors"))
    return files.sha256_json([[path.name, files.sha256_file(path)] for path in kept])[:16]


def _key(row: ShotRow, model_key: str) -> str:
    return files.sha256_json([row.shot.sha256, model_key, QUESTION])[:16]


def _frames(workspace: Workspace, row: ShotRow) -> np.ndarray:
    last_s = (row.shot.num_frames - 1) / row.shot.fps
    frames = video.read_frames(workspace.absolute(row.shot.path), [place * last_s for place in PLACES])
    scale = min(1.0, SIDE / max(frames.shape[1:3]))
    height, width = (max(1, round(side * scale)) for side in frames.shape[1:3])
    return video.resize_crop(frames, height, width)
