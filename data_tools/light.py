"""Light and exposure measured from pixels, on linear light. Knows frames and numbers; fuses nothing and names no shot.

Measured: key, from the quartiles of CIE lightness; and colour temperature, where two ways of telling the colour of the light
agree: the mean that weighs bright pixels most (shades of grey: Finlayson and Trezzi, 2004; so high a norm is nearly a white patch)
and the mean of pixels that are nearly colourless. Not measured: direction, hardness and contrast. A frame without a mask of the
subject does not tell them: the range of a whole picture says nothing of key against fill. What is found is the light of the graded
picture, not of the lamps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_MEASURED_SHORT_SIDE = 180
_HIGH_FROM, _LOW_TO, _KEY_WIDTH = 72.0, 29.0, 3.0  # CIE L*
_MOST_DARK = 0.5  # of the pixels of a picture in high key
_WARM_MIRED, _COOL_MIRED, _MIRED_WIDTH = 196.0, 144.0, 6.0  # 5,100 K and 6,950 K
_NEUTRAL_CHROMA = 35.0  # CIE C*ab
_LEAST_NEUTRAL = 0.002  # share of pixels
_SHADES_NORM = 24
_CLIPPED_FROM = 252  # of 255: such a channel says nothing of the light's colour
_FLOOR = 1e-3  # linear light below which a display shows black
_SRGB_TO_XYZ = np.array(
    [[0.4123908, 0.3575843, 0.1804808], [0.2126390, 0.7151687, 0.0721923], [0.0193308, 0.1191948, 0.9505322]], dtype=np.float32
)  # IEC 61966-2-1, D65
_WHITE = _SRGB_TO_XYZ.sum(axis=1)
_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """Measures (plain numbers by name) and, per taxonomy axis that could be measured, a score for each value (sum 1)."""

    measures: dict[str, float]
    scores: dict[str, dict[str, float]]


def measure_light(frames: np.ndarray) -> Light:
    """Measures a few frames of one shot; every number is the median over them.

    Args:
        frames: (F, H, W, 3) uint8 sRGB, without black bars.
    """
    rows = [_measure_frame(_shrink(frame)) for frame in frames]
    measures = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    scores = {
        "light.key": key_scores(
            measures["lightness_p25"], measures["lightness_p50"], measures["lightness_p75"], measures["dark_share"]
        ),
        "light.temperature": temperature_scores([measures[f"{way}_kelvin"] for way in ("shades", "neutral")]),
    }
    rounded = {name: round(value, 5) for name, value in measures.items() if np.isfinite(value)}
    return Light(rounded, {axis: found for axis, found in scores.items() if found})


def _shrink(frame: np.ndarray) -> np.ndarray:
    scale = _MEASURED_SHORT_SIDE / min(frame.shape[:2])
    return frame if scale >= 1 else cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _measure_frame(frame: np.ndarray) -> dict[str, float]:
    linear = _LINEAR[frame]
    xyz = (linear @ _SRGB_TO_XYZ.T).reshape(-1, 3)  # (H * W, 3)
    luminance = xyz[:, 1]
    lightness, chroma = _lightness_and_chroma(xyz)
    low, high = np.percentile(luminance, (5, 95))
    brightness = frame.max(axis=2) / 255
    quartiles = np.percentile(lightness, (25, 50, 75))
    return {
        "mean_lightness": float(lightness.mean()),
        **{f"lightness_p{part}": float(value) for part, value in zip((25, 50, 75), quartiles, strict=True)},
        "dark_share": float((lightness < 25).mean()),
        "bright_share": float((lightness > 75).mean()),
        "lighting_key": float(brightness.mean() * brightness.std()),  # zeta of Rasheed, Sheikh and Shah, 2005
        "contrast_stops": float(np.log2((high + _FLOOR) / (low + _FLOOR))),
        "clipped_share": float((luminance > 0.95).mean()),
        "crushed_share": float((luminance < 0.005).mean()),
        **_temperatures(linear, xyz, frame.max(axis=2).ravel() < _CLIPPED_FROM, (chroma < _NEUTRAL_CHROMA) & (lightness > 20)),
    }


def _temperatures(linear: np.ndarray, xyz: np.ndarray, is_whole: np.ndarray, is_neutral: np.ndarray) -> dict[str, float]:
    """What two ways say of the light's colour in kelvin, from unclipped pixels; NaN where one cannot tell."""
    smooth = cv2.GaussianBlur(linear, (0, 0), 1.0).reshape(-1, 3)[is_whole].astype(np.float64)
    is_neutral = is_neutral & is_whole
    found = {
        "shades": _SRGB_TO_XYZ @ (smooth**_SHADES_NORM).mean(axis=0) ** (1 / _SHADES_NORM) if len(smooth) else np.zeros(3),
        "neutral": xyz[is_neutral].mean(axis=0) if is_neutral.mean() > _LEAST_NEUTRAL else np.zeros(3),
    }
    kelvin = {f"{way}_kelvin": cct_kelvin(colour) if colour.min() > 1e-4 else float("nan") for way, colour in found.items()}
    return kelvin | {"neutral_share": float(is_neutral.mean())}


def _lightness_and_chroma(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ratio = xyz / _WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)  # CIE 15
    chroma = np.hypot(500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2]))
    return 116 * f[:, 1] - 16, chroma


def cct_kelvin(xyz: np.ndarray) -> float:
    """Correlated colour temperature of an XYZ triple in kelvin, by McCamy's cubic (1992), kept within 1,500 to 25,000."""
    x, y = xyz[:2] / xyz.sum()
    n = (x - 0.3320) / (0.1858 - y)
    return float(np.clip(449 * n**3 + 3525 * n**2 + 6823.3 * n + 5520.33, 1500, 25000))


def key_scores(p25: float, p50: float, p75: float, dark_share: float) -> dict[str, float]:
    """How low, mid and high the key is.

    High where a quarter of the picture is over L* 72 and no more than half is dark; low where the middle of quartile and median
    is under 29.

    Args:
        p25, p50, p75: quartiles of CIE L*.
        dark_share: share of pixels under L* 25.
    """
    low = _step(_LOW_TO - (p25 + p50) / 2, _KEY_WIDTH)
    high = min(_step(p75 - _HIGH_FROM, _KEY_WIDTH), _step(_MOST_DARK - dark_share, 0.06))
    return _normalised({"low": low * (1 - high), "mid": (1 - low) * (1 - high), "high": high * (1 - low)})


def temperature_scores(kelvins: Sequence[float]) -> dict[str, float]:
    """How warm (under 5,100 K), neutral and cool (over 6,950 K), in steps that are even in mired, as the eye sees them.

    Empty where the ways of telling name different words, or one of them names none (NaN).
    """
    mireds = 1e6 / np.asarray(kelvins, dtype=np.float64)
    words = [_temperature_of(one) for one in mireds]
    if not np.isfinite(mireds).all() or len({max(word, key=lambda value: word[value]) for word in words}) > 1:
        return {}
    return _temperature_of(float(mireds.mean()))


def _temperature_of(mired: float) -> dict[str, float]:
    warm, cool = _step(mired - _WARM_MIRED, _MIRED_WIDTH), _step(_COOL_MIRED - mired, _MIRED_WIDTH)
    return _normalised({"warm": warm, "neutral": (1 - warm) * (1 - cool), "cool": cool})


def _step(distance: float, width: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(distance / width, -30, 30))))


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    total = sum(scores.values())
    return {value: round(score / total, 4) for value, score in scores.items()}
