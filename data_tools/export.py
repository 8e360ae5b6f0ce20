"""The dataset as plain files for other trainers and for people: each clip as the model sees it, with its caption.

    FOLDER/train/CLIP_ID.mp4        exactly the frames the model sees, playable
    FOLDER/train/CLIP_ID.txt        the long caption
    FOLDER/train/metadata.jsonl     a line for each clip: file_name, text and what is known of it
    FOLDER/validation/...           the same for what is held out
    FOLDER/export.json              which dataset this is

`datasets.load_dataset("videofolder", data_dir=FOLDER)` reads it with splits, and so do trainers that look for .txt beside clips.
"""

import json
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from data_tools.catalog import Catalog
from data_tools.clips import ClipFormat
from data_tools.features import clip_frames
from lora_studio import files, video
from lora_studio.errors import FootageError
from lora_studio.workspace import Workspace

MARK: Final = "export.json"
SPLITS: Final = {"train": "train", "held_out": "validation"}  # ours -> the name that `datasets` knows
_CRF: Final = 12  # finer than the eye: another trainer decodes these again


def export_dataset(workspace: Workspace, folder: Path) -> int:
    """Writes the whole folder, or nothing. Returns how many clips it holds now, 0 where there was nothing to do.

    Raises:
        FootageError: the folder holds something else, or a shot of the dataset has gone.
        TrainingError: there is no dataset, or it is damaged.
        RightsError: rights in its footage have ended since it was built.
        MediaError: a shot cannot be read.
    """
    from lora_studio.training.dataset import load_clips

    clips = load_clips(workspace)
    mark = {"dataset_sha256": clips.manifest.dataset_sha256, "model": clips.manifest.model, "owners": clips.manifest.owners}
    if _is_done(folder, json.loads(json.dumps(mark))):
        return 0
    made = clips.manifest
    form = ClipFormat(made.num_frames, made.fps, made.height, made.width, made.fit)
    shots = {row.shot.shot_id: row.shot for row in Catalog(workspace).shots()}
    splits: list[tuple[str, Any]] = [("train", clips.train), ("held_out", clips.held_out)]
    with files.atomic_folder(folder) as temporary:
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
        files.write_json(temporary / MARK, mark)
    return len(clips.train) + len(clips.held_out)


def _is_done(folder: Path, mark: dict[str, Any]) -> bool:
    if not folder.exists():
        return False
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK).is_file()):
        raise FootageError(f"{folder} holds something that is no export: name a new folder, nothing in this one was touched")
    return (folder / MARK).is_file() and files.read_json(folder / MARK) == mark


def _line(row: dict[str, Any], form: ClipFormat) -> dict[str, Any]:
    known = ("clip_id", "shot_id", "footage_sha256", "start_s", "caption_short", "motion_flow", "flow_measured")
    return {
        "file_name": f"{row['clip_id']}.mp4", "text": row["caption_long"], **{key: row[key] for key in known},
        "fps": form.fps, "num_frames": form.num_frames, "width": form.width, "height": form.height, "tags": json.loads(row["tags"]),
    }  # fmt: skip
