"""The dataset as plain files for other trainers and for people: each clip as the model sees it, with its caption.

    FOLDER/train/CLIP_ID.mp4        exactly the frames the model sees, playable
    FOLDER/train/CLIP_ID.txt        the long caption
    FOLDER/train/metadata.jsonl     a line for each clip: file_name, text and what is known of it
    FOLDER/validation/...           the same for what is held out
    FOLDER/export.json              which dataset this is, and every file that was written

What a person puts there stays: a later export into the same folder deletes only what an earlier one wrote.

`datasets.load_dataset("videofolder", data_dir=FOLDER)` reads it with splits, and so do trainers that look for .txt beside clips.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from data_tools.catalog import Catalog
from data_tools.clips import ClipFormat
from data_tools.features import clip_frames
from data_tools.finding import is_export
from data_tools.withdraw import note_export
from lora_studio import files, video
from lora_studio.errors import FootageError
from lora_studio.workspace import Workspace

MARK: Final = "export.json"
SPLITS: Final = {"train": "train", "held_out": "validation"}  # ours -> the name that `datasets` knows
_STAGE: Final = ".export.tmp"  # in the folder, while an earlier export is replaced
_CRF: Final = 12  # finer than the eye: another trainer decodes these again


def export_dataset(workspace: Workspace, folder: Path) -> int:
    """Writes the whole folder, or nothing. Returns how many clips it holds now, 0 where there was nothing to do.

    Raises:
        FootageError: the folder holds something else, or a person's file where one is to be written; or a shot has gone.
        TrainingError: there is no dataset, or it is damaged.
        RightsError: rights in its footage have ended since it was built.
        MediaError: a shot cannot be read.
    """
    from lora_studio.training.dataset import load_clips

    clips = load_clips(workspace)
    mark = {"dataset_sha256": clips.manifest.dataset_sha256, "model": clips.manifest.model, "owners": clips.manifest.owners}
    if _is_done(folder, json.loads(json.dumps(mark))):
        note_export(workspace, folder, clips.manifest.dataset_sha256, is_whole=True)
        return 0
    made = clips.manifest
    form = ClipFormat(made.num_frames, made.fps, made.height, made.width, made.fit)
    shots = {row.shot.shot_id: row.shot for row in Catalog(workspace).shots()}
    splits: list[tuple[str, Any]] = [("train", clips.train), ("held_out", clips.held_out)]
    note_export(workspace, folder, clips.manifest.dataset_sha256, is_whole=False)
    with _replaced(folder) if (folder / MARK).is_file() else files.atomic_folder(folder) as temporary:
        for split, rows in splits:
            lines = []
            for row in tqdm(rows, desc=f"export {split}", unit="clip", disable=None):
                if row["shot_id"] not in shots:
                    raise FootageError(f"shot {row['shot_id']} of the dataset is not in the catalog: run `data-tools build` again")
                path = temporary / SPLITS[split] / f"{row['clip_id']}.mp4"
                frames = clip_frames(workspace, shots[row["shot_id"]], row["start_s"], form)
                video.write_video(path, frames, form.fps, crf=_CRF)
                files.write_text(path.with_suffix(".txt"), row["caption_long"] + "\n")
                lines.append(json.dumps(_line(row, form), ensure_ascii=False) + "\n")
            if lines:
                files.write_text(temporary / SPLITS[split] / "metadata.jsonl", "".join(lines))
        files.write_json(temporary / MARK, {**mark, "files": _files_in(temporary)})
    note_export(workspace, folder, clips.manifest.dataset_sha256, is_whole=True)
    return len(clips.train) + len(clips.held_out)


def _is_done(folder: Path, mark: dict[str, Any]) -> bool:
    if not folder.exists():
        return False
    if not folder.is_dir() or (any(folder.iterdir()) and not is_export(folder)):
        raise FootageError(f"{folder} holds something that is no export: name a new folder, nothing in this one was touched")
    return (folder / MARK).is_file() and {**files.read_json(folder / MARK), "files": None} == {**mark, "files": None}


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yields an empty folder; what is in it then takes the place of what an earlier export wrote, and of nothing else."""
    stage = folder / _STAGE
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    yield stage
    old, new = _written(folder), _files_in(stage)
    foreign = next((name for name in new if name not in old and (folder / name).exists()), None)
    if foreign is not None:
        shutil.rmtree(stage)
        raise FootageError(f"{folder / foreign} was not written by an export, but would be now: move it away; nothing was touched")
    unfinished = {"dataset_sha256": "", "files": sorted({*old, *new})}  # stands if this is ended before its end
    files.write_json(folder / MARK, unfinished)
    for name in old:
        (folder / name).unlink(missing_ok=True)
    for name in new:
        (folder / name).parent.mkdir(exist_ok=True)
        (stage / name).replace(folder / name)
    (stage / MARK).replace(folder / MARK)
    shutil.rmtree(stage)


def _files_in(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != MARK)


def _written(folder: Path) -> list[str]:
    """What an earlier export wrote, as it noted it; one before such notes were kept is told by its metadata."""
    noted = files.read_json(folder / MARK).get("files")
    if noted is None:
        noted = []
        for listing in (folder / split / "metadata.jsonl" for split in SPLITS.values()):
            lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
            paths = [listing, *(listing.with_name(json.loads(line)["file_name"]) for line in lines)]
            noted += [path.relative_to(folder).as_posix() for path in (*paths, *(path.with_suffix(".txt") for path in paths[1:]))]
    return [name for name in noted if ".." not in Path(name).parts and not Path(name).is_absolute()]


def _line(row: dict[str, Any], form: ClipFormat) -> dict[str, Any]:
    known = ("clip_id", "shot_id", "footage_sha256", "start_s", "caption_short", "motion_flow", "flow_measured")
    return {
        "file_name": f"{row['clip_id']}.mp4", "text": row["caption_long"], **{key: row[key] for key in known},
        "fps": form.fps, "num_frames": form.num_frames, "width": form.width, "height": form.height, "tags": json.loads(row["tags"]),
    }  # fmt: skip
