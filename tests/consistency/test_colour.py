"""Palette distance: the published CIEDE2000 pairs, averaging in linear light, known shares, and measured palettes."""

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from lora_studio.consistency.colour import LINEAR, measure_palette, palette_distance, palette_lab, small_lab, spread

# Sharma, Wu and Dalal (2005), table 1: pairs of CIELAB colours and their distance
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, 3.1571, -77.2803), (50.0, 0.0, -82.7485), 2.8615),
    ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "distance"), SHARMA)
def test_the_distance_is_the_published_one(first: tuple, second: tuple, distance: float) -> None:
    assert float(deltaE_ciede2000(np.array(first), np.array(second))) == pytest.approx(distance, abs=1e-4)


def test_hex_colours_become_cielab() -> None:
    lab = palette_lab(("#FFFFFF", "#000000", "#D7263D"))
    assert lab[0] == pytest.approx([100, 0, 0], abs=0.02)
    assert lab[1] == pytest.approx([0, 0, 0], abs=1e-4)
    assert lab[2] == pytest.approx(rgb2lab(np.array([0xD7, 0x26, 0x3D]) / 255), abs=0.02)


def test_shrinking_averages_light_and_not_code_values() -> None:
    checker = np.indices((120, 192)).sum(axis=0) % 2 * 255
    frames = np.repeat(checker.astype(np.uint8)[None, ..., None], 3, axis=-1)
    lab = small_lab(frames)
    assert lab.shape == (1, 60, 96, 3)
    assert lab[..., 0] == pytest.approx(76.07, abs=0.02)  # L* of half the light; averaged code values would give 53.4
    assert LINEAR[128] == pytest.approx(0.21586, abs=1e-5)


def test_a_frame_of_brand_colours_has_distance_zero() -> None:
    frames = np.zeros((12, 40, 64, 3), dtype=np.uint8)
    frames[:, :, :32] = (0xD7, 0x26, 0x3D)
    frames[:, :, 32:] = (0xF4, 0xF1, 0xE8)
    median, share = palette_distance(frames, palette_lab(("#D7263D", "#F4F1E8")))
    assert median == pytest.approx(0, abs=0.01)
    assert share == 1.0


def test_the_share_counts_the_area_near_the_palette() -> None:
    frames = np.full((4, 40, 64, 3), (0, 160, 60), dtype=np.uint8)  # a green far from red
    frames[:, :10] = (0xD7, 0x26, 0x3D)
    median, share = palette_distance(frames, palette_lab(("#D7263D",)))
    assert share == pytest.approx(0.25)
    assert median == pytest.approx(float(deltaE_ciede2000(palette_lab(("#00A03C",)), palette_lab(("#D7263D",)))[0]), abs=0.01)
    assert median > 60


def test_random_colours_are_near_a_palette_by_chance_only() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 60, 96, 3), dtype=np.uint8)
    _, share = palette_distance(frames, palette_lab(("#D7263D", "#F4F1E8", "#1B4D8C", "#2E8B57", "#F2B632")))
    assert 0.02 < share < 0.12


def test_frames_are_spread_from_first_to_last() -> None:
    assert spread(33).tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32]
    assert spread(2).tolist() == [0, 1]
    assert spread(1).tolist() == [0]


def test_a_measured_palette_finds_the_colours_in_order_of_area() -> None:
    frames = np.full((3, 40, 64, 3), (244, 241, 232), dtype=np.uint8)
    frames[:, :12] = (215, 38, 61)
    frames[:, 36:] = (20, 30, 90)
    assert measure_palette(small_lab(frames).reshape(-1, 3)) == ("#F4F1E8", "#D7263D", "#141E5A")
    noisy = np.clip(frames + np.random.default_rng(0).normal(0, 3, frames.shape), 0, 255).astype(np.uint8)
    found = palette_lab(measure_palette(small_lab(noisy).reshape(-1, 3), num_colours=3))
    assert deltaE_ciede2000(found, palette_lab(("#F4F1E8", "#D7263D", "#141E5A"))).max() < 2
    again = measure_palette(small_lab(noisy).reshape(-1, 3), num_colours=3)
    assert deltaE_ciede2000(found, palette_lab(again)).max() == 0
