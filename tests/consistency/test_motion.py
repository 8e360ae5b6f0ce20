"""Flicker and motion on drawn clips: what is steady reads zero, and known jumps and pans read as what they are."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lora_studio.consistency.motion import flicker, lightness, motion_amount

HEIGHT, WIDTH, NUM_FRAMES = 90, 144, 17


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(0).random((HEIGHT, 3 * WIDTH)), 2)
    noise = 40 + 170 * (noise - noise.min()) / (noise.max() - noise.min())
    return np.repeat(noise[..., None], 3, axis=-1)


def clip(texture: np.ndarray, pan: int = 0, gains: np.ndarray | None = None) -> np.ndarray:
    frames = np.stack([texture[:, pan * t : pan * t + WIDTH] for t in range(NUM_FRAMES)])
    gains = np.ones(NUM_FRAMES) if gains is None else gains
    return np.clip(frames * gains[:, None, None, None], 0, 255).round().astype(np.uint8)


def alternating(share: float) -> np.ndarray:
    return 1 + share * (-1.0) ** np.arange(NUM_FRAMES)


def test_lightness_is_cie() -> None:
    greys = np.array([0, 2, 119, 255], dtype=np.uint8)
    frames = np.repeat(greys[None, None, :, None], 3, axis=-1)
    assert lightness(frames)[0, 0] == pytest.approx([0, 0.548, 50.03, 100], abs=0.02)


def test_a_still_does_not_flicker(texture: np.ndarray) -> None:
    assert flicker(clip(texture)) == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_alternating_exposure_reads_twice_its_amplitude(texture: np.ndarray, share: float) -> None:
    frames = clip(texture, gains=alternating(share))
    amplitude = abs(float(lightness(frames[:1]).mean() - lightness(frames[1:2]).mean())) / 2
    whole, local = flicker(frames)
    assert whole == pytest.approx(2 * amplitude, rel=1e-3)
    assert local == pytest.approx(whole, rel=0.05)
    assert whole == pytest.approx(100 * share, rel=0.25)  # at middle grey, a percent of code value is about half an L*


def test_a_clean_pan_is_not_flicker(texture: np.ndarray) -> None:
    """A seventh of a cell per frame, as 4 pixels are at 768x480."""
    whole, local = flicker(clip(texture, pan=1))
    flickering, _ = flicker(clip(texture, pan=1, gains=alternating(0.05)))
    assert whole < 0.05
    assert local < 0.4
    assert flickering > 50 * whole


def test_an_even_fade_is_not_flicker(texture: np.ndarray) -> None:
    whole, _ = flicker(clip(texture, gains=np.linspace(1.0, 0.8, NUM_FRAMES)))
    assert whole < 0.06


def test_local_flicker_is_seen_only_by_the_grid(texture: np.ndarray) -> None:
    frames = clip(texture).astype(np.float64)
    half = alternating(0.05)[:, None, None, None]
    frames[:, :, : WIDTH // 2] *= half
    frames[:, :, WIDTH // 2 :] *= 2 - half
    whole, local = flicker(np.clip(frames, 0, 255).round().astype(np.uint8))
    assert local > 10 * whole
    assert local > 3


@pytest.mark.parametrize("pan", [0, 1, 2, 4])
def test_a_pan_moves_as_fast_as_it_was_drawn(texture: np.ndarray, pan: int) -> None:
    assert motion_amount(clip(texture, pan=pan), fps=12) == pytest.approx(100 * pan / WIDTH * 12, rel=0.03, abs=1e-6)


def test_motion_does_not_depend_on_the_size_of_the_frame(texture: np.ndarray) -> None:
    small = clip(texture, pan=2)[:5]
    large = small.repeat(3, axis=1).repeat(3, axis=2)
    assert large.shape[2] > 256
    assert motion_amount(large, fps=12) == pytest.approx(motion_amount(small, fps=12), rel=0.06)


def test_too_few_frames_are_our_own_mistake(texture: np.ndarray) -> None:
    with pytest.raises(AssertionError, match="three frames"):
        flicker(clip(texture)[:2])
    with pytest.raises(AssertionError, match="two frames"):
        motion_amount(clip(texture)[:1], fps=12)
