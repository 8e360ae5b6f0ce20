"""Captions, long and short, composed from tags: the same shot always gets the same words. Knows words; opens no video.

The trigger stands first in both texts and in the first sentence, because the model is shown either text, or the first
sentence alone. A tag is said only when its sources leave no doubt: a wrong word teaches a wrong control. How light looks is left
out where it is the same in all of the footage: what words never tell apart is what the trigger comes to mean.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from data_tools.catalog import Catalog
from data_tools.content import faults_of
from data_tools.fusion import sure_value
from data_tools.sidecars import with_sidecars
from lora_studio.brand import Brand, load_brand
from lora_studio.errors import FootageError
from lora_studio.records import Shot, Tag
from lora_studio.taxonomy import AXES_V1, UNKNOWN, parts, phrase
from lora_studio.workspace import Workspace

_OPENINGS = ("{trigger}, {scale} of {content}", "{trigger}, {content}, {scale}", "{trigger}, {scale}, {content}")
_LIGHT_AXES = (
    "light.direction", "light.quality", "light.key", "light.contrast", "light.temperature", "light.rim", "light.silhouette",
    "light.time",
)  # fmt: skip
_SAID = {  # all else goes without saying: a level horizon, a smooth move
    "angle.dutch": ("yes",), "angle.over_the_shoulder": ("yes",), "light.rim": ("yes",), "light.silhouette": ("yes",),
    "angle.steadiness": ("handheld", "shaky"),
}  # fmt: skip
_FRAME_AXES = ("angle.vertical", "angle.view", "angle.dutch", "angle.over_the_shoulder")
_ASKED_ANEW = ("angle.vertical", "light.direction")
_LOOK_AXES = ("light.quality", "light.key", "light.contrast", "light.temperature", "light.time")  # a brand may own one of these
_CONSTANT_SCENES = 8  # fewer tell nothing of a brand


@dataclass(frozen=True)
class Captioning:
    """What one run did."""

    num_shots: int
    num_changed: int
    doubtful: dict[str, int]  # what is wrong with words that people or reports gave, and in how many shots; used all the same
    num_stated: int  # captions that people wrote beside the footage
    constant: dict[str, str]  # axes whose value is the brand's own and is left to the trigger


def caption_shots(workspace: Workspace) -> Captioning:
    """Writes the captions of every shot.

    Raises:
        FootageError: there is no shot yet, or none has been tagged.
    """
    catalog, brand = Catalog(workspace), load_brand(workspace)
    rows = catalog.shots()
    if not rows:
        raise FootageError(f"no shots in {workspace.root}: take footage in first with `data-tools ingest {workspace.root} FOLDER`")
    if not any(row.shot.tags for row in rows):
        raise FootageError(f"no shot is tagged: run `data-tools tag {workspace.root}` first, captions are made of tags")
    shots = with_sidecars(workspace, catalog.footage(), [row.shot for row in rows])
    constant = constants_of(shots)
    rows = [replace(row, shot=captioned(shot, brand, constant)) for row, shot in zip(rows, shots, strict=True)]
    changed = catalog.put_shots(rows)
    catalog.compact()
    doubtful: dict[str, int] = {}
    for fault in (fault for row in rows if row.shot.content for fault in faults_of(row.shot.content, brand.trigger)):
        doubtful[fault] = doubtful.get(fault, 0) + 1
    return Captioning(len(rows), changed, doubtful, sum(bool(shot.stated_caption) for shot in shots), constant)


def constants_of(shots: Sequence[Shot]) -> dict[str, str]:
    """How the light looks in all of a library: axis -> value, of the axes that are sure in every scene, and the same in all.

    Fewer than eight scenes have no constants.
    """
    scenes = {shot.scene or shot.shot_id for shot in shots}
    if len(scenes) < _CONSTANT_SCENES:
        return {}
    found = {axis: {sure_value(shot.tags.get(axis)) for shot in shots} for axis in _LOOK_AXES}
    return {axis: next(iter(values)) for axis, values in found.items() if len(values) == 1 and UNKNOWN not in values}


def captioned(shot: Shot, brand: Brand, constant: Mapping[str, str]) -> Shot:
    """The shot with its two captions.

    Args:
        shot: one with tags.
        brand: whose trigger stands first.
        constant: of `constants_of` the library; these are not said.
    """
    if shot.stated_caption:
        return _as_stated(shot, brand)
    opening = _opening(shot, brand)
    direction = _said(shot, "light.direction")
    short = ", ".join(part for part in (opening, _said(shot, "angle.vertical"), direction) if part) + "."
    first = ", ".join(part for part in (opening, *(_said(shot, axis) for axis in _FRAME_AXES)) if part)
    lights = [said for axis in _LIGHT_AXES if axis not in constant and (said := _said(shot, axis))]
    turn = _choice(shot.shot_id, "light", len(lights)) if lights else 0
    sentences = [first, ", ".join(lights[turn:] + lights[:turn]), _moves(shot)]
    long = " ".join(f"{text[0].upper() if index else text[0]}{text[1:]}." for index, text in enumerate(sentences) if text)
    return shot.model_copy(update={"caption_long": long, "caption_short": short})


def _as_stated(shot: Shot, brand: Brand) -> Shot:
    """A person's own words, the trigger in front; the first sentence alone is the short caption."""
    text = re.sub(rf"^{re.escape(brand.trigger)}\b[\s,:]*", "", shot.stated_caption, flags=re.IGNORECASE)
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    return shot.model_copy(update={"caption_long": f"{brand.trigger}, {text}", "caption_short": f"{brand.trigger}, {first}"})


def other_caption(shot: Shot, brand: Brand, clip_id: str) -> str:
    """What the shot shows, in short and without the trigger, as if seen from another angle and in another light.

    A brand's footage asks for a few angles and lights, but its adapter must leave all of them as the base has them. `clip_id`
    decides which ones are asked for, so that the clips of one shot ask for several.
    """
    tags = dict(shot.tags)
    for axis in _ASKED_ANEW:
        others = [value for value in AXES_V1[axis] if value not in parts(sure_value(shot.tags.get(axis)))]
        tags[axis] = Tag(value=others[_choice(clip_id, axis, len(others))], status="single")
    asked = captioned(shot.model_copy(update={"tags": tags, "stated_caption": ""}), brand, {})
    return asked.caption_short.removeprefix(f"{brand.trigger}, ")


def _opening(shot: Shot, brand: Brand) -> str:
    content = shot.content or brand.subject
    scale = _said(shot, "angle.scale")
    if not scale:
        return f"{brand.trigger}, {content}"
    form = _OPENINGS[_choice(shot.shot_id, "opening", len(_OPENINGS))]
    return form.format(trigger=brand.trigger, scale=scale, content=content)


def _said(shot: Shot, axis: str) -> str:
    value = sure_value(shot.tags.get(axis))
    if value == UNKNOWN or value not in _SAID.get(axis, (value,)):
        return ""
    return phrase(axis, value)


def _moves(shot: Shot) -> str:
    """How the camera moves, and whether it is held by hand where the movement itself does not say so."""
    movement, steadiness = _said(shot, "angle.movement"), _said(shot, "angle.steadiness")
    is_told = not movement or "handheld" in parts(sure_value(shot.tags.get("angle.movement")))
    return movement if is_told or not steadiness else f"{movement}, {steadiness}"


def _choice(shot_id: str, what: str, num: int) -> int:
    return hashlib.sha256(f"{shot_id} {what}".encode()).digest()[0] % num
