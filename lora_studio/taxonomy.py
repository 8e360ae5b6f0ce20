"""The closed vocabulary of camera angle and lighting (version 2). Only words: no measuring, no model.

Ids are never reused or renamed; a version adds words. Every axis also has `unknown` (no source is sure, or sources disagree) and
`na` (does not apply: there is no subject to be seen from behind). On the axes in `SEVERAL` more than one word may hold at once;
they are joined by "+", the main one first: `side_left+back`. Scale follows MovieShots and CineScale; roll ("dutch") is an axis
of its own and not an alternative to high and low; steadiness stands beside movement, as in CameraBench.
"""

from typing import Final

TAXONOMY_VERSION: Final = 2
UNKNOWN: Final = "unknown"
NA: Final = "na"
SEVERAL: Final = ("angle.movement", "light.direction")

Phrases = dict[str, dict[str, tuple[str, ...]]]

# Version 1: what the virtual stage shows, and all that nova-nano was taught.
# axis -> value -> phrases that say the value in plain words (the first one is used in captions, all in zero-shot tagging)
AXES_V1: Final[Phrases] = {
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

_SINCE_V2: Final[Phrases] = {
    "angle.movement": {
        "zoom_in": ("the lens zooms in",),
        "zoom_out": ("the lens zooms out",),
        "truck_left": ("the camera moves sideways to the left",),
        "truck_right": ("the camera moves sideways to the right",),
        "pedestal_up": ("the camera rises",),
        "pedestal_down": ("the camera sinks",),
        "roll": ("the camera rolls",),
        "tracking": ("the camera follows the subject",),
    },
    "angle.steadiness": {
        "locked": ("with a locked camera", "the camera stands on a tripod"),
        "smooth": ("in a smooth move", "the camera glides steadily"),
        "handheld": ("from the hand", "the camera sways slightly"),
        "shaky": ("shakily", "the camera shakes"),
    },
    "angle.insert": {
        "yes": ("an insert shot", "an object alone without people", "a cutaway to a thing"),
        "no": ("a shot with people", "a person is in the picture"),
    },
    "angle.over_the_shoulder": {
        "yes": ("over a shoulder", "seen past a person's shoulder"),
        "no": ("with nobody in front of the camera",),
    },
    "light.quality": {"mixed": ("hard and soft light together", "hard light with a soft fill")},
    "light.temperature": {"mixed": ("warm and cool light together", "light of two colours")},
    "light.rim": {
        "yes": ("with a rim of light", "a thin bright contour around the subject"),
        "no": ("without a rim of light",),
    },
    "light.silhouette": {
        "yes": ("in silhouette", "a dark shape before a bright background"),
        "no": ("with detail in the subject",),
    },
    "light.time": {
        "day": ("by day", "in daylight"),
        "golden_hour": ("at golden hour", "at sunset or sunrise"),
        "blue_hour": ("at blue hour", "at dusk or dawn"),
        "night": ("at night", "in the dark of night"),
        "interior": ("indoors", "inside a room or a studio"),
    },
}
AXES: Final[Phrases] = {axis: AXES_V1.get(axis, {}) | _SINCE_V2.get(axis, {}) for axis in (*AXES_V1, *_SINCE_V2)}

# Coarse shot sizes for the coverage table.
COARSE_SCALE: Final[dict[str, str]] = {
    "extreme_wide": "wide",
    "wide": "wide",
    "medium_wide": "medium",
    "medium": "medium",
    "medium_close_up": "close",
    "close_up": "close",
    "extreme_close_up": "detail",
}


def parts(value: str) -> tuple[str, ...]:
    """The words of a value, the main one first: "side_left+back" -> ("side_left", "back")."""
    return tuple(value.split("+"))


def is_value(axis: str, value: str) -> bool:
    """Whether a value may be stated of an axis: one of its words, several where the axis has several, `unknown` or `na`."""
    words = parts(value)
    if axis not in AXES or len(set(words)) < len(words):
        return False
    return value in (UNKNOWN, NA) or (all(word in AXES[axis] for word in words) and (len(words) == 1 or axis in SEVERAL))


def allowed(axis: str) -> str:
    """What may be stated of an axis, in words."""
    joined = ", or several joined by +" if axis in SEVERAL else ""
    return f"one of {', '.join((*AXES[axis], NA, UNKNOWN))}{joined}"


def phrase(axis: str, value: str) -> str:
    """How captions say a value.

    Raises:
        KeyError: no such axis, or no such word on it.
    """
    return " and ".join(AXES[axis][word][0] for word in parts(value))
