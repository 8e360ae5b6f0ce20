"""The closed vocabulary of camera angle and lighting (version 1). Only words: no measuring, no model.

Ids are never reused or renamed. Every axis also has `unknown` (no source is sure, or sources disagree).
Scale follows MovieShots and CineScale; roll ("dutch") is an axis of its own and not an alternative to high and low.
"""

from typing import Final

TAXONOMY_VERSION: Final = 1
UNKNOWN: Final = "unknown"

# axis -> value -> phrases that say the value in plain words (the first one is used in captions, all in zero-shot tagging)
AXES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "angle.scale": {
        "extreme_wide": ("an extreme wide shot", "a tiny subject far away in a vast place", "a wide establishing shot of a place"),
        "wide": ("a wide shot", "the whole subject with much space around it", "a full view of the subject and its surroundings"),
        "medium_wide": ("a medium wide shot", "framed from the knees up", "most of the subject with some surroundings"),
        "medium": ("a medium shot", "framed from the waist up", "the subject fills about half of the frame height"),
        "medium_close_up": ("a medium close-up", "head and shoulders framing", "the subject fills most of the frame height"),
        "close_up": ("a close-up", "a face or product fills the frame", "the subject seen from very near"),
        "extreme_close_up": ("an extreme close-up", "a macro shot of a detail", "a logo or surface detail fills the frame"),
    },
    "angle.vertical": {
        "overhead": ("seen from directly above", "a top-down flat lay", "bird's eye view"),
        "high": ("seen from a high angle", "the camera looks down at the subject", "viewed from slightly above"),
        "eye_level": ("seen at eye level", "the camera is level with the subject", "a straight-on level view"),
        "low": ("seen from a low angle", "the camera looks up at the subject", "viewed from near the ground"),
    },
    "angle.view": {
        "front": ("from the front", "the front faces the camera", "a frontal view"),
        "three_quarter": ("in three-quarter view", "turned partly to the side", "a three-quarter angle of the subject"),
        "profile": ("in profile", "seen from the side", "a side view"),
        "back": ("from behind", "seen from the back", "the back faces the camera"),
    },
    "angle.dutch": {
        "no": ("with a level horizon",),
        "yes": ("with a tilted dutch angle", "the horizon is slanted"),
    },
    "angle.movement": {
        "static": ("the camera is static",),
        "pan_left": ("the camera pans left",),
        "pan_right": ("the camera pans right",),
        "tilt_up": ("the camera tilts up",),
        "tilt_down": ("the camera tilts down",),
        "dolly_in": ("the camera moves in",),
        "dolly_out": ("the camera moves out",),
        "arc": ("the camera orbits the subject",),
        "handheld": ("the camera is handheld",),
    },
    "light.key": {
        "high": ("bright high-key light", "a bright scene with little shadow"),
        "mid": ("balanced mid-key light", "an evenly exposed scene"),
        "low": ("dark low-key light", "a dark scene with deep shadow"),
    },
    "light.contrast": {
        "low": ("low contrast", "flat light with gentle tones"),
        "medium": ("medium contrast", "moderate difference of light and shade"),
        "high": ("high contrast", "strong difference of light and shade"),
    },
    "light.direction": {
        "front": ("lit from the front", "flat frontal light"),
        "side_left": ("lit from the left", "the key light comes from the left side"),
        "side_right": ("lit from the right", "the key light comes from the right side"),
        "back": ("lit from behind", "backlit with a bright edge"),
        "top": ("lit from above", "overhead top light"),
        "under": ("lit from below", "light from underneath"),
        "ambient": ("in ambient light", "light from everywhere"),
    },
    "light.quality": {
        "hard": ("hard light with crisp shadows", "sharp shadow edges"),
        "soft": ("soft light with gradual shadows", "diffuse light with blurred shadow edges"),
    },
    "light.temperature": {
        "warm": ("warm light", "golden orange light"),
        "neutral": ("neutral white light", "colour-neutral daylight"),
        "cool": ("cool light", "bluish light"),
    },
}

# Coarse shot sizes for the coverage table.
COARSE_SCALE: Final[dict[str, str]] = {
    "extreme_wide": "wide", "wide": "wide",
    "medium_wide": "medium", "medium": "medium",
    "medium_close_up": "close", "close_up": "close",
    "extreme_close_up": "detail",
}


def values(axis: str) -> tuple[str, ...]:
    """The values of an axis, without `unknown`.

    Raises:
        KeyError: no such axis.
    """
    return tuple(AXES[axis])


def phrase(axis: str, value: str, variant: int = 0) -> str:
    """One way to say a value in a caption; `variant` wraps around the phrases there are."""
    phrases = AXES[axis][value]
    return phrases[variant % len(phrases)]
