"""Light and exposure measured from pixels, on linear light. Knows frames and numbers; fuses nothing and names no shot.

Measured: key, from CIE lightness; colour temperature, by the grey-edge rule (van de Weijer, Gevers and Gijsenij, 2007: edges
are colourless on average, so their mean colour is the light's), checked against the near-neutral pixels; contrast, but only
where the whole picture is flat or spans many stops: in between, the picture's range says nothing of key against fill. Not
measured: direction and hardness, which a frame without a mask of the subject does not tell. What is found is the light of
the graded picture, not of the lamps.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_MEASURED_SHORT_SIDE = 180
_KEY_LOW_LSTAR, _KEY_HIGH_LSTAR, _KEY_WIDTH = 30.0, 68.0, 3.0
_FLAT, _STEEP, _CONTRAST_WIDTH = 1.3, 7.0, 0.2  # stops
_WARM_MIRED, _COOL_MIRED, _MIRED_WIDTH = 1e6 / 5000, 1e6 / 7100, 6.0
_NEUTRAL_CHROMA = 22.0  # CIE C*ab
_NEUTRAL_SHARE = 0.05
_EDGE_NORM = 6  # the Minkowski norm that weighs strong edges more
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
        "light.key": key_scores(measures["mean_lightness"], measures["dark_share"]),
        "light.contrast": contrast_scores(measures["contrast_stops"]),
        "light.temperature": _checked_temperature(measures),
    }
    rounded = {name: round(value, 5) for name, value in measures.items() if np.isfinite(value)}
    return Light(rounded, {axis: found for axis, found in scores.items() if found})


def _checked_temperature(measures: dict[str, float]) -> dict[str, float]:
    """The edges' answer; weakened where few pixels are near neutral, withdrawn where those contradict it (warm against cool)."""
    if not np.isfinite(measures["cct_kelvin"]):
        return {}
    scores = temperature_scores(measures["cct_kelvin"])
    if measures["neutral_share"] < _NEUTRAL_SHARE:
        return {value: round(0.75 * score, 4) for value, score in scores.items()}
    check = temperature_scores(measures["neutral_cct_kelvin"])
    contradicted = scores["warm"] * check["cool"] + scores["cool"] * check["warm"] > 0.5
    return {} if contradicted else scores


def _shrink(frame: np.ndarray) -> np.ndarray:
    scale = _MEASURED_SHORT_SIDE / min(frame.shape[:2])
    return frame if scale >= 1 else cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _measure_frame(frame: np.ndarray) -> dict[str, float]:
    xyz = (_LINEAR[frame] @ _SRGB_TO_XYZ.T).reshape(-1, 3)  # (H * W, 3)
    luminance = xyz[:, 1]
    lightness, chroma = _lightness_and_chroma(xyz)
    neutral = (chroma < _NEUTRAL_CHROMA) & (lightness > 20) & (frame.max(axis=2).ravel() < 252)
    low, high = np.percentile(luminance, (5, 95))
    brightness = frame.max(axis=2) / 255
    return {
        "mean_lightness": float(lightness.mean()),
        "dark_share": float((lightness < 25).mean()),
        "bright_share": float((lightness > 75).mean()),
        "lighting_key": float(brightness.mean() * brightness.std()),  # zeta of Rasheed, Sheikh and Shah, 2005
        "contrast_stops": float(np.log2((high + _FLOOR) / (low + _FLOOR))),
        "clipped_share": float((luminance > 0.95).mean()),
        "crushed_share": float((luminance < 0.005).mean()),
        "neutral_share": float(neutral.mean()),
        "neutral_cct_kelvin": cct_kelvin(xyz[neutral].mean(axis=0)) if neutral.any() else float("nan"),
        "cct_kelvin": cct_kelvin(_SRGB_TO_XYZ @ _edge_colour(_LINEAR[frame])),
    }


def _edge_colour(linear: np.ndarray) -> np.ndarray:
    """The mean colour of the edges of a frame (H, W, 3) in linear light, as (3,) with a sum of 1; NaN where there are none."""
    smooth = cv2.GaussianBlur(linear, (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)).reshape(-1, 3)
    colour = (strength**_EDGE_NORM).mean(axis=0) ** (1 / _EDGE_NORM)
    return colour / colour.sum() if colour.min() > 1e-4 else np.full(3, np.nan, dtype=np.float32)


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


def key_scores(mean_lightness: float, dark_share: float) -> dict[str, float]:
    """How low, mid and high the key is: low under a mean L* of 30 or with over half the frame dark, high over 68."""
    low = max(_step(_KEY_LOW_LSTAR - mean_lightness, _KEY_WIDTH), _step(dark_share - 0.5, 0.06))
    high = min(_step(mean_lightness - _KEY_HIGH_LSTAR, _KEY_WIDTH), _step(0.15 - dark_share, 0.03))
    return _normalised({"low": low, "mid": (1 - low) * (1 - high), "high": high * (1 - low)})


def contrast_scores(stops: float) -> dict[str, float]:
    """Low where the whole picture spans under 1.3 stops, high where it spans over 7; empty in between."""
    low, high = _step(_FLAT - stops, _CONTRAST_WIDTH), _step(stops - _STEEP, _CONTRAST_WIDTH)
    return {value: round(score, 4) for value, score in (("low", low), ("high", high)) if score > 0.5}


def temperature_scores(kelvin: float) -> dict[str, float]:
    """How warm (under 5,000 K), neutral and cool (over 7,100 K); steps are even in mired, as the eye sees them."""
    mired = 1e6 / kelvin
    warm, cool = _step(mired - _WARM_MIRED, _MIRED_WIDTH), _step(_COOL_MIRED - mired, _MIRED_WIDTH)
    return _normalised({"warm": warm, "neutral": (1 - warm) * (1 - cool), "cool": cool})


def _step(distance: float, width: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(distance / width, -30, 30))))


def _normalised(scores: dict[str, float]) -> dict[str, float]:
    total = sum(scores.values())
    return {value: round(score / total, 4) for value, score in scores.items()}
