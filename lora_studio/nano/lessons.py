"""Reading the rendered lessons: pixels by number, and captions made of their truth. Renders nothing, trains nothing.

L lessons, F frames, H W pixels. See `data-tools lessons` for the files.
"""

import json
import random
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from lora_studio.errors import TrainingError
from lora_studio.taxonomy import AXES_V1

LESSONS_A_FILE: Final = 256
NAMES_A_COLOUR: Final = 12
SHAPELESS: Final = ("extreme_wide", "wide", "extreme_close_up")  # shot sizes at which the product is a dot, or has no outline
_MIRRORED: Final = {"side_left": "side_right", "side_right": "side_left", "pan_left": "pan_right", "pan_right": "pan_left"}
_OPENINGS: Final = ("{scale} of {content}", "{content}, {scale}", "{scale}, {content}", "{content}")
_LIGHT_AXES: Final = ("light.direction", "light.quality", "light.key", "light.contrast", "light.temperature")
_CONTENT: Final = re.compile(r"(?P<thing>.+?)(?P<details> with .+?)?(?P<place> (lying )?on .+)")
_SUPPORT: Final = re.compile(r" on an? [a-z ]+ plinth against | lying on ")
_SUPPORTED: Final = ("low", "overhead")  # the stage always raises what is seen from below, and lays down what is seen from above
_SYLLABLES: Final = ("ba", "co", "di", "fu", "ga", "hel", "ka", "lo", "mi", "nor", "pra", "qui", "ro", "sel", "ta", "vo", "wex")


class Lessons:
    """All lessons of one kind in a folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        """Raises TrainingError when there is none."""
        self.kind = kind
        self.paths = sorted(folder.glob(f"{kind}_*.npy"))
        if not self.paths:
            raise TrainingError(f"{folder} holds no {kind}_*.npy: render some first with `data-tools lessons {folder}`")

    def __len__(self) -> int:
        return len(self.paths) * LESSONS_A_FILE

    def number(self, index: int) -> int:
        """The lesson's number among all that the stage can draw."""
        return int(self.paths[index // LESSONS_A_FILE].stem.rpartition("_")[2]) + index % LESSONS_A_FILE

    @cached_property
    def truths(self) -> list[dict[str, Any]]:
        """What each lesson shows."""
        texts = (path.with_suffix(".jsonl").read_text(encoding="utf-8") for path in self.paths)
        return [json.loads(line) for text in texts for line in text.splitlines()]

    @cached_property
    def _pixels(self) -> list[np.ndarray]:
        return [np.load(path, mmap_mode="r") for path in self.paths]

    def cover(self, indices: list[int]) -> Tensor:
        """How much of each patch the product covers, (B, T, N) in [0, 1].

        Raises TrainingError where the lessons were rendered before this was kept.
        """
        return self._covers[indices].flatten(2).float() / 255

    @cached_property
    def _covers(self) -> Tensor:
        paths = [path.with_name(f"cover_{path.name}") for path in self.paths]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise TrainingError(f"{missing[0]} is missing: `data-tools lessons {missing[0].parent}` makes it")
        return torch.from_numpy(np.concatenate([np.load(path) for path in paths]))

    def usual_cover(self, indices: list[int]) -> Tensor:
        """Where products mostly are at a lesson's shot size, (B, T, N): the mean cover of its kind, 1 where it is largest."""
        return torch.stack([self._usual_covers[self.truths[index]["tags"]["angle.scale"]] for index in indices])

    @cached_property
    def _usual_covers(self) -> dict[str, Tensor]:
        scales = np.array([truth["tags"]["angle.scale"] for truth in self.truths])
        means = {str(scale): self._covers[torch.from_numpy(scales == scale)].float().mean(0).flatten(1) for scale in set(scales)}
        return {scale: mean / mean.max().clamp_min(1e-6) for scale, mean in means.items()}

    def frames(self, index: int) -> np.ndarray:
        """(F, H, W, 3) uint8."""
        return self._pixels[index // LESSONS_A_FILE][index % LESSONS_A_FILE]


def draw_lesson(lessons: Lessons, small_share: float, chance: random.Random, among: int | None = None) -> int:
    """Any of the first `among` lessons; of those whose product is a dot, or larger than the picture, only so many."""
    while True:
        index = chance.randrange(among or len(lessons))
        if lessons.truths[index]["tags"]["angle.scale"] not in SHAPELESS or chance.random() < small_share:
            return index


def as_pixels(frames: list[np.ndarray]) -> Tensor:
    """L arrays (F, H, W, 3) uint8 -> (L, 3, F, H, W) float32 in -1..1."""
    return torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 127.5 - 1.0


def mirrored(tags: dict[str, str]) -> dict[str, str]:
    """The tags of the picture seen in a mirror."""
    return {axis: _MIRRORED.get(value, value) for axis, value in tags.items()}


def parts_of(truth: dict[str, Any]) -> tuple[str, str, str]:
    """What a lesson's words say of thing, details and place: ("bottle", " with a cream stripe", " on a grey backdrop")."""
    found = _CONTENT.fullmatch(truth["content"].removeprefix("an ").removeprefix("a ").removeprefix(truth["body"] + " "))
    assert found is not None, truth["content"]
    return found["thing"], found["details"] or "", found["place"]


def draw_content(truth: dict[str, Any], chance: random.Random) -> str:
    """What is in the picture, now and then without details, or without the product's colours at all."""
    thing, details, place = parts_of(truth)
    luck = chance.random()
    if luck < 0.15:
        return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}{place}"
    return truth["content"].replace(details, "") if luck < 0.3 and details else truth["content"]


def draw_support(caption: str, tags: dict[str, str], chance: random.Random) -> str:
    """The caption; half of the time the plinth of a low angle, or lying down of a view from above, is left to the angle's words.

    Said each time, they would be what such an angle is known by, and "a bottle on a grey backdrop, seen from a low angle" a riddle.
    """
    is_unsaid = tags["angle.vertical"] in _SUPPORTED and chance.random() < 0.5
    return _SUPPORT.sub(" on ", caption) if is_unsaid else caption


def draw_name(body: str, chance: random.Random) -> str:
    """One of the made-up names of a body colour: always the same dozen, so that a word in front can tell what words leave out.

    Without them a brand's trigger falls on deaf ears: names drawn at random teach that a word in front says nothing, and no
    adapter of some hundred steps unteaches it. With few of them an unknown word sounds like one of the known, and its colour is
    what an adapter has to leave first.
    """
    return "".join(random.Random(f"{body}/{chance.randrange(NAMES_A_COLOUR)}").sample(_SYLLABLES, 3))


def compose_caption(content: str, tags: dict[str, str], chance: random.Random) -> str:
    """A caption in the grammar of `data-tools caption`: sometimes short, sometimes with parts left out."""
    if chance.random() < 0.1:
        return content
    opening = chance.choice(_OPENINGS).format(scale=_say("angle.scale", tags, chance), content=content)
    angles = [_say("angle.vertical", tags, chance)]
    if chance.random() < 0.25:
        lights = [_say("light.direction", tags, chance)]
        return f"{', '.join([opening, *angles, *lights])}."
    angles += [_say("angle.view", tags, chance)] if chance.random() < 0.85 else []
    angles += [_say("angle.dutch", tags, chance)] if tags["angle.dutch"] == "yes" else []
    lights = [_say(axis, tags, chance) for axis in _LIGHT_AXES if axis == "light.direction" or chance.random() < 0.8]
    turn = chance.randrange(len(lights))
    sentences = [", ".join([opening, *angles]), ", ".join(lights[turn:] + lights[:turn])]
    if chance.random() < 0.85:
        sentences.append(_say("angle.movement", tags, chance))
    return " ".join(f"{text[0].upper() if number else text[0]}{text[1:]}." for number, text in enumerate(sentences))


def _say(axis: str, tags: dict[str, str], chance: random.Random) -> str:
    phrases = AXES_V1[axis][tags[axis]]
    return phrases[0] if chance.random() < 0.7 else chance.choice(phrases)
