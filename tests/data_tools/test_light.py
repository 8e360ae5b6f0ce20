"""Light is measured as it was drawn: brightness, contrast, and the colour of what lights the scene."""

import numpy as np
import pytest
from drawing import move, texture

from data_tools.light import cct_kelvin, key_scores, measure_light, temperature_scores


def lit(white: tuple[float, float, float], level: float = 0.5) -> np.ndarray:
    """A scene of grey and coloured patches under a light whose colour is `white` (linear), as one sRGB frame."""
    grey = move(texture(1), 1)[0] / 255
    reflectance = np.where(np.indices((96, 160))[1][..., None] < 110, grey, grey * np.array([0.8, 0.3, 0.2]))
    linear = np.clip(reflectance * np.array(white) * level, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().astype(np.uint8)[None]


def best(scores: dict[str, float]) -> str:
    return max(scores, key=lambda value: scores[value])


@pytest.mark.parametrize(
    ("white", "word"), [((1.0, 0.74, 0.42), "warm"), ((1.0, 1.0, 1.0), "neutral"), ((0.72, 0.9, 1.25), "cool")]
)
def test_temperature_is_the_lights_not_the_subjects(white: tuple[float, float, float], word: str):
    assert best(measure_light(lit(white, 0.7)).scores["light.temperature"]) == word


def test_temperature_has_a_scale():
    from data_tools.light import _SRGB_TO_XYZ

    assert cct_kelvin(_SRGB_TO_XYZ.sum(axis=1)) == pytest.approx(6504, abs=15)  # D65
    illuminant_a = np.array([1.09850, 1.0, 0.35585])
    assert cct_kelvin(illuminant_a) == pytest.approx(2856, abs=5)


@pytest.mark.parametrize(("level", "word"), [(0.03, "low"), (0.4, "mid"), (3.0, "high")])
def test_key_follows_brightness(level: float, word: str):
    assert best(measure_light(lit((1, 1, 1), level)).scores["light.key"]) == word


def test_a_dark_field_is_low_key_even_with_a_bright_subject():
    assert best(key_scores(8, 12, 85, dark_share=0.7)) == "low"


def test_contrast_is_a_number_and_no_tag():
    ramp = np.linspace(0, 255, 160).astype(np.uint8)[None, None, :, None].repeat(96, axis=1).repeat(3, axis=3)
    found = measure_light(ramp)
    assert found.measures["contrast_stops"] == pytest.approx(np.log2(0.9**2.2 / 0.05**2.2), rel=0.3)
    assert "light.contrast" not in found.scores


def test_temperature_is_told_only_where_both_ways_agree():
    assert best(temperature_scores([4000, 4200])) == "warm"
    assert temperature_scores([4000, 6500]) == {}
    assert temperature_scores([6500, float("nan")]) == {}


def test_clipped_pixels_say_nothing_of_the_lights_colour():
    warm = lit((1.0, 0.74, 0.42), 0.7)
    warm[:, :20, :20] = 255  # a lamp in the picture
    assert best(measure_light(warm).scores["light.temperature"]) == "warm"


def test_scores_add_up():
    for axis, scores in measure_light(lit((1, 1, 1))).scores.items():
        assert sum(scores.values()) == pytest.approx(1, abs=0.01), axis


def test_a_plain_card_has_no_measurable_temperature():
    assert "light.temperature" not in measure_light(np.full((1, 60, 80, 3), (200, 40, 40), np.uint8)).scores
