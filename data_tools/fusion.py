"""What is believed of one axis when several sources speak: pure rules. Knows no video, no model and no table.

A person's word stands above a camera report, that above a measurement, that above an image-text model. Two measured kinds
of source that are both sure and differ are a conflict, which no caption repeats; the weak last source is never enough to
doubt what a person or a report says. Where several words were stated, a source that says one of them agrees.
"""

from collections.abc import Mapping
from typing import Final, Literal

from lora_studio.records import Tag
from lora_studio.taxonomy import NA, UNKNOWN, parts

Source = Literal["human", "metadata", "measured", "probe", "clip"]
ORDER: Final[tuple[Source, ...]] = ("human", "metadata", "measured", "probe", "clip")
STATED: Final = {"human": 1.0, "metadata": 0.95}  # confidence of a statement
MIN_CONFIDENCE: Final = 0.5  # a source less sure than this has no answer
SURE: Final = 0.6  # two sources this sure that differ are a conflict
_DOUBTERS: Final[dict[Source, tuple[Source, ...]]] = {
    "human": (), "metadata": ("measured",), "measured": ("probe", "clip"), "probe": ("clip",), "clip": (),
}  # fmt: skip
_LOOK_ALIKE: Final = {  # stated, measured: pixels cannot tell these
    ("arc", "pan_left"), ("arc", "pan_right"), ("arc", "static"), ("zoom_in", "dolly_in"), ("zoom_out", "dolly_out"),
    ("truck_left", "pan_left"), ("truck_right", "pan_right"), ("pedestal_up", "tilt_up"), ("pedestal_down", "tilt_down"),
}  # fmt: skip


def fuse(scores: Mapping[str, Mapping[str, float]]) -> Tag:
    """Fuses what each source says of one axis.

    Args:
        scores: source -> value -> probability; a source may be absent.

    Returns:
        The strongest source's answer; its status is `unknown` when nobody is sure, `conflict` when a source that may doubt
        it is sure of something else, `agree` when another source says the same, else `single`.
    """
    kept: dict[str, dict[str, float]] = {source: dict(scores[source]) for source in ORDER if scores.get(source)}
    answers: dict[Source, tuple[str, float]] = {}
    for source in ORDER:
        if source in kept and (answer := _answer(kept[source]))[1] >= MIN_CONFIDENCE:
            answers[source] = answer
    if not answers:
        return Tag(scores=kept)
    source = next(iter(answers))
    value, confidence = answers[source]
    others: list[Source] = [other for other in answers if other != source]
    doubted = any(_may_doubt(other, source, value, answers[other]) for other in others)
    if doubted:
        return Tag(value=value, confidence=min(confidence, 0.5), status="conflict", source=source, scores=kept)
    agreeing = [answers[other][1] for other in others if answers[other][0] in (value, *parts(value))]
    status = "agree" if agreeing else "single"
    return Tag(value=value, confidence=max([confidence, *agreeing]), status=status, source=source, scores=kept)


def _answer(scores: Mapping[str, float]) -> tuple[str, float]:
    value = max(scores, key=lambda one: scores[one])
    return value, min(1.0, scores[value])


def _may_doubt(other: Source, source: Source, value: str, answer: tuple[str, float]) -> bool:
    said = {value, *parts(value)}
    alike = {(one, answer[0]) for one in said} & _LOOK_ALIKE
    return other in _DOUBTERS[source] and answer[1] >= SURE and answer[0] not in said and not alike


def stated(source: Literal["human", "metadata"], value: str) -> dict[str, float]:
    """The scores of a source that states a value outright."""
    return {value: STATED[source]}


def sure_value(tag: Tag | None) -> str:
    """A tag's value when it may be used in a caption or counted in a table, else `unknown`; so it is where it does not apply."""
    is_sure = tag is not None and tag.status in ("agree", "single") and tag.value != NA
    return tag.value if tag is not None and is_sure else UNKNOWN


def main_value(tag: Tag | None) -> str:
    """The first word of `sure_value`: where a table has room for one."""
    return parts(sure_value(tag))[0]
