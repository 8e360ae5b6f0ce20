"""Whether words for what is in a picture are fit for a caption: pure rules, no model. What is unfit is said, never mended.

The words come from a camera report, a person, or a vision-language model. They name subject, action and place; camera and
light are told by tags, which were measured, and the brand by its trigger. Descriptions by models fail in known ways: they refuse,
open with a formula, loop, answer in markup or in another language, and all of that would be taught.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Final

from lora_studio.taxonomy import AXES_V1

MOST_WORDS: Final = 40
_FEWEST_FOR_LOOPS: Final = 6
_LEAST_DISTINCT: Final = 0.5  # of the pairs of neighbouring words
_MOST_FOREIGN: Final = 0.2  # of the letters
_COLLAPSED: Final = 3  # scenes that the same words describe

_REFUSAL: Final = re.compile(r"\b(i'?m sorry|sorry,|i can(no|')t|i am (not able|unable)|unable to|as an ai)\b", re.I)
_FORMULA: Final = re.compile(
    r"^\W*(here (is|are)|sure\b|caption:|description:|(the|this|these|a|an) (video|clip|images?|frames?|picture|photo|scene)\b"
    r"|in (the|this) (video|clip|image|frame|scene)|we see|it (shows|depicts))", re.I,
)  # fmt: skip
_MARKUP: Final = re.compile(r"</?\w+>|```|\*\*|^\s*[#{\[]|\}\s*$|\b(user|assistant):", re.I)
_CAMERA: Final = re.compile(
    r"\b(camera|close-?ups?|(wide|medium|long|macro) shot|low angle|high angle|eye level|bird'?s[- ]eye|point of view|panning"
    r"|tracking shot|zoom(s|ing|ed)?|dolly|handheld|dutch angle|depth of field|bokeh|blurred background|slow motion|cinematic"
    r"|foreground|out of focus)\b", re.I,
)  # fmt: skip
_LIGHT: Final = re.compile(
    r"\b(lighting|backlit|back-?light|spotlights?|(high|low)[- ]key|silhouettes?|sunlit|moonlit"
    r"|(softly|dimly|brightly|well)[- ]lit|shadows?"
    r"|(soft|hard|warm|cool|natural|dramatic|studio|golden|ambient|bright|dim|harsh|diffused) light"
    r"|golden hour|lit (by|from|with))\b", re.I,
)  # fmt: skip
_MOOD: Final = re.compile(
    r"\b(moody?|serene|dreamy|elegant|luxurious|stunning|beautiful|atmosphere|atmospheric|mysterious|inviting)\b", re.I
)


def faults_of(text: str, trigger: str = "") -> list[str]:
    """What is wrong with the words for a picture, in words; empty when nothing is.

    Args:
        text: one line that should name subject, action and place.
        trigger: the brand's word, which captions put in front themselves.
    """
    words = text.split()
    if not words:
        return ["it is empty"]
    rules = [
        (_REFUSAL.search(text), "it is a refusal"),
        (_FORMULA.search(text), "it begins with a formula"),
        (_MARKUP.search(text) or "\n" in text.strip(), "it has markup or several lines"),
        (len(words) > MOST_WORDS, f"it has {len(words)} words, over {MOST_WORDS}"),
        (_loops(words), "it repeats itself"),
        (_foreign_share(text) > _MOST_FOREIGN, "it is not in Latin letters"),
        (_ends_midway(text), "it breaks off"),
        (_named(_CAMERA, text), f"it speaks of the camera ({_named(_CAMERA, text)})"),
        (_named(_LIGHT, text), f"it speaks of light ({_named(_LIGHT, text)})"),
        (_named(_MOOD, text), f"it speaks of mood ({_named(_MOOD, text)})"),
        (trigger and re.search(rf"\b{re.escape(trigger)}\b", text, re.I), f"it says the trigger {trigger}"),
    ]
    return [told for is_wrong, told in rules if is_wrong]


def collapsed(contents: Mapping[str, str]) -> dict[str, int]:
    """Words that describe more than three scenes alike, and how many: a model that says the same of everything.

    Args:
        contents: scene -> words.
    """
    counts: dict[str, int] = {}
    for text in contents.values():
        counts[text] = counts.get(text, 0) + 1
    return {text: number for text, number in counts.items() if text and number > _COLLAPSED}


def _named(rule: re.Pattern[str], text: str) -> str:
    found = rule.search(text)
    if found:
        return found[0].lower()
    if rule is _MOOD:
        return ""
    axes = [axis for axis in AXES_V1 if axis.startswith("angle." if rule is _CAMERA else "light.")]  # "at night" may be said
    phrases = (phrase for axis in axes for said in AXES_V1[axis].values() for phrase in said)
    return next((phrase for phrase in phrases if phrase in text.lower()), "")


def _loops(words: list[str]) -> bool:
    pairs = list(itertools.pairwise(words))
    return len(words) >= _FEWEST_FOR_LOOPS and len(set(pairs)) < _LEAST_DISTINCT * len(pairs)


def _foreign_share(text: str) -> float:
    letters = [letter for letter in text if letter.isalpha()]
    return sum(ord(letter) > 0x24F for letter in letters) / len(letters) if letters else 1.0


def _ends_midway(text: str) -> bool:
    return bool(re.search(r"(\b(a|an|the|of|with|and|on|in|to|by|for|at)|[,;:\-])\s*$", text, re.I))
