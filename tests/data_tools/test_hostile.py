"""A hard disk of hostile files: every one ends usable, with the right frames at the right times, or set aside with a reason."""

import re
from pathlib import Path

import numpy as np
import pytest
from drawing import BRAND
from hostile import colour_error, cut_to, number_of, patched
from hostile_corpus import BURSTS_S, CORPUS, LONG, VFR_S

from data_tools.catalog import Catalog
from data_tools.ingest import ingest_folder
from lora_studio import video
from lora_studio.brand import save_brand
from lora_studio.records import Footage, Shot
from lora_studio.workspace import Workspace

_CLOCK_S = 0.002  # how far a container's own clock may be off


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    for name, case in CORPUS.items():
        case.make(folder / name)
    return folder


@pytest.fixture(scope="module")
def taken_in(disk: Path) -> Workspace:
    workspace = Workspace.at(disk.parent / f"{disk.name}_acme")
    save_brand(workspace, BRAND)
    ingest_folder(workspace, disk)
    return workspace


@pytest.fixture(scope="module")
def records(taken_in: Workspace) -> dict[str, Footage]:
    return {Path(record.path).name: record for record in Catalog(taken_in).footage()}


@pytest.fixture(scope="module")
def shots(taken_in: Workspace) -> dict[str, list[Shot]]:
    found: dict[str, list[Shot]] = {}
    for row in Catalog(taken_in).shots():
        found.setdefault(row.shot.footage_id, []).append(row.shot)
    return found


def test_every_file_has_one_verdict(records: dict[str, Footage]):
    assert len(CORPUS) >= 60
    assert set(records) == set(CORPUS)


@pytest.mark.parametrize("name", CORPUS)
def test_verdict_and_reason(records: dict[str, Footage], name: str):
    record, case = records[name], CORPUS[name]
    told = record.reason or "; ".join(record.warnings)
    assert (record.status, bool(re.search(case.words, told))) == (case.verdict, True), told
    if case.verdict == "quarantined":
        assert record.reason.startswith(f"{name}: "), "the reason names the file"
    elif not case.words:
        assert not told, "a warning that the case does not speak of"


@pytest.mark.parametrize("name", [name for name, case in CORPUS.items() if case.verdict == "usable"])
def test_the_right_frames_at_the_right_times(
    taken_in: Workspace, records: dict[str, Footage], shots: dict[str, list[Shot]], name: str
):
    case, found = CORPUS[name], shots[records[name].footage_id]
    wrong, worst = [], 0.0
    for shot in found:
        assert case.size is None or (shot.width, shot.height) == case.size
        for index, (_, frame) in enumerate(video.iterate_frames(taken_in.absolute(shot.path))):
            time_s = shot.start_s + (index + 0.5) / shot.fps
            if case.shown is not None and number_of(frame) not in {case.shown(time_s + d) for d in (-_CLOCK_S, 0, _CLOCK_S)}:
                wrong.append((time_s, number_of(frame)))
            worst = max(worst, colour_error(frame))
        assert index + 1 == shot.num_frames
    assert not wrong
    assert worst <= case.near
    assert case.seconds is None or sum(shot.end_s - shot.start_s for shot in found) == pytest.approx(case.seconds, abs=0.02)
    assert np.all([shot.start_pts < shot.end_pts for shot in found])


@pytest.mark.parametrize(("name", "times"), [("bursts.mov", BURSTS_S), ("vfr.mp4", VFR_S)])
def test_where_the_rate_varies_no_frame_is_lost_or_off_by_more_than_half_a_frame(
    taken_in: Workspace, records: dict[str, Footage], shots: dict[str, list[Shot]], name: str, times: np.ndarray
):
    first: dict[int, float] = {}  # number -> seconds at which it is shown first
    for shot in shots[records[name].footage_id]:
        for index, (_, frame) in enumerate(video.iterate_frames(taken_in.absolute(shot.path))):
            first.setdefault(number_of(frame), shot.start_s + index / shot.fps)
        assert shot.fps == 30
    assert sorted(first) == list(range(len(times)))
    assert max(abs(first[number] - time_s) for number, time_s in enumerate(times)) <= 0.5 / 30 + _CLOCK_S


def test_a_second_run_costs_nothing(taken_in: Workspace, disk: Path):
    before = Catalog(taken_in).footage()
    assert ingest_folder(taken_in, disk).num_new == 0
    assert Catalog(taken_in).footage() == before


@pytest.mark.parametrize("share", [0.5, 0.62, 0.8, 0.99])
def test_a_copy_that_broke_off_anywhere_is_read_up_to_its_last_whole_picture(tmp_path: Path, share: float):
    path = tmp_path / "cut.mp4"
    patched(LONG, cut_to(share))(path)
    info = video.probe(path)
    assert info.warnings == (f"truncated: the header promises 120 frames, {info.num_frames} are there",)
    assert len(list(video.iterate_frames(path))) == info.num_frames > 100 * (share - 0.3)
