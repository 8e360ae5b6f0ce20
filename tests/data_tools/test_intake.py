"""One walk through a file finds its shots and writes them: the same clips as a second walk would write, and nothing left behind."""

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from drawing import FPS, move, texture, tinted
from hostile import Film, number_of

from data_tools import intake, shot_writer
from data_tools.normalise import normalise_shot
from data_tools.shot_writer import ShotWriter
from data_tools.shots import ShotFinder, Span
from lora_studio import video
from lora_studio.files import sha256_file
from lora_studio.video import pick


def taken_in(film: Path, folder: Path) -> list[dict]:
    folder.mkdir()
    arguments = {"path": str(film), "shots": str(folder), "cubes": str(folder), "colour": {}, "taken": []}
    return intake.take_in(arguments, lambda share: None)["shots"]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two shots, a fade through black, a third one, and a scrap at the end that is too short for a shot."""
    colours = [(1, 0.4, 0.3), (0.3, 0.6, 1), (0.5, 1, 0.4), (1, 1, 0.9)]
    parts = [tinted(move(texture(i), n, right=4), colours[i]) for i, n in enumerate((30, 40, 50, 8))]
    fade = np.concatenate([np.linspace(1, 0, 8), np.zeros(6), np.linspace(0, 1, 8), np.ones(28)])[:, None, None, None]
    parts[2] = (parts[2] * fade).round().astype(np.uint8)
    video.write_video(tmp_path / "film.mp4", np.concatenate(parts), FPS)
    return tmp_path / "film.mp4"


def test_shots_written_on_the_way_are_those_of_a_second_walk(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    walked: list[float | None] = []
    iterate = video.iterate_frames

    def counted(path: Path, start_s: float | None = None, *rest: object, **named: object) -> Iterator[tuple[float, np.ndarray]]:
        walked.append(start_s)
        return iterate(path, start_s, *rest, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(video, "iterate_frames", counted)
    on_the_way = taken_in(film, tmp_path / "once")
    assert walked == [None]
    assert [shot["num_frames"] for shot in on_the_way] == [30, 40, pytest.approx(34, abs=2)]
    monkeypatch.setattr(intake, "_MOST_WAITING", 0)
    again = taken_in(film, tmp_path / "twice")
    assert len(walked) == 2 + len(again)
    assert [sha256_file(Path(shot["path"])) for shot in on_the_way] == [sha256_file(Path(shot["path"])) for shot in again]
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == sorted(f"{shot['shot_id']}.mp4" for shot in on_the_way)


def test_bars_that_show_late_are_taken_off_every_shot(tmp_path: Path):
    def boxed(frames: np.ndarray) -> np.ndarray:
        return np.pad(frames, ((0, 0), (16, 16), (0, 0), (0, 0)))

    night = (move(texture(1), 60) * 0.12).astype(np.uint8)  # too dark for anybody to tell a bar from a picture
    video.write_video(tmp_path / "film.mp4", boxed(np.concatenate([night, tinted(move(texture(2), 60), (1, 0.4, 0.3))])), FPS)
    first, second = taken_in(tmp_path / "film.mp4", tmp_path / "shots")
    assert (first["height"], second["height"]) == (92, 92), "two pixels more than the bars"
    assert len(list((tmp_path / "shots").iterdir())) == 2


def test_a_damaged_file_leaves_no_clip(film: Path, tmp_path: Path):
    whole = film.read_bytes()
    film.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    (tmp_path / "shots").mkdir()
    arguments = {"path": str(film), "shots": str(tmp_path / "shots"), "cubes": str(tmp_path), "colour": {}, "taken": []}
    assert "damaged" in intake.take_in(arguments, lambda share: None)["refusal"]
    assert list((tmp_path / "shots").iterdir()) == []


def test_an_encoder_that_fails_is_told_and_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shot_writer, "normalise_shot", full)
    began = time.monotonic()
    with ShotWriter(tmp_path, "film", Fraction(FPS)) as writer:
        writer.begin(0, 0.0, (0, 0, 0, 0))
        for index in range(100):  # many more than the queue holds
            writer.show(index / FPS, np.zeros((16, 16, 3), np.uint8))
        writer.end(100, 100 / FPS)
        with pytest.raises(OSError, match="No space left"):
            writer.hand_over(Span(0, 100), (0, 0, 0, 0), tmp_path / "shot.mp4")
    assert time.monotonic() - began < 30


def test_what_nobody_took_is_deleted_and_what_was_taken_is_whole(tmp_path: Path):
    frames = [(index / FPS, frame) for index, frame in enumerate(move(texture(3), 48, right=5))]
    with ShotWriter(tmp_path, "film", Fraction(FPS)) as writer:
        for start, end in ((0, 20), (20, 40), (40, 48)):
            writer.begin(start, start / FPS, (2, 2, 0, 0))
            for time_s, frame in frames[start:end]:
                writer.show(time_s, frame)
            if end < 48:  # the last one is still open
                writer.end(end, end / FPS)
        assert not writer.hand_over(Span(0, 20), (0, 0, 0, 0), tmp_path / "other.mp4"), "written without its bars"
        assert writer.hand_over(Span(20, 40), (2, 2, 0, 0), tmp_path / "shot.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["shot.mp4"]
    normalise_shot([*frames[20:40], (40 / FPS, None)], tmp_path / "straight.mp4", 20 / FPS, Fraction(FPS), (2, 2, 0, 0))
    assert sha256_file(tmp_path / "shot.mp4") == sha256_file(tmp_path / "straight.mp4")


def test_places_are_told_in_order_and_never_later_than_promised():
    finder, told = ShotFinder(Fraction(1, FPS), Fraction(FPS)), []
    film = np.concatenate([tinted(move(texture(i), 40), colour) for i, colour in enumerate([(1, 0.4, 0.3), (0.3, 0.6, 1)])])
    for index, frame in enumerate(film):
        told += finder.show(index / FPS, frame)
        assert len(told) == max(0, index + 1 - finder.lag)
    told += finder.rest()
    assert [place.pts for place in told] == list(range(80))
    assert [place.pts for place in told if place.begins] == [0, 40]
    assert finder.walk().spans == (Span(0, 40), Span(40, 80))


@pytest.fixture
def trimmed(tmp_path: Path) -> Path:
    """A phone's clip whose edit list hides the first twelve of 48 frames, with one key frame before them."""
    Film(times=lambda index: index - 12, gop=48).write(tmp_path / "trimmed.mp4")
    assert "trimmed by an edit list" in video.probe(tmp_path / "trimmed.mp4").warnings
    return tmp_path / "trimmed.mp4"


def test_decord_never_opens_a_master_and_reads_its_shots_right(trimmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import decord

    def opened(*arguments: object, **named: object) -> None:
        raise AssertionError(f"decord was given {arguments}")

    with monkeypatch.context() as closed:
        closed.setattr(decord, "VideoReader", opened)
        (shot,) = taken_in(trimmed, tmp_path / "shots")
    path, times = Path(shot["path"]), [(index + 0.5) / shot["fps"] for index in range(shot["num_frames"])]
    assert [number_of(frame) for frame in pick._read_decord(path, times)] == list(range(12, 48))
    assert np.array_equal(pick._read_decord(path, times), pick._read_pyav(path, times))
    assert "trimmed by an edit list" not in video.probe(path).warnings


def test_a_trimmed_clip_that_somebody_reads_all_the_same_is_read_by_pyav(trimmed: Path):
    for times in ([0.01, 0.51, 1.49], [1.49, 0.01, 0.51]):
        assert [number_of(frame) for frame in video.read_frames(trimmed, times)] == [12 + int(time_s * FPS) for time_s in times]


def test_a_beat_is_given_while_a_file_is_hashed(tmp_path: Path):
    (tmp_path / "large.mp4").write_bytes(bytes(9 << 20))
    beats: list[float] = []
    arguments = {"path": str(tmp_path / "large.mp4"), "shots": str(tmp_path), "cubes": str(tmp_path), "colour": {}, "taken": []}
    assert "refusal" in intake.take_in(arguments, beats.append)
    assert beats == [0.0, 0.0, 0.0]
