"""Taking footage in: each file gets a verdict, unchanged files cost nothing, and one bad file stops nothing."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from drawing import BRAND, cut_film

from data_tools import normalise, workers
from data_tools.catalog import Catalog
from data_tools.clips import ClipFormat
from data_tools.corrections import read_corrections, said_by_people, write_correction
from data_tools.ingest import ingest_folder
from data_tools.ledger import leave_out
from data_tools.status import status_of, to_text
from lora_studio import video
from lora_studio.brand import save_brand
from lora_studio.errors import RightsError
from lora_studio.files import sha256_file, sha256_json
from lora_studio.workspace import Workspace

REAL = Path(__file__).parents[3] / "shared" / "footage"


def verdicts(workspace: Workspace) -> dict[str, str]:
    return {record.path.removeprefix("footage/"): record.status for record in Catalog(workspace).footage()}


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_every_file_has_a_verdict(made_workspace: Workspace):
    assert verdicts(made_workspace) == {
        "a.mp4": "usable", "broken.mp4": "quarantined", "deep/pan.mp4": "usable", "deep/still.mp4": "usable",
    }  # fmt: skip
    broken = next(record for record in Catalog(made_workspace).footage() if record.status == "quarantined")
    assert broken.reason.startswith("broken.mp4: not a video that can be read")


def test_shots_are_normalised_and_cut_in_ticks(made_workspace: Workspace):
    records = {record.footage_id: record for record in Catalog(made_workspace).footage()}
    shots = [row.shot for row in Catalog(made_workspace).shots() if records[row.shot.footage_id].path == "footage/a.mp4"]
    assert [(shot.index, shot.num_frames, shot.start_s, shot.end_s) for shot in shots] == [
        (0, 30, 0.0, pytest.approx(1.25)), (1, 40, pytest.approx(1.25), pytest.approx(70 / 24)),
    ]  # fmt: skip
    for shot in shots:
        assert shot.start_pts * shot.time_base[0] / shot.time_base[1] == pytest.approx(shot.start_s)
        clip = made_workspace.absolute(shot.path)
        assert clip == made_workspace.shots / f"{shot.shot_id}.mp4"
        assert video.probe(clip).num_frames == shot.num_frames
    first = video.read_frames(made_workspace.absolute(shots[1].path), [0.0])[0].astype(int)
    source = next(frame for _, frame in video.iterate_frames(made_workspace.footage / "a.mp4", 30 / 24)).astype(int)
    assert abs(first - source).mean() < 3


def test_a_second_run_touches_nothing_but_its_tables(workspace: Workspace):
    before = snapshot(workspace.shots)
    ledger = ingest_folder(workspace, workspace.footage)
    assert ledger.num_new == 0
    assert snapshot(workspace.shots) == before
    assert sum(ledger.num_shots.values()) == 4


def test_a_touched_or_moved_file_keeps_its_shots_and_a_copy_is_named(workspace: Workspace):
    before = snapshot(workspace.shots)
    os.utime(workspace.footage / "a.mp4")
    shutil.move(workspace.footage / "deep" / "pan.mp4", workspace.footage / "pan.mp4")
    shutil.copy(workspace.footage / "deep" / "still.mp4", workspace.footage / "twin.mp4")
    ledger = ingest_folder(workspace, workspace.footage)
    assert ledger.num_new == 3
    assert snapshot(workspace.shots) == before
    assert verdicts(workspace) == {
        "a.mp4": "usable", "broken.mp4": "quarantined", "pan.mp4": "usable", "deep/still.mp4": "usable", "twin.mp4": "quarantined",
    }  # fmt: skip
    twin = next(record for record in ledger.footage if record.path.endswith("twin.mp4"))
    assert twin.reason == "the same file as footage/deep/still.mp4"
    assert all(row.shot.caption_long for row in Catalog(workspace).shots())


def test_a_replaced_file_loses_its_old_shots(workspace: Workspace):
    old = {row.shot.shot_id for row in Catalog(workspace).shots()}
    cut_film(workspace.footage / "deep" / "pan.mp4", (26, 26), seed=2)
    ingest_folder(workspace, workspace.footage)
    new = {row.shot.shot_id for row in Catalog(workspace).shots()}
    assert len(old - new) == 1
    assert len(new - old) == 2
    assert {path.stem for path in workspace.shots.glob("*.mp4")} == new


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_shot_that_is_gone_is_made_anew(workspace: Workspace, spoil: Any):
    before, rows = snapshot(workspace.shots), Catalog(workspace).shots()
    contents = {path: sha256_file(path) for path in before}
    lost = workspace.absolute(rows[0].shot.path)
    write_correction(workspace, [rows[0].shot.shot_id], "angle.scale", "wide", "Ana", datetime(2026, 12, 1, tzinfo=UTC))
    said = read_corrections(workspace)
    spoil(lost)
    assert status_of(workspace)["next"]["ingest"] == "read 1 files whose shots are missing again"
    assert ingest_folder(workspace, workspace.footage).num_new == 1
    assert {path: sha256_file(path) for path in snapshot(workspace.shots)} == contents
    assert {path for path, at in snapshot(workspace.shots).items() if at != before[path]} == {lost}
    assert [(row.shot, row.keys) for row in Catalog(workspace).shots()] == [(row.shot, row.keys) for row in rows]
    assert read_corrections(workspace) == said
    assert status_of(workspace)["next"]["ingest"] == "nothing, unless a folder holds new files"
    assert ingest_folder(workspace, workspace.footage).num_new == 0


def test_a_moved_file_whose_shot_is_gone_is_read(workspace: Workspace):
    (row,) = (row for row in Catalog(workspace).shots() if row.shot.num_frames == 36)
    workspace.absolute(row.shot.path).unlink()
    (workspace.footage / "deep" / "still.mp4").rename(workspace.footage / "still.mp4")
    assert "bring back 1 missing files, whose shots are missing too" in status_of(workspace)["next"]["ingest"]
    ingest_folder(workspace, workspace.footage)
    assert workspace.absolute(row.shot.path).is_file()
    assert row.shot in [other.shot for other in Catalog(workspace).shots()]


def test_a_clip_that_comes_out_otherwise_is_noted_and_keeps_its_tags(workspace: Workspace):
    """As one that another encoder has written."""
    catalog = Catalog(workspace)
    row = catalog.shots()[0]
    catalog.put_shots([replace(row, shot=row.shot.model_copy(update={"sha256": "another encoder's"}))])
    workspace.absolute(row.shot.path).unlink()
    ingest_folder(workspace, workspace.footage)
    assert Catalog(workspace).shots()[0].shot == row.shot


def test_shots_of_an_older_version_are_made_anew_and_keep_what_people_said(workspace: Workspace):
    catalog = Catalog(workspace)
    (row,) = (row for row in catalog.shots() if row.shot.num_frames == 36)
    now = row.shot.shot_id
    older = sha256_json([row.shot.footage_id, row.shot.start_pts, row.shot.end_pts, normalise.VERSION - 1])[:16]
    path = workspace.absolute(row.shot.path).rename(workspace.shots / f"{older}.mp4")
    catalog.drop_shots([now])
    catalog.put_shots([replace(row, shot=row.shot.model_copy(update={"shot_id": older, "path": workspace.relative(path)}))])
    write_correction(workspace, [older], "angle.scale", "wide", "Ana", datetime(2026, 12, 1, tzinfo=UTC))
    found = status_of(workspace)
    assert found["next"]["ingest"] == "read 1 files normalised by an older version again"
    assert "footage/deep/still.mp4: usable (1 shots; normalised by an older version)" in to_text(found)
    assert ingest_folder(workspace, workspace.footage).num_new == 1
    shots = {row.shot.shot_id: row.shot for row in Catalog(workspace).shots()}
    assert now in shots
    assert older not in shots
    assert not path.exists()
    assert workspace.absolute(shots[now].path).is_file()
    assert said_by_people(read_corrections(workspace)) == {now: {"angle.scale": "wide"}}
    assert ingest_folder(workspace, workspace.footage).num_new == 0


def test_left_overs_of_a_kill_are_swept(workspace: Workspace):
    (workspace.shots / ".dead.123.tmp.mp4").write_bytes(b"half")
    ingest_folder(workspace, workspace.footage)
    assert not list(workspace.shots.glob(".*"))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not on this machine")
def test_real_files_are_taken_in_or_refused(tmp_path: Path):
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    (tmp_path / "in").mkdir()
    for name in ("corrupted.mp4", "phone_rotated_90.mov", "av1.mkv", "hevc_10bit.mp4"):
        shutil.copy(REAL / name, tmp_path / "in" / name)
    ledger = ingest_folder(workspace, tmp_path / "in")
    assert {Path(record.path).name: record.status for record in ledger.footage} == {
        "corrupted.mp4": "quarantined", "phone_rotated_90.mov": "usable", "av1.mkv": "usable", "hevc_10bit.mp4": "usable",
    }  # fmt: skip
    sizes = {row.shot.width * row.shot.height for row in Catalog(workspace).shots()}
    assert sizes == {320 * 568, 640 * 360, 200 * 200}


def test_a_copy_takes_over_when_its_original_is_replaced_or_gone(workspace: Workspace):
    original, twin = workspace.footage / "deep" / "still.mp4", workspace.footage / "twin.mp4"
    shutil.copy(original, twin)
    ingest_folder(workspace, workspace.footage)
    before = {row.shot.shot_id for row in Catalog(workspace).shots()}
    assert verdicts(workspace)["twin.mp4"] == "quarantined"
    cut_film(original, (26,), seed=5)
    ingest_folder(workspace, workspace.footage)
    assert verdicts(workspace)["twin.mp4"] == "usable"
    assert verdicts(workspace)["deep/still.mp4"] == "usable"
    now = {row.shot.shot_id for row in Catalog(workspace).shots()}
    assert before < now
    assert len(now - before) == 1
    assert ingest_folder(workspace, workspace.footage).num_new == 0


def test_what_a_killed_writer_left_in_the_catalog_is_cleared_away(workspace: Workspace):
    left, fresh = (workspace.catalog / "shots.lance" / "data" / name for name in (".tmpLEFT", ".tmpFRESH"))
    left.write_bytes(b"half a row")
    os.utime(left, (0, 0))
    catalog = Catalog(workspace)
    fresh.write_bytes(b"another process writes this now")
    os.utime(fresh, (time.time() + 5, time.time() + 5))
    catalog.compact()
    assert not left.exists()
    assert fresh.exists()


def films(tmp_path: Path, *names: str) -> Workspace:
    workspace = Workspace.at(tmp_path / "acme")
    save_brand(workspace, BRAND)
    for seed, name in enumerate(names):
        (workspace.footage / name).parent.mkdir(parents=True, exist_ok=True)
        cut_film(workspace.footage / name, (26,), seed=seed)
    return workspace


def test_names_of_any_script_and_blank_are_taken_in(tmp_path: Path):
    names = {"Screen Recording at 3.45.12\u202fPM.mov", "商品\u3000一.mp4", "café\u00a0noir.mp4", "👩‍🎤.mp4"}
    workspace = films(tmp_path, *names, "two\nlines.mp4")
    ingest_folder(workspace, workspace.footage)
    assert verdicts(workspace) == dict.fromkeys(names, "usable")


def test_a_file_replaced_while_it_is_read_is_read_again(tmp_path: Path):
    workspace = films(tmp_path, "a.mp4", "b.mp4")

    def meddling(*arguments: Any) -> Iterator[workers.Outcome]:
        for outcome in workers.run_supervised(*arguments):
            if outcome.key.endswith("a.mp4"):
                cut_film(workspace.footage / "a.mp4", (30,), seed=7)  # after it was hashed, before its verdict is noted
            yield outcome

    ingest_folder(workspace, workspace.footage, run=meddling)
    assert ingest_folder(workspace, workspace.footage).num_new == 1
    noted = {record.path.removeprefix("footage/"): record.sha256 for record in Catalog(workspace).footage()}
    assert noted == {name: sha256_file(workspace.footage / name) for name in ("a.mp4", "b.mp4")}
    assert ingest_folder(workspace, workspace.footage).num_new == 0


def test_a_file_that_goes_meanwhile_stops_nothing(tmp_path: Path):
    workspace = films(tmp_path, "a.mp4", "b.mp4")

    def meddling(*arguments: Any) -> Iterator[workers.Outcome]:
        (workspace.footage / "a.mp4").unlink()
        yield from workers.run_supervised(*arguments)

    ledger = ingest_folder(workspace, workspace.footage, run=meddling)
    reasons = {Path(record.path).name: record.reason for record in ledger.footage}
    assert reasons == {"a.mp4": "a.mp4: it was there when reading began, and is gone", "b.mp4": ""}
    cut_film(workspace.footage / "a.mp4", (26,), seed=0)
    assert ingest_folder(workspace, workspace.footage).num_new == 1
    assert verdicts(workspace) == {"a.mp4": "usable", "b.mp4": "usable"}


def test_what_the_machine_spoiled_is_read_again_when_asked(tmp_path: Path):
    workspace = films(tmp_path, "a.mp4", "b.mp4")
    (workspace.footage / "b.mp4").write_bytes(b"no video")

    def full(job: Any, tasks: Sequence[workers.Task], *rest: Any) -> Iterator[workers.Outcome]:
        for task in tasks:
            yield workers.Outcome(task.key, failure="it could not be read through: no space left on device")

    ingest_folder(workspace, workspace.footage, run=full)
    assert verdicts(workspace) == {"a.mp4": "quarantined", "b.mp4": "quarantined"}
    assert ingest_folder(workspace, workspace.footage).num_new == 0
    assert ingest_folder(workspace, workspace.footage, retry=True).num_new == 2
    assert verdicts(workspace) == {"a.mp4": "usable", "b.mp4": "quarantined"}
    assert ingest_folder(workspace, workspace.footage, retry=True).num_new == 1, "what is usable is left alone"


def test_a_mistake_in_rights_is_told_before_anything_is_read(tmp_path: Path):
    workspace = films(tmp_path, "a.mp4", "deep/b.mp4")
    (workspace.footage / "deep" / "rights.toml").write_text("ai_trainning = true\n")
    with pytest.raises(RightsError, match="ai_trainning"):
        ingest_folder(workspace, workspace.footage)
    assert Catalog(workspace).footage() == []


def test_two_at_once_are_refused(tmp_path: Path):
    workspace = films(tmp_path, "a.mp4", "b.mp4")

    def meddling(*arguments: Any) -> Iterator[workers.Outcome]:
        other = subprocess.run(
            [sys.executable, "-m", "data_tools", "ingest", workspace.root, workspace.footage], capture_output=True, text=True
        )
        assert other.returncode == 1
        assert "another ingest is at work" in other.stderr
        yield from workers.run_supervised(*arguments)

    ingest_folder(workspace, workspace.footage, run=meddling)
    assert verdicts(workspace) == {"a.mp4": "usable", "b.mp4": "usable"}
    assert ingest_folder(workspace, workspace.footage).num_new == 0


@pytest.mark.parametrize("first", ["a/x.mp4", "b/x.mp4"])
def test_of_equal_files_the_first_by_path_counts_and_every_word_on_rights(tmp_path: Path, first: str):
    workspace = films(tmp_path, "a/x.mp4", "c.mp4")
    (workspace.footage / "b").mkdir()
    shutil.copy2(workspace.footage / "a/x.mp4", workspace.footage / "b/x.mp4")
    (workspace.footage / "b/rights.toml").write_text('owner = "Somebody"\nai_training = false\n')

    def ordered(job: Any, tasks: Sequence[workers.Task], *rest: Any) -> Iterator[workers.Outcome]:
        for task in sorted(tasks, key=lambda one: not one.key.endswith(first)):
            yield from workers.run_supervised(job, [task], 1)

    ingest_folder(workspace, workspace.footage, run=ordered)
    assert verdicts(workspace) == {"a/x.mp4": "usable", "b/x.mp4": "quarantined", "c.mp4": "usable"}
    records = Catalog(workspace).footage()
    assert [record.reason for record in records if record.reason] == ["the same file as footage/a/x.mp4"]
    assert all(record.codec == "h264" for record in records if record.status == "usable")
    assert ingest_folder(workspace, workspace.footage).num_new == 0
    shots = [row.shot for row in Catalog(workspace).shots()]
    reasons = leave_out(shots, records, ClipFormat(num_frames=9, fps=12.0, height=128, width=192), date(2026, 11, 30))
    (left_out,) = [shot for shot in shots if shot.shot_id in reasons]
    assert left_out.footage_id == next(record.footage_id for record in records if record.path == "footage/a/x.mp4")
    assert reasons[left_out.shot_id].startswith("rights: ")
    assert reasons[left_out.shot_id].endswith("(stated for footage/b/x.mp4)")
