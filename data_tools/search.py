"""Finding shots by tag, by words, and by likeness to a shot, a picture or a phrase, all at once. Changes nothing.

    bottle, low angle, backlit

Each part between commas is looked up among the phrases of the taxonomy ("low angle", "backlit", "light.key=low"); what is none of
these must occur in the words for what is in the picture, or, where a trained vision model is at hand and no words match, ranks
the shots by likeness to it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_tools import zero_shot
from data_tools.catalog import Catalog
from data_tools.tags import LoadVision, usable_vision_folder
from lora_studio.errors import FootageError
from lora_studio.records import Footage, Shot
from lora_studio.taxonomy import AXES, NA, UNKNOWN
from lora_studio.workspace import Workspace

# what people call the values beside the phrases of the taxonomy: axis -> value -> names
NICKNAMES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "angle.scale": {
        "wide": ("wide",), "medium": ("medium",), "close_up": ("closeup",), "extreme_close_up": ("macro", "extreme closeup"),
    },
    "angle.vertical": {
        "overhead": ("overhead", "top down", "flat lay"), "high": ("high angle",), "eye_level": ("eye level",),
        "low": ("low angle",),
    },
    "angle.view": {"three_quarter": ("three quarter",), "profile": ("profile",)},
    "angle.dutch": {"yes": ("dutch", "dutch angle")},
    "angle.movement": {
        "static": ("static", "locked off"), "dolly_in": ("push in",), "dolly_out": ("pull out",), "arc": ("orbit",),
        "handheld": ("handheld",), "zoom_in": ("zoom in",), "zoom_out": ("zoom out",), "tracking": ("tracking shot",),
    },
    "angle.insert": {"yes": ("insert",)},
    "angle.over_the_shoulder": {"yes": ("over the shoulder", "ots")},
    "angle.steadiness": {"locked": ("locked", "tripod"), "shaky": ("shaky",)},
    "light.key": {"low": ("low key", "dark"), "high": ("high key", "bright")},
    "light.direction": {
        "back": ("backlit", "back light"), "top": ("top light",), "front": ("front light",), "under": ("under light",),
        "side_left": ("light from the left",), "side_right": ("light from the right",),
    },
    "light.quality": {"hard": ("hard light",), "soft": ("soft light",)},
    "light.temperature": {"warm": ("warm",), "cool": ("cool",)},
    "light.rim": {"yes": ("rim light", "rim")},
    "light.silhouette": {"yes": ("silhouette",)},
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What a query asks for: tags by axis, and words."""

    tags: dict[str, str]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Hit:
    """One shot found, with its cosine to what was asked for where likeness was asked for."""

    shot: Shot
    likeness: float | None


def understand(query: str) -> Question:
    """Reads a query.

    Raises:
        FootageError: `axis=value` names no value of the taxonomy, or two parts contradict each other.
    """
    tags: dict[str, str] = {}
    words = []
    for part in (part.strip() for part in query.split(",")):
        if not part:
            continue
        found = _tag_of(part)
        if found is None:
            words.append(part.lower())
        elif tags.get(found[0], found[1]) != found[1]:
            raise FootageError(f"{found[0]} cannot be both {tags[found[0]]} and {found[1]}: ask twice")
        else:
            tags[found[0]] = found[1]
    return Question(tags, tuple(words))


def search(
    workspace: Workspace, query: str, like: str = "", limit: int = 20, vision: Path | None = None, load: LoadVision | None = None
) -> list[Hit]:
    """Finds shots.

    Args:
        workspace: one with tagged shots.
        query: see the head of this file; may be empty where `like` is not.
        like: a shot id, or a picture file.
        limit: at most so many.
        vision: the open_clip model the shots were looked at with; None: the shipped one, and words are not compared.
        load: makes a model of a folder; None is `lora_studio.vision.load_vision`.

    Raises:
        FootageError: the query contradicts itself, or `like` is neither a shot nor a picture, or no shot was looked at.
        ModelError: the vision model cannot be loaded.
    """
    question, catalog = understand(query), Catalog(workspace)
    if not (question.tags or question.words or like):
        raise FootageError('nothing was asked for: give words such as "bottle, low angle, backlit", or --like SHOT_OR_PICTURE')
    if like:
        vector = _vector_of(catalog, like, lambda: _model(vision, load))
        return [Hit(row.shot, near) for row, near in catalog.find(question.tags, question.words, vector, limit)]
    found = catalog.find(question.tags, question.words, limit=limit)
    if not found and question.words and vision is not None:
        model = _model(vision, load)
        if model.knows_colours:  # an untrained one would rank by chance
            vector = model.embed_texts([", ".join(question.words)]).float()[0].numpy()
            found = catalog.find(question.tags, (), vector, limit)
    return [Hit(row.shot, near) for row, near in found]


def to_rows(hits: Sequence[Hit], footage: Sequence[Footage]) -> list[dict[str, Any]]:
    """Hits as plain values, with the file each shot is from."""
    paths = {record.footage_id: record.path for record in footage if record.status == "usable"}
    return [
        {
            "shot_id": hit.shot.shot_id, "path": paths.get(hit.shot.footage_id, ""), "start_s": hit.shot.start_s,
            "end_s": hit.shot.end_s, "likeness": None if hit.likeness is None else round(hit.likeness, 4),
            "content": hit.shot.content, "caption": hit.shot.caption_long,
        } for hit in hits
    ]  # fmt: skip


def _tag_of(part: str) -> tuple[str, str] | None:
    axis, is_pair, value = (text.strip() for text in part.partition("="))
    if is_pair:
        if axis not in AXES or value not in (*AXES[axis], NA, UNKNOWN):
            allowed = f"one of {', '.join((*AXES[axis], NA, UNKNOWN))}" if axis in AXES else f"an axis is one of {', '.join(AXES)}"
            raise FootageError(f"{part!r} names no tag: {allowed}")
        return axis, value
    return _phrases().get(_plain(part))


def _phrases() -> dict[str, tuple[str, str]]:
    known = {_plain(phrase): (axis, value) for axis, values in AXES.items() for value, said in values.items() for phrase in said}
    known |= {_plain(value): (axis, value) for axis, values in AXES.items() for value in values if "_" in value}
    named = ((axis, value, name) for axis, values in NICKNAMES.items() for value, names in values.items() for name in names)
    return known | {_plain(name): (axis, value) for axis, value, name in named}


def _plain(text: str) -> str:
    """Lower case, no hyphens, no article in front."""
    return re.sub(r"^(a|an|the|with|in) ", "", re.sub(r"[-_\s]+", " ", text.lower()).strip())


def _model(folder: Path | None, load: LoadVision | None) -> zero_shot.ImageTextModel:
    folder = usable_vision_folder(folder)
    if folder is None:
        raise FootageError("there is no vision model to compare with: give its folder with --vision")
    if load is not None:
        return load(folder)
    from lora_studio.vision import load_vision  # imports torch

    return load_vision(folder)


def _vector_of(catalog: Catalog, like: str, model: Callable[[], zero_shot.ImageTextModel]) -> np.ndarray:
    known = next((row for row in catalog.shots() if row.shot.shot_id == like), None)
    if known is not None:
        if known.vector is None:
            raise FootageError(f"shot {like} has not been looked at yet: run `data-tools tag` first")
        return known.vector
    path = Path(like)
    if not path.is_file():
        raise FootageError(f"--like {like} is neither the id of a shot nor a picture file")
    from PIL import Image, UnidentifiedImageError

    try:
        picture = np.asarray(Image.open(path).convert("RGB"))
    except (UnidentifiedImageError, OSError) as fault:
        raise FootageError(f"--like {like} is no picture that can be read: {fault}") from None
    return model().embed_images(picture[None]).float()[0].numpy()
