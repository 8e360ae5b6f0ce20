"""Cuts are found where they were made, and nowhere else; bars are told from margins."""

from fractions import Fraction

import numpy as np
import pytest
from drawing import FPS, move, texture, tinted

from data_tools.shots import find_bars, find_shots

BASE = Fraction(1, 12288)


def spans_in_frames(frames: np.ndarray) -> list[tuple[int, int]]:
    walk = find_shots(((index / FPS, frame) for index, frame in enumerate(frames)), BASE, Fraction(FPS))
    return [(round(span.start_pts * BASE * FPS), round(span.end_pts * BASE * FPS)) for span in walk.spans]


def test_cuts_are_found_to_the_frame():
    colours = [(1, 0.4, 0.3), (0.3, 0.6, 1), (0.5, 1, 0.4)]
    film = np.concatenate([tinted(move(texture(i), n, right=3), colours[i]) for i, n in enumerate((30, 25, 41))])
    assert spans_in_frames(film) == [(0, 30), (30, 55), (55, 96)]


def test_a_cut_in_black_and_white_is_found():
    film = np.concatenate([move(0.6 * texture(seed) + 0.2, 40, right=2) for seed in (12, 13)])  # as light as each other
    assert spans_in_frames(film) == [(0, 40), (40, 80)]


def test_one_shot_stays_one_shot_however_fast_the_camera():
    assert spans_in_frames(move(texture(1), 40, right=60, zoom=30)) == [(0, 40)]


def test_grey_that_shimmers_is_no_cut():
    film = np.full((40, 96, 160, 3), (128, 128, 131), np.uint8)
    film[20:] = (131, 128, 128)  # what compression leaves of a grey backdrop: a hue that jumps
    assert spans_in_frames(film) == [(0, 40)]


def test_a_fade_through_black_parts_shots_and_belongs_to_neither():
    fade = np.concatenate([np.ones(20), np.linspace(1, 0, 10), np.zeros(6), np.linspace(0, 1, 10), np.ones(20)])
    film = (move(texture(2), len(fade)) * fade[:, None, None, None]).astype(np.uint8)
    (first, second) = spans_in_frames(film)
    assert first[0] == 0
    assert second[1] == len(fade)
    assert 26 <= first[1] <= 30
    assert 36 <= second[0] <= 40


@pytest.mark.parametrize("length", [8, 16, 24])
def test_a_dissolve_parts_shots_and_belongs_to_neither(length: int):
    weights = np.concatenate([np.zeros(30), np.linspace(0, 1, length + 2)[1:-1], np.ones(30)])[:, None, None, None]
    one, other = (move(np.kron(texture(seed, 100), np.ones((8, 8))), len(weights), right=2) for seed in (7, 8))
    (first, second) = spans_in_frames(((1 - weights) * one + weights * other).round().astype(np.uint8))
    assert first[0] == 0
    assert second[1] == len(weights)
    assert 28 <= first[1] <= 34
    assert 26 + length <= second[0] <= 32 + length


def test_what_only_looks_like_a_dissolve_is_none():
    lit = np.linspace(0.2, 1, 40)[:, None, None, None]
    assert spans_in_frames((move(texture(9), 40) * lit).astype(np.uint8)) == [(0, 40)], "light that comes up"
    film = move(texture(10), 60)
    for index, frame in enumerate(film):
        frame[20:70, 2 * index : 2 * index + 40] = 250  # something passes
    assert spans_in_frames(film) == [(0, 60)]
    for fast in ({"right": 40}, {"zoom": 60}, {"down": -25}, {"turn": 40}):
        assert spans_in_frames(move(texture(11), 60, **fast)) == [(0, 60)], fast


def test_short_and_black_files_give_one_shot():
    assert spans_in_frames(move(texture(3), 3)) == [(0, 3)]
    assert spans_in_frames(np.zeros((30, 48, 64, 3), np.uint8)) == [(0, 30)]


def test_letterbox_and_pillarbox_are_found():
    picture = (texture(4)[:120, :200] * 255).astype(np.uint8)
    boxed = np.zeros((160, 200), np.uint8)
    boxed[20:140] = picture
    assert find_bars(boxed) == (22, 22, 0, 0)
    assert find_bars(boxed.T) == (0, 0, 22, 22)


def test_a_product_on_black_has_no_bars():
    product = np.zeros((120, 200), np.uint8)
    product[30:90, 80:120] = 200
    assert find_bars(product) == (0, 0, 0, 0)
    assert find_bars(np.zeros((120, 200), np.uint8)) == (0, 0, 0, 0)


def test_a_dark_edge_on_one_side_is_no_bar():
    picture = (texture(4)[:120, :200] * 255).astype(np.uint8)
    picture[:20] = 0
    assert find_bars(picture) == (0, 0, 0, 0)
