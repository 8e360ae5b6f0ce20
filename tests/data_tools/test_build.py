"""The dataset: right numbers in, rights asked first, the book balances, and nothing is encoded twice."""

import json
import shutil
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawing import BRAND, move, texture

from data_tools import normalise
from data_tools.build import Base, build_dataset, check_ready, open_base
from data_tools.captions import other_caption
from data_tools.catalog import Catalog
from data_tools.clips import ClipFormat
from data_tools.features import Encoders, mean_flow
from lora_studio import files, video
from lora_studio.brand import load_brand, save_brand
from lora_studio.errors import FootageError, RightsError, TrainingError
from lora_studio.taxonomy import TAXONOMY_VERSION
from lora_studio.training import dataset
from lora_studio.training.dataset import load_clips, unpack_array
from lora_studio.workspace import Workspace

MOST_WORDS = 60


class Averages(torch.nn.Module):
    """A VAE whose latents are the mean colours of 8x8 blocks of every fourth frame."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode(self, pixels: torch.Tensor) -> SimpleNamespace:
        mean = torch.nn.functional.avg_pool3d(pixels[:, :, ::4], (1, 8, 8))
        return SimpleNamespace(parameters=torch.cat([mean, torch.full_like(mean, -8.0)], dim=1))


class Letters:
    """A text encoder with one row per word: its length and first letter."""

    def encode(self, texts: list[str]) -> list[torch.Tensor]:
        return [torch.tensor([[len(word), ord(word[0]) / 256] for word in text.split()[:MOST_WORDS]]) for text in texts]

    def cut_off(self, text: str) -> str:
        return " ".join(text.split()[MOST_WORDS:])


@dataclass
class Plain:
    """A base that counts how often its parts are loaded."""

    loads: list[str] = field(default_factory=list)

    def base(self) -> Base:
        encoders = Encoders("vae", "text", lambda: self._load("vae"), lambda: self._load("text"))
        return Base("plain", ClipFormat(9, 12.0, 48, 80), (3, 3, 6, 10), encoders)

    def _load(self, part: str):
        self.loads.append(part)
        return Averages() if part == "vae" else Letters()


def ledger(workspace: Workspace) -> dict:
    return files.read_json(workspace.dataset / "ledger.json")


def test_rows_hold_what_the_clips_show(workspace: Workspace):
    done = build_dataset(workspace, Plain().base())
    clips = load_clips(workspace)
    assert (done.num_train, done.num_held_out) == (len(clips.train), len(clips.held_out))
    assert done.num_held_out >= 1
    assert clips.manifest.owners == ("Acme",)
    rows = [*clips.train, *clips.held_out]
    shots = {row.shot.shot_id: row.shot for row in Catalog(workspace).shots()}
    for row in rows:
        shot = shots[row["shot_id"]]
        frames = video.read_frames(workspace.absolute(shot.path), video.sample_times(row["start_s"], 9, 12.0))
        wanted = Averages().encode(torch.from_numpy(video.resize_crop(frames, 48, 80)).float().movedim(-1, 0)[None] / 127.5 - 1)
        moments = unpack_array(row["moments"], tuple(row["moments_shape"]))
        assert np.abs(moments - wanted.parameters[0].numpy()).max() < 2e-3
        assert row["caption_long"] == shot.caption_long
        assert unpack_array(row["text_long"], (row["rows_long"], -1))[0, 0] == len("acmelook,")
        for kind, caption in (("long", shot.caption_long), ("short", shot.caption_short)):
            words, plain = caption.split(), unpack_array(row[f"text_plain_{kind}"], (row[f"rows_plain_{kind}"], -1))
            assert (words[0], [len(word) for word in words[1:]]) == ("acmelook,", plain[:, 0].tolist())
        other = other_caption(shot, load_brand(workspace), row["clip_id"])
        features = unpack_array(row["text_plain_other"], (row["rows_plain_other"], -1))
        assert features[:, 0].tolist() == [len(word) for word in other.split()]
        assert row["motion_flow"] == 5.0
    pans = [row["flow_measured"] for row in rows if '"pan_right"' in row["tags"]]
    stills = [row["flow_measured"] for row in rows if '"static"' in row["tags"]]
    assert min(pans) > 0.5
    assert max(stills) < 0.2


def test_rows_say_where_clips_lie_in_their_masters_and_who_says_what_of_them(workspace: Workspace):
    build_dataset(workspace, Plain().base())
    clips = load_clips(workspace)
    shots = {row.shot.shot_id: row.shot for row in Catalog(workspace).shots()}
    records = {record.footage_id: record for record in Catalog(workspace).footage() if record.status == "usable"}
    seen = 0
    for row in (*clips.train, *clips.held_out):
        shot, record = shots[row["shot_id"]], records[row["footage_id"]]
        tick_s = Fraction(*row["time_base"])
        start_s, end_s = float(row["start_pts"] * tick_s), float(row["end_pts"] * tick_s)
        assert end_s - start_s == pytest.approx(9 / 12, abs=0.01)
        assert shot.start_pts <= row["start_pts"] < row["end_pts"] <= shot.end_pts
        master = next(frame for _, frame in video.iterate_frames(workspace.absolute(record.path), start_s + 1e-3))
        shown = video.read_frames(workspace.absolute(row["shot_path"]), [row["start_s"] + 1 / 24])[0]
        assert np.abs(master.astype(int) - shown).mean() < 4, "the frame at start_pts of the master begins the clip"
        assert (row["shot_sha256"], row["footage_path"]) == (files.sha256_file(workspace.absolute(shot.path)), record.path)
        assert (row["num_frames"], row["fps"], row["height"], row["width"]) == (9, 12.0, 48, 80)
        for axis, said in json.loads(row["tags"]).items():
            tag, label = shot.tags[axis], clips.train.features["tag_value"][axis]
            assert label.int2str(row["tag_value"][axis]) == said
            assert (row["tag_confidence"][axis], row["tag_source"][axis]) == (pytest.approx(tag.confidence), tag.source)
            seen += said != "unknown"
        assert (json.loads(row["measures"]), json.loads(row["flags"])) == (shot.measures, shot.flags)
        assert json.loads(row["provenance"]) == {
            "colour": "bt709", "transform": "", "normalise_version": normalise.VERSION, "taxonomy_version": TAXONOMY_VERSION,
            "owner": "Acme", "licence": "owned",
        }  # fmt: skip
    assert seen > 8


def test_a_rebuild_writes_the_same_bytes(workspace: Workspace):
    def written() -> dict[str, str]:
        paths = (path for path in folder.rglob("*") if path.is_file() and "features" not in path.parts)
        return {str(path.relative_to(folder)): files.sha256_file(path) for path in paths}

    folder = workspace.dataset
    build_dataset(workspace, Plain().base())
    first = written()
    shutil.rmtree(folder)
    build_dataset(workspace, Plain().base())
    assert written() == first
    catalog = Catalog(workspace)
    catalog.put_footage([record.model_copy(update={"transform": "by hand"}) for record in catalog.footage()])
    assert build_dataset(workspace, Plain().base()).is_new, "what a row says is part of the plan"


def test_a_dataset_of_an_older_schema_is_refused_and_built_anew(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as older:
        older.setattr(dataset, "SCHEMA", 4)
        build_dataset(workspace, Plain().base())
    manifest = workspace.dataset / "manifest.json"
    files.write_json(manifest, files.read_json(manifest) | {"schema": 4})
    with pytest.raises(TrainingError, match="schema must be 5, got 4: build the dataset again"):
        load_clips(workspace)
    again = build_dataset(workspace, Plain().base())
    assert (again.is_new, again.num_encoded_clips, again.num_encoded_texts) == (True, 0, 0)
    assert len(load_clips(workspace).train) == again.num_train


def test_the_book_balances(workspace: Workspace):
    done = build_dataset(workspace, Plain().base())
    book = ledger(workspace)
    totals = book["totals"]
    assert totals["shots"] == totals["train"] + totals["held_out"] + totals["left_out"] == len(Catalog(workspace).shots())
    assert totals["clips"] == done.num_train + done.num_held_out == sum(line["num_clips"] for line in book["shots"])
    assert [entry["path"] for entry in book["quarantined"]] == ["footage/broken.mp4"]


def test_nothing_is_done_twice_and_only_what_changed_again(workspace: Workspace):
    plain = Plain()
    first = build_dataset(workspace, plain.base())
    assert plain.loads == ["vae", "text"]
    before = {path: path.stat().st_mtime_ns for path in workspace.dataset.rglob("*") if path.is_file()}
    assert not build_dataset(workspace, plain.base()).is_new
    assert {path: path.stat().st_mtime_ns for path in workspace.dataset.rglob("*") if path.is_file()} == before
    assert plain.loads == ["vae", "text"]
    row = Catalog(workspace).shots()[0]
    shot = row.shot.model_copy(update={"caption_long": "acmelook, something else."})
    Catalog(workspace).put_shots([type(row)(shot, row.keys, row.vector)])
    again = build_dataset(workspace, plain.base())
    assert (again.is_new, again.num_encoded_clips, again.num_encoded_texts) == (True, 0, 2)  # with the trigger and without
    assert plain.loads == ["vae", "text", "text"]
    assert (again.num_train, again.num_held_out) == (first.num_train, first.num_held_out)


def test_a_killed_build_counts_as_not_done(workspace: Workspace):
    plain = Plain()
    build_dataset(workspace, plain.base())
    (workspace.dataset / "manifest.json").unlink()
    again = build_dataset(workspace, plain.base())
    assert (again.is_new, again.num_encoded_clips, again.num_encoded_texts) == (True, 0, 0)


def test_uncleared_footage_never_gets_in(workspace: Workspace):
    (workspace.footage / "deep" / "rights.toml").write_text('owner = "Somebody"\nai_training = false\n')
    done = build_dataset(workspace, Plain().base())
    assert done.left_out == {"rights: not cleared for AI training": 2}
    lines = {line["path"]: line["verdict"] for line in ledger(workspace)["shots"]}
    assert lines["footage/deep/pan.mp4"] == lines["footage/deep/still.mp4"] == "left_out"
    ids = {row["footage_id"] for row in load_clips(workspace).train} | {row["footage_id"] for row in load_clips(workspace).held_out}
    assert len(ids) == 1


def test_no_rights_no_dataset(workspace: Workspace):
    expired = BRAND.rights.model_copy(update={"expires": date(2020, 1, 1)})
    save_brand(workspace, BRAND.model_copy(update={"rights": expired}))
    with pytest.raises(RightsError, match=r"none of the 4 shots .*expired on 2020-01-01.*state owner and ai_training = true"):
        build_dataset(workspace, Plain().base())
    assert ledger(workspace)["totals"]["left_out"] == 4
    assert not (workspace.dataset / "manifest.json").exists()


def test_withdrawn_footage_leaves_the_dataset(workspace: Workspace):
    build_dataset(workspace, Plain().base())
    (workspace.footage / "deep" / "rights.toml").write_text('owner = "Acme"\nai_training = true\nwithdrawn = true\n')
    done = build_dataset(workspace, Plain().base())
    assert done.is_new
    assert done.num_encoded_clips == 0
    assert done.left_out == {"rights: withdrawn": 2}


def test_too_few_shots_and_no_captions(workspace: Workspace, tmp_path: Path):
    base = Plain().base()
    long = Base(base.name, ClipFormat(33, 12.0, 48, 80), base.latent_shape, base.encoders)
    with pytest.raises(FootageError, match="at least 2 usable shots"):
        build_dataset(workspace, long)
    assert {line["reason"] for line in ledger(workspace)["shots"]} == {"shorter than one clip (2.67 s)"}
    with pytest.raises(FootageError, match="--held-out must be over 0 and under 1, got 1"):
        build_dataset(workspace, base, 1.0)
    row = Catalog(workspace).shots()[0]
    Catalog(workspace).put_shots([type(row)(row.shot.model_copy(update={"caption_long": ""}))])
    with pytest.raises(FootageError, match="1 of 4 shots have no caption"):
        check_ready(workspace)


def test_captions_of_an_older_trigger_are_refused(workspace: Workspace):
    save_brand(workspace, load_brand(workspace).model_copy(update={"trigger": "ourlook"}))
    with pytest.raises(FootageError, match=r"is 'ourlook', but a caption begins 'acmelook, .*run `data-tools caption"):
        check_ready(workspace)


def test_a_caption_longer_than_the_model_reads_is_told(workspace: Workspace):
    assert build_dataset(workspace, Plain().base()).cut_off == {}
    catalog = Catalog(workspace)
    row = catalog.shots()[0]
    wordy = "acmelook, " + "word " * 58 + "the end."
    catalog.put_shots([replace(row, shot=row.shot.model_copy(update={"caption_long": wordy + " Left out."}))])
    assert build_dataset(workspace, Plain().base()).cut_off == {row.shot.shot_id: "end. Left out."}
    catalog.put_shots([replace(row, shot=row.shot.model_copy(update={"caption_long": wordy.replace("word the", "the")}))])
    assert build_dataset(workspace, Plain().base()).cut_off == {}


def test_flow_is_pixels_per_frame():
    moving = move(texture(1), 6, right=12 * 2 / 160 * 100, fps=12)  # two pixels per frame
    assert mean_flow(moving) == pytest.approx(2, abs=0.15)
    assert mean_flow(np.zeros((3, 64, 96, 3), np.uint8)) < 0.01


def test_the_shipped_model_builds(workspace: Workspace):
    base = open_base("nano")
    done = build_dataset(workspace, base)
    clips = load_clips(workspace)
    row = clips.train[0]
    channels, *grid = base.latent_shape
    assert row["moments_shape"] == [2 * channels, *grid]
    assert row["rows_long"] > 4
    assert clips.manifest.vae_sha256 == base.encoders.vae_sha256
    assert done.num_encoded_clips == len(clips.train) + len(clips.held_out)


def test_shots_of_footage_that_was_replaced_are_no_reason_to_fail(workspace: Workspace):
    catalog = Catalog(workspace)
    row = catalog.shots()[0]
    stray = row.shot.model_copy(update={"shot_id": "stray", "footage_id": "0" * 16})
    catalog.put_shots([replace(row, shot=stray)])
    built = build_dataset(workspace, Plain().base())
    assert built.num_train + built.num_held_out > 0
    assert "stray" not in {line["shot_id"] for line in ledger(workspace)["shots"]}
