"""Frames in, MP4 out: colours survive, both readers agree, and what a file is comes out of it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from lora_studio import video
from lora_studio.errors import MediaError
from lora_studio.video import pick

COLOURS = np.array(
    [[215, 38, 61], [244, 241, 232], [27, 153, 139], [20, 20, 20], [0, 120, 200], [255, 200, 0], [128, 128, 128], [255, 255, 255]],
    dtype=np.uint8,
)
REAL = Path(__file__).parents[2] / "shared" / "footage"


def cards(num_frames: int = 12) -> np.ndarray:
    """Eight plain colours side by side, and a grey square that moves two pixels per frame."""
    frames = np.repeat(COLOURS, 24, axis=0)[None, None].repeat(96, axis=1).repeat(num_frames, axis=0)
    for index, frame in enumerate(frames):
        frame[40:56, 2 * index : 2 * index + 16] = 90
    return frames


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    video.write_video(path, cards(), 24)
    return path


def test_colours_survive_in_both_readers(clip: Path):
    for read in (pick._read_decord, pick._read_pyav):
        frame = read(clip, [0.25])[0]
        shown = frame[8, 12::24]
        delta = deltaE_ciede2000(rgb2lab(shown / 255), rgb2lab(COLOURS / 255))
        assert delta.max() < 2.0, read.__name__


def test_the_file_says_bt709_and_holds_no_metadata(clip: Path):
    import av

    with av.open(str(clip)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert not container.streams.audio
        assert "encoder" not in container.metadata


def test_readers_agree_pixel_by_pixel(clip: Path):
    times = [0.0, 0.4, 0.1, 0.4, 11 / 24]
    assert np.array_equal(pick._read_decord(clip, times), pick._read_pyav(clip, times))


def test_a_time_gives_the_frame_shown_then(clip: Path):
    frames = video.read_frames(clip, [0.0, 1 / 24 - 0.002, 1 / 24 + 0.002, 5.5 / 24])
    left = [int(np.argmax(np.abs(frame[48].astype(int) - 90).sum(axis=1) < 12)) for frame in frames]
    assert left == [0, 0, 2, 10]


@pytest.mark.parametrize("fps", [12, 24, Fraction(30000, 1001), 29.97, 23.976, 59.94, 12.5])
def test_rates_are_exact(tmp_path: Path, fps: Fraction | float):
    path = tmp_path / "rate.mp4"
    video.write_video(path, cards(6), fps)
    info = video.probe(path)
    assert (info.fps, info.num_frames, info.start_s) == (video.exact_rate(fps), 6, 0.0)
    assert info.duration_s == pytest.approx(6 / float(info.fps), abs=1e-3)
    assert abs(float(info.fps) - float(fps)) < 1e-3


def test_probe_describes_a_clip(clip: Path):
    info = video.probe(clip)
    assert (info.codec, info.pixel_format, info.bit_depth, info.width, info.height) == ("h264", "yuv420p", 8, 192, 96)
    assert (info.rotation, info.is_interlaced, info.hdr, info.warnings) == (0, False, "", ())


def test_pyav_reads_alone_when_decord_is_missing(clip: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    wanted = video.read_frames(clip, [0.2])
    monkeypatch.setitem(sys.modules, "decord", None)
    assert np.array_equal(video.read_frames(clip, [0.2]), wanted)


def test_iterate_walks_a_span_scaled(clip: Path):
    walked = list(video.iterate_frames(clip, 3 / 24, 7 / 24, short_side=48))
    assert [round(time_s * 24) for time_s, _ in walked] == [3, 4, 5, 6]
    assert walked[0][1].shape == (48, 96, 3)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", bytes(range(256)) * 40, "not a video"),
        ("list.mp4", b"#EXTM3U\na.mp4\n", "not a video"),
    ],
)
def test_files_that_are_no_video_say_so(tmp_path: Path, name: str, content: bytes, words: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=words):
        video.probe(tmp_path / name)


def test_a_missing_file_and_a_late_time_are_errors(clip: Path, tmp_path: Path):
    with pytest.raises(MediaError, match="no such file"):
        video.read_frames(tmp_path / "none.mp4", [0.0])
    for read in (pick._read_decord, pick._read_pyav):
        with pytest.raises(MediaError, match=r"ends at 0\.5"):
            read(clip, [2.0])
    with pytest.raises(MediaError, match="count from the first frame"):
        video.read_frames(clip, [-0.1])


def test_write_refuses_odd_sizes_changes_and_nothing(tmp_path: Path):
    path = tmp_path / "bad.mp4"
    with pytest.raises(MediaError, match="even, got 191x96"):
        video.write_video(path, cards()[:, :, :191], 24)
    with pytest.raises(MediaError, match="every frame must be"):
        video.write_video(path, iter([cards()[0], cards()[0, :48]]), 24)
    with pytest.raises(MediaError, match="no frames to write"):
        video.write_video(path, [], 24)
    assert list(tmp_path.iterdir()) == []


def test_rotation_is_undone(tmp_path: Path):
    import av

    path = tmp_path / "turned.mov"
    frames = cards(3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        stream.set_display_rotation(-90)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    info = video.probe(path)
    assert (info.width, info.height, info.rotation) == (96, 192, 90)
    _, shown = next(video.iterate_frames(path))
    assert shown.shape == (192, 96, 3)
    assert np.abs(shown.astype(int) - np.rot90(frames[0], -1)).mean() < 12  # untagged BT.601, so only nearly the same


def test_interlaced_frames_are_woven_apart(tmp_path: Path):
    import av

    path = tmp_path / "interlaced.mxf"
    marking = av.filter.Graph()
    source = marking.add_buffer(width=192, height=96, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 25))
    marking.link_nodes(source, marking.add("setfield", "mode=tff"), marking.add("buffersink")).configure()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"flags": "+ilme+ildct", "b": "8000000"})
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        for index in range(10):
            woven = np.full((96, 192, 3), 30, np.uint8)
            woven[0::2, 16 * index : 16 * index + 16] = 220  # the upper field is half a frame earlier
            woven[1::2, 16 * index + 8 : 16 * index + 24] = 220
            frame = av.VideoFrame.from_ndarray(woven, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            marking.push(frame)
            container.mux(stream.encode(marking.pull()))
        container.mux(stream.encode(None))
    info = video.probe(path)
    assert info.is_interlaced
    assert "interlaced" in info.warnings
    walked = list(video.iterate_frames(path))
    assert [round(time_s * 25) for time_s, _ in walked] == list(range(10))
    frames = np.stack([frame for _, frame in walked]).astype(int)
    combs = np.abs(frames[:, 2::2] - frames[:, 1:-1:2]).mean()
    assert combs < 4  # woven, neighbouring lines differ by far more


def test_a_file_decord_refuses_falls_to_pyav(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(MediaError, match="not a video"):
        video.read_frames(tmp_path / "noise.mp4", [0.0])
    assert "decord cannot read it" in caplog.text


def test_resize_crop_keeps_the_middle_and_the_ratio():
    frames = np.zeros((2, 90, 160, 3), np.uint8)
    frames[:, :, 80:] = 200
    resized = video.resize_crop(frames, 48, 48)
    assert resized.shape == (2, 48, 48, 3)
    assert resized[0, 24, 20].max() == 0
    assert resized[0, 24, 28].min() == 200
    assert video.resize_crop(frames, 128, 192).shape == (2, 128, 192, 3)


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (48, 72)])
def test_resize_pad_keeps_the_whole_picture_in_the_middle(height: int, width: int):
    frames = np.full((2, height, width, 3), 100, np.uint8)
    frames[:, height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10] = 200
    frames[1] //= 2  # a darker second frame does not change the ground
    padded = video.resize_pad(frames, 48, 72)
    assert padded.shape == (2, 48, 72, 3)
    assert padded[0, 24, 36].min() == 200
    assert padded[1, 24, 36].max() == 100
    assert padded[0, 0, 0].tolist() == [100, 100, 100]
    scale = min(48 / height, 72 / width)
    held = (padded[0, 24, :, 0] > 150).sum(), (padded[0, :, 36, 0] > 150).sum()
    assert held == pytest.approx((20 * scale, 20 * scale), abs=1.01)


def test_sample_times_go_by_time():
    assert video.sample_times(0.5, 3, 12.0) == pytest.approx([0.5, 0.5 + 1 / 12, 0.5 + 2 / 12])


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not on this machine")
def test_real_clips_are_probed_upright_or_refused():
    for name, rotation in (("phone_rotated_270.mov", 270), ("phone_rotated_90.mov", 90)):
        info = video.probe(REAL / name)
        assert (info.width, info.height, info.rotation) == (320, 568, rotation)
    with pytest.raises(MediaError, match=r"damaged, decoding fails after 2\.\d+ s"):
        list(video.iterate_frames(REAL / "corrupted.mp4", short_side=64))
    assert video.probe(REAL / "nasa_two_streams.mp4").warnings == ("2 video streams; the largest picture is used",)
