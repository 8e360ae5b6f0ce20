"""The dataset folder: what is written is read back, and what is wrong is said."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict, load_dataset
from toy import LATENT, toy_row, write_dataset

from lora_studio.errors import RightsError, TrainingError
from lora_studio.taxonomy import UNKNOWN
from lora_studio.training.dataset import clip_features, hash_rows, load_clips, pack_array, require_same_encoders, unpack_array
from lora_studio.workspace import Workspace


def test_arrays_come_back_in_half_precision():
    array = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    assert np.array_equal(unpack_array(pack_array(array), (3, 4, 5)), array.astype(np.float16).astype(np.float32))
    assert unpack_array(pack_array(array), (3, -1)).shape == (3, 20)
    with pytest.raises(TrainingError, match="not finite"):
        pack_array(np.array([1e6]))
    with pytest.raises(TrainingError, match="60 values do not fill shape"):
        unpack_array(pack_array(array), (7, 7))


def test_a_dataset_is_read_as_it_was_written(workspace: Workspace):
    clips = load_clips(workspace)
    assert (len(clips.train), len(clips.held_out)) == (12, 6)
    assert clips.train.features == clip_features()
    row, features = clips.train[3], clip_features()
    assert row == features.encode_example(toy_row(3))
    assert features["tag_value"]["angle.vertical"].int2str(row["tag_value"]["angle.vertical"]) == "eye_level"
    assert features["tag_value"]["light.key"].int2str(row["tag_value"]["light.key"]) == UNKNOWN
    assert clips.manifest.latent_shape == LATENT
    assert clips.manifest.dataset_sha256 == hash_rows([*clips.train, *clips.held_out])


def test_the_hash_follows_captions_and_features():
    rows = [toy_row(i) for i in range(3)]
    assert hash_rows(rows) != hash_rows(rows[::-1])
    assert hash_rows([{**rows[0], "caption_long": "other"}]) != hash_rows(rows[:1])
    assert hash_rows([{**rows[0], "moments": rows[1]["moments"]}]) != hash_rows(rows[:1])


def test_a_dataset_that_is_not_built_says_how_to_build_it(tmp_path):
    with pytest.raises(TrainingError, match="data-tools build"):
        load_clips(Workspace.at(tmp_path))


def test_a_manifest_that_disagrees_is_refused(workspace: Workspace):
    path = workspace.dataset / "manifest.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps({**good, "schema": 7}))
    with pytest.raises(TrainingError, match="schema must be 5, got 7"):
        load_clips(workspace)
    path.write_text(json.dumps({**good, "num_train": 11}))
    with pytest.raises(TrainingError, match=r"holds \(12, 6\) clips"):
        load_clips(workspace)
    path.write_text(json.dumps({key: value for key, value in good.items() if key != "fps"}))
    with pytest.raises(TrainingError, match=r"damaged \(fps\)"):
        load_clips(workspace)


def test_nothing_to_train_on_is_refused(tmp_path):
    write_dataset(Workspace.at(tmp_path), num_train=0, num_held_out=2)
    with pytest.raises(TrainingError, match="no clip to train on"):
        load_clips(Workspace.at(tmp_path))


def test_features_of_another_model_are_refused(workspace: Workspace):
    manifest = load_clips(workspace).manifest
    require_same_encoders(manifest, "toy", "v" * 64, "t" * 64)
    with pytest.raises(TrainingError, match=r"another VAE .*data-tools build --model nano"):
        require_same_encoders(manifest, "nano", "x", "t" * 64)


def test_rights_that_ended_since_the_build_stop_training(workspace: Workspace):
    write_dataset(workspace, earliest_expiry="2026-06-30")
    assert len(load_clips(workspace, today=date(2026, 6, 30)).train) == 12
    with pytest.raises(RightsError, match=r"ended on 2026-06-30: build it again"):
        load_clips(workspace, today=date(2026, 7, 1))


@pytest.mark.parametrize("folder", ["dataset", "dataset/clips"])
def test_the_plainest_call_reads_both_splits(workspace: Workspace, tmp_path: Path, folder: str):
    def loaded(root: Path) -> DatasetDict:
        return load_dataset(str(root / folder), cache_dir=str(tmp_path / "cache"))

    clips = load_clips(workspace)
    first = loaded(workspace.root)
    assert set(first) == {"train", "held_out"}
    for split, rows in (("train", clips.train), ("held_out", clips.held_out)):
        assert first[split].features == clip_features()
        assert first[split].to_list() == rows.to_list()
    write_dataset(Workspace.at(tmp_path / "other"), num_train=5, num_held_out=1)
    assert loaded(tmp_path / "other").num_rows == {"train": 5, "held_out": 1}, "not what was kept of another brand's"
    write_dataset(workspace, num_train=3, num_held_out=0)
    assert loaded(workspace.root).num_rows == {"train": 3}, "what was built anew is read anew"
    streamed = load_dataset(str(workspace.root / folder), split="train", streaming=True)
    assert [row["clip_id"] for row in streamed] == ["clip00", "clip01", "clip02"]
