"""What a camera recorded in log or HDR comes out as it would in BT.709."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "data_tools"))
from hostile import FLOOR, SKY, encoded

from lora_studio.video.colour import LOG_SPACES, WIDE_SPACES, cube_file, describe, rolled_off, to_bt709

SPACES = [*LOG_SPACES, *WIDE_SPACES]
COLOURS = np.array([SKY, FLOOR, (25, 25, 25), (104, 104, 104), (190, 60, 50)]) / 255


@pytest.mark.parametrize("space", SPACES)
def test_colours_come_back(space: str):
    assert np.abs(to_bt709(space, encoded(space, COLOURS)) - COLOURS).max() < 0.01


@pytest.mark.parametrize(
    ("space", "code"), [("slog3", 420 / 1023), ("logc3", 0.391), ("vlog", 433 / 1023), ("clog3", 0.3434), ("logc4", 0.2784)]
)
def test_the_makers_mid_grey_is_mid_grey(space: str, code: float):
    """Code values of an 18 % grey card as the makers publish them; BT.709 shows it at 0.409."""
    assert to_bt709(space, np.full((1, 3), code)) == pytest.approx(0.409, abs=0.008)


@pytest.mark.parametrize("space", SPACES)
def test_every_code_has_a_colour(space: str):
    found = to_bt709(space, np.random.default_rng(0).choice([0, 0.01, 0.1, 0.5, 0.9, 1], (500, 3)))
    assert np.isfinite(found).all()
    assert (found.min() >= 0, found.max() <= 1.0001) == (True, True)


def test_reference_white_is_bright_and_more_light_never_darker():
    for space, white in (("hlg", 0.75), ("pq", 0.5807), ("slog3", 0.6)):
        assert to_bt709(space, np.full((1, 3), white)) == pytest.approx(0.945, abs=0.02)
    light = np.linspace(0, 20, 2000)
    assert np.all(np.diff(rolled_off(light)) >= 0)
    assert rolled_off(light).max() <= 1
    assert np.array_equal(rolled_off(light[light <= 0.7]), light[light <= 0.7])


def test_a_table_is_written_once_and_whole(tmp_path: Path):
    path = cube_file("slog3", tmp_path)
    lines = path.read_text().splitlines()
    assert (lines[0], len(lines)) == ("LUT_3D_SIZE 33", 1 + 33**3)
    written = path.stat().st_mtime_ns
    assert cube_file("slog3", tmp_path).stat().st_mtime_ns == written
    assert "S-Log3 / S-Gamut3 to BT.709" in describe("slog3")
    middle = [float(value) for value in lines[1 + 16 * (1 + 33 + 33**2)].split()]
    assert np.allclose(middle, to_bt709("slog3", np.full((1, 3), 0.5))[0])


def test_the_library_is_loaded_for_such_footage_only():
    code = "import sys, lora_studio.video, data_tools.intake; sys.exit('colour' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_mock_is_left_for_other_libraries_to_stumble_over():
    to_bt709("slog3", np.full((1, 3), 0.5))
    assert not [name for name, module in sys.modules.items() if isinstance(module, MagicMock)]
