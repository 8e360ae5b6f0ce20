"""Shards: each file falls to one of them, and what they come to together is what one machine would have come to."""

import shutil
from pathlib import Path

import pytest
from conftest import draw_footage
from drawing import BRAND
from test_build import Plain

from data_tools.build import build_dataset
from data_tools.captions import caption_shots
from data_tools.catalog import Catalog
from data_tools.corrections import FILE
from data_tools.ingest import find_videos, in_shard, ingest_folder, parse_shard
from data_tools.merge import Merged, merge_workspaces
from data_tools.tags import tag_shots
from lora_studio.brand import save_brand
from lora_studio.errors import FootageError
from lora_studio.training.dataset import load_clips
from lora_studio.workspace import Workspace


def made(root: Path) -> Workspace:
    workspace = Workspace.at(root)
    save_brand(workspace, BRAND)
    return workspace


def seen(workspace: Workspace) -> tuple[list, list]:
    """What a workspace knows, with paths as they are on disk."""
    catalog = Catalog(workspace)
    footage = [(str(workspace.absolute(r.path)), r.model_dump(exclude={"path", "reason"})) for r in catalog.footage()]
    shots = [(row.shot.model_dump(exclude={"path"}), row.keys) for row in catalog.shots()]
    return footage, shots


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    draw_footage(tmp_path / "masters")
    shutil.copy2(tmp_path / "masters" / "a.mp4", tmp_path / "masters" / "z_copy.mp4")
    return tmp_path / "masters"


def test_shards_come_to_what_one_machine_comes_to(masters: Path, tmp_path: Path, tiny_vision_folder: Path):
    alone, shards = made(tmp_path / "alone"), [made(tmp_path / f"shard{number}") for number in range(3)]
    ingest_folder(alone, masters)
    for number, shard in enumerate(shards):
        ingest_folder(shard, masters, 1, (number, 3))
        if Catalog(shard).shots():
            tag_shots(shard, tiny_vision_folder, num_workers=1)
    together = made(tmp_path / "together")
    done = merge_workspaces(together, shards)
    assert (done.num_files, done.num_shots) == (5, 4)
    assert merge_workspaces(together, shards) == Merged(0, 5, 4)
    assert tag_shots(together, tiny_vision_folder).num_measured == 0
    tag_shots(alone, tiny_vision_folder)
    assert seen(together) == seen(alone)
    reasons = {Path(r.path).name: r.reason for r in Catalog(together).footage() if r.status == "quarantined"}
    assert reasons.keys() == {"broken.mp4", "z_copy.mp4"}
    assert reasons["z_copy.mp4"].endswith("masters/a.mp4")
    for shard in shards:
        shutil.rmtree(shard.root)
    for workspace in (together, alone):
        caption_shots(workspace)
        build_dataset(workspace, Plain().base())
    assert load_clips(together).manifest == load_clips(alone).manifest
    assert ingest_folder(together, masters).num_new == 0, "nothing is read again"


def test_each_file_falls_to_exactly_one_shard(masters: Path, tmp_path: Path):
    paths = find_videos(made(tmp_path / "w"), masters)
    for number in (1, 2, 5):
        assert [sum(in_shard(path, masters, (index, number)) for index in range(number)) for path in paths] == [1] * len(paths)
    moved = tmp_path / "elsewhere"
    assert [in_shard(moved / p.relative_to(masters), moved, (0, 2)) for p in paths] == [in_shard(p, masters, (0, 2)) for p in paths]


@pytest.mark.parametrize("text", ["", "4", "4/4", "a/b", "-1/4", "1/0", "1/2/3"])
def test_a_shard_that_is_none_says_so(text: str):
    with pytest.raises(FootageError, match="--shard must be I/N with I from 0 to N - 1"):
        parse_shard(text)


def test_what_cannot_be_merged_is_left_alone(workspace: Workspace, tmp_path: Path):
    with pytest.raises(FootageError, match="cannot be merged into itself"):
        merge_workspaces(workspace, [workspace])
    (workspace.root / FILE).write_text("")
    other = made(tmp_path / "other")
    with pytest.raises(FootageError, match="correct after merging"):
        merge_workspaces(other, [workspace])
    (workspace.root / FILE).unlink()
    next(workspace.shots.glob("*.mp4")).unlink()
    with pytest.raises(FootageError, match="is missing: run `data-tools ingest`"):
        merge_workspaces(other, [workspace])
    assert Catalog(other).footage() == []
