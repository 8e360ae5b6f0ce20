"""The dataset as plain files: exactly what the model sees, read by another library; and how pictures are fitted."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Video, load_dataset
from PIL import Image
from test_build import Averages, Plain
from test_tags import by_name

from data_tools.build import build_dataset
from data_tools.clips import ClipFormat
from data_tools.export import export_dataset
from data_tools.features import clip_frames
from data_tools.preview import draw_preview, lost_share
from data_tools.withdraw import withdraw
from lora_studio import files, video
from lora_studio.errors import FootageError, TrainingError
from lora_studio.training.dataset import load_clips, unpack_array
from lora_studio.workspace import Workspace

FORM = ClipFormat(9, 12.0, 48, 80)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): files.sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def grey(frames: np.ndarray) -> np.ndarray:
    """Luma: MP4 keeps colour at half the size, which a saturated texture shows."""
    return frames @ np.array([0.2126, 0.7152, 0.0722])


def test_clips_are_what_the_model_sees_and_captions_lie_beside_them(workspace: Workspace, tmp_path: Path):
    done = build_dataset(workspace, Plain().base())
    assert export_dataset(workspace, tmp_path / "set") == done.num_train + done.num_held_out
    clips = load_clips(workspace)
    shots = {row.shot.shot_id: row.shot for row in by_name(workspace).values()}
    for split, rows in (("train", clips.train), ("validation", clips.held_out)):
        lines = [json.loads(line) for line in (tmp_path / "set" / split / "metadata.jsonl").read_text().splitlines()]
        assert [line["file_name"] for line in lines] == [f"{row['clip_id']}.mp4" for row in rows]
        for line, row in zip(lines, rows, strict=True):
            path = tmp_path / "set" / split / line["file_name"]
            assert path.with_suffix(".txt").read_text() == row["caption_long"] + "\n"
            assert (line["text"], line["tags"]) == (row["caption_long"], json.loads(row["tags"]))
            shown = video.read_frames(path, video.sample_times(0.0, 9, 12.0))
            meant = clip_frames(workspace, shots[row["shot_id"]], row["start_s"], FORM)
            assert shown.shape == meant.shape == (9, 48, 80, 3)
            assert np.abs(grey(shown) - grey(meant)).mean() < 2


def test_another_library_reads_it_with_its_splits(workspace: Workspace, tmp_path: Path):
    done = build_dataset(workspace, Plain().base())
    export_dataset(workspace, tmp_path / "set")
    read = load_dataset("videofolder", data_dir=str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in read.items()} == {"train": done.num_train, "validation": done.num_held_out}
    first = read["train"].cast_column("video", Video(decode=False))[0]
    assert first["text"].startswith("acmelook, ")
    assert Path(first["video"]["path"]).name == f"{first['clip_id']}.mp4"


def test_a_second_export_does_nothing_and_a_new_dataset_replaces_the_old(workspace: Workspace, tmp_path: Path):
    plain = Plain()
    build_dataset(workspace, plain.base())
    export_dataset(workspace, tmp_path / "set")
    before = contents(tmp_path / "set")
    assert export_dataset(workspace, tmp_path / "set") == 0
    build_dataset(workspace, plain.base(), 0.5)
    assert export_dataset(workspace, tmp_path / "set") > 0
    assert contents(tmp_path / "set") != before


def test_foreign_folders_are_left_alone_and_withdrawn_footage_stays_inside(workspace: Workspace, tmp_path: Path):
    build_dataset(workspace, Plain().base())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FootageError, match="holds something that is no export"):
        export_dataset(workspace, tmp_path / "mine")
    (tmp_path / "mine" / "export.json").write_text("[]")  # another program's
    with pytest.raises(FootageError, match="holds something that is no export"):
        export_dataset(workspace, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    withdraw(workspace, ["a.mp4"], "no release", date(2026, 11, 26))
    with pytest.raises(TrainingError, match="no dataset in"):
        export_dataset(workspace, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_what_a_person_put_there_stays(workspace: Workspace, tmp_path: Path):
    plain, folder = Plain(), tmp_path / "set"
    build_dataset(workspace, plain.base())
    export_dataset(workspace, folder)
    written = set(contents(folder))
    assert set(files.read_json(folder / "export.json")["files"]) == written - {"export.json"}
    (folder / "notes.txt").write_text("mine")
    (folder / "train" / "mine.txt").write_text("mine")
    build_dataset(workspace, plain.base(), 0.5)
    for is_old in (False, True):  # an export of an older version did not note its files
        if is_old:
            mark = files.read_json(folder / "export.json")
            files.write_json(folder / "export.json", {key: mark[key] for key in mark if key != "files"} | {"model": "other"})
        assert export_dataset(workspace, folder) > 0
        export_dataset(workspace, tmp_path / f"fresh{is_old}")
        fresh = contents(tmp_path / f"fresh{is_old}")
        mine = {"notes.txt", "train/mine.txt"}
        assert {name: sha for name, sha in contents(folder).items() if name not in mine} == fresh
        assert [(folder / name).read_text() for name in sorted(mine)] == ["mine", "mine"]


def test_withdrawing_names_the_exports_that_hold_it(workspace: Workspace, tmp_path: Path):
    build_dataset(workspace, Plain().base())
    export_dataset(workspace, tmp_path / "set")
    assert withdraw(workspace, ["a.mp4"], "no release", date(2026, 11, 26)).exports == [str(tmp_path / "set")]
    build_dataset(workspace, Plain().base())
    export_dataset(workspace, tmp_path / "set")
    assert withdraw(workspace, ["a.mp4"], "no release", date(2026, 11, 26)).exports == []


def test_padding_keeps_the_whole_picture_in_clip_ids_latents_and_export(workspace: Workspace, tmp_path: Path):
    plain = Plain()
    build_dataset(workspace, plain.base())
    cropped = set(load_clips(workspace).train["clip_id"])
    base = plain.base()
    padded_form = ClipFormat(9, 12.0, 48, 80, "pad")
    build_dataset(workspace, type(base)(base.name, padded_form, base.latent_shape, base.encoders))
    clips = load_clips(workspace)
    assert clips.manifest.fit == "pad"
    assert not cropped & set(clips.train["clip_id"])
    row = clips.train[0]
    shot = next(one.shot for one in by_name(workspace).values() if one.shot.shot_id == row["shot_id"])
    meant = clip_frames(workspace, shot, row["start_s"], padded_form)
    wanted = Averages().encode(torch.from_numpy(meant).float().movedim(-1, 0)[None] / 127.5 - 1).parameters[0]
    assert np.abs(unpack_array(row["moments"], tuple(row["moments_shape"])) - wanted.numpy()).max() < 2e-3
    export_dataset(workspace, tmp_path / "set")
    shown = video.read_frames(tmp_path / "set" / "train" / f"{row['clip_id']}.mp4", [0.0])
    assert np.abs(grey(shown) - grey(meant[:1])).mean() < 2


def test_the_preview_shows_both_fits_and_the_worst_first(workspace: Workspace):
    tall = ClipFormat(9, 12.0, 160, 96)
    path, num_shown, num_shots = draw_preview(workspace, tall)
    assert (path, num_shown, num_shots) == (workspace.catalog / "preview.png", 4, 4)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[0] == 2 * (108 + 6)
    assert sheet.std() > 20


def test_what_cropping_loses():
    assert lost_share(1080, 1920, ClipFormat(9, 12.0, 128, 192)) == pytest.approx(1 - 1.5 / (16 / 9))
    assert lost_share(1920, 1080, ClipFormat(9, 12.0, 128, 192)) == pytest.approx(1 - (9 / 16) / 1.5)
    assert lost_share(128, 192, ClipFormat(9, 12.0, 128, 192)) == 0
