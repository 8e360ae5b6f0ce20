"""decord's traps, each closed by the one door to it: it decodes ahead without limit, reads past edit lists, hangs in forks, aborts
in threads. What could hang or end a process runs in one of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lora_studio import video
from lora_studio.video import pick

ROOT = Path(__file__).parents[1]
FPS = 24


def moving(num_frames: int, height: int = 96, width: int = 160) -> np.ndarray:
    """A grain that no two frames have at the same place: (F, H, W, 3) uint8."""
    grain = np.random.default_rng(0).integers(60, 200, (height // 8, width // 8, 3), dtype=np.uint8)
    big = grain.repeat(8, axis=0).repeat(8, axis=1)
    return np.stack([np.roll(big, 3 * index, axis=1) for index in range(num_frames)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decord") / "clip.mp4"
    video.write_video(path, moving(48), FPS)
    return path


def in_a_process(code: str, *words: object, seconds: float = 60) -> str:
    """What a program prints; it must end well, and in time."""
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=seconds, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


GROWTH = """
import os, sys, time
from pathlib import Path
import decord
from lora_studio import video

def resident():  # MB
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

kept, VideoReader = [], decord.VideoReader
def keep(*arguments, **named):  # as a traceback or a debugger would
    kept.append(VideoReader(*arguments, **named))
    return kept[-1]

decord.VideoReader = keep
start, most = resident(), 0.0
for time_s in (0.0, 3.0, 6.0):
    video.read_frames(Path(sys.argv[1]), [time_s])
for _ in range(20):
    time.sleep(0.1)
    most = max(most, resident() - start)
assert kept
print(most)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is read from /proc, which this system lacks")
def test_one_frame_of_a_long_clip_costs_one_frame(tmp_path: Path):
    path = tmp_path / "long.mp4"
    video.write_video(path, (frame for _ in range(25) for frame in moving(24, 360, 640)), FPS)  # 600 frames, 415 MB as pixels
    assert float(in_a_process(GROWTH, path)) < 100  # 10 MB; without the wrapper's seek(0) it is 400 and more in most runs


FORKED = """
import sys, warnings
from pathlib import Path
import numpy as np
from torch.utils.data import DataLoader
from lora_studio import video

path = Path(sys.argv[1])
wanted = video.read_frames(path, [index / 24 for index in range(16)])

class Frames:
    def __len__(self):
        return 16
    def __getitem__(self, index):
        return video.read_frames(path, [index / 24])[0]

read = np.concatenate(list(DataLoader(Frames(), batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=25)))
assert np.array_equal(read, wanted)
print("same")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks on Windows")
def test_a_fork_reads_after_its_parent_has_read(clip: Path):
    assert in_a_process(FORKED, clip) == "same\n"


THREADED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from lora_studio import video

path = Path(sys.argv[1])
wanted = video.read_frames(path, [index / 24 for index in range(48)])

def read(index):
    places = [index % 48, 7 * index % 48, 47 - index % 48]
    return np.array_equal(video.read_frames(path, [place / 24 for place in places]), wanted[places])

with ThreadPoolExecutor(6) as threads:
    assert all(threads.map(read, range(60)))
print("same")
"""


def test_threads_read_one_clip_at_once(clip: Path):
    assert in_a_process(THREADED, clip) == "same\n"


@pytest.mark.parametrize(("height", "width", "fps"), [(96, 160, 24), (480, 854, 25), (854, 480, 29.97), (58, 80, 60)])
def test_both_readers_show_the_same_pixels_of_every_frame(tmp_path: Path, height: int, width: int, fps: float):
    path = tmp_path / "clip.mp4"
    frames = moving(30, height + 8, width + 8)[:, :height, :width]
    video.write_video(path, frames, fps)
    times = [(index + 0.5) / fps for index in range(30)]
    assert np.array_equal(pick._read_decord(path, times), pick._read_pyav(path, times))
    backwards = [times[index] for index in (29, 3, 3, 17, 0)]
    assert np.array_equal(pick._read_decord(path, backwards), pick._read_pyav(path, backwards))


def test_where_decord_fails_pyav_shows_the_same(clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    import decord

    wanted = video.read_frames(clip, [0.2, 1.9])

    def fails(*arguments: object, **named: object) -> None:
        raise decord.DECORDError("cannot find video stream")

    monkeypatch.setattr(decord, "VideoReader", fails)
    assert np.array_equal(video.read_frames(clip, [0.2, 1.9]), wanted)
    assert "decord cannot read it (cannot find video stream); PyAV does" in caplog.text


def test_pyav_keeps_only_the_frames_that_are_wanted(clip: Path, monkeypatch: pytest.MonkeyPatch):
    import weakref

    alive: list[weakref.ref] = []
    walk, most = pick.iterate_frames, 0

    def watched(path: Path):
        nonlocal most
        for time_s, frame in walk(path):
            own = frame.copy()
            alive.append(weakref.ref(own))
            del frame
            most = max(most, sum(one() is not None for one in alive))
            yield time_s, own
            del own

    monkeypatch.setattr(pick, "iterate_frames", watched)
    assert len(pick._read_pyav(clip, [0.1, 1.9])) == 2
    assert most <= 4  # the wanted one, the one before, the one that is shown
