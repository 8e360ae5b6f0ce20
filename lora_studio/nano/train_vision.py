"""Trains nova-nano's open_clip model on lessons: `python -m lora_studio.nano.train_vision recipes/nano/vision.toml --work FOLDER`.

Pictures and texts are drawn together, as in CLIP (Radford et al. 2021), but a text that says little fits many pictures of a
batch: since the truth of every lesson is known, all that fit count as right. One picture in sixteen is a plain colour card.

B pictures and texts of a batch, V facts.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import open_clip
import torch
import typer
from torch import Tensor
from torch.nn import functional

from lora_studio.errors import run_command
from lora_studio.nano import sizes
from lora_studio.nano.build import write_weights
from lora_studio.nano.lessons import Lessons, as_pixels, mirrored, parts_of
from lora_studio.nano.progress import Course, Progress, read_course
from lora_studio.taxonomy import AXES_V1
from lora_studio.vision import COLOUR_CARDS

_CARDS: Final = 16  # every so many pictures one is a plain colour
_STRAY: Final = 18  # how far a card's channels stray from the named colour, of 255
_TEMPLATES: Final = ("{}", "{}", "a photo, {}", "a film still, {}", "a frame from a commercial, {}", "cinematography: {}")
_SEEN_AXES: Final = tuple(axis for axis in AXES_V1 if axis != "angle.movement")  # one frame shows no movement

Facts = dict[str, str]


def facts_of(truth: dict[str, Any], flip: bool) -> Facts:
    """Everything true of a lesson that a text may claim."""
    tags = mirrored(truth["tags"]) if flip else truth["tags"]
    seen = {axis: tags[axis] for axis in _SEEN_AXES}
    return {"content": truth["content"], "shape": truth["shape"], "body": truth["body"], "set": _set_of(truth["content"]), **seen}


def card(chance: random.Random) -> tuple[np.ndarray, Facts]:
    """A plain card, uint8 (1, 2, 3, 3) before it is enlarged, and its facts."""
    name = chance.choice(list(COLOUR_CARDS))
    colour = [min(max(round(channel + chance.uniform(-_STRAY, _STRAY)), 0), 255) for channel in COLOUR_CARDS[name]]
    return np.full((1, 2, 3, 3), colour, dtype=np.uint8), {"card": name}


def claim(facts: Facts, chance: random.Random) -> tuple[Facts, str]:
    """Some of the facts, and a text that claims exactly these."""
    if "card" in facts:
        return facts, chance.choice(("a {} image", "a {} picture", "plain {}", "a {} background")).format(facts["card"])
    subject, things = _subject(facts, chance)
    told = [axis for axis in _SEEN_AXES if axis != "angle.dutch" or facts[axis] == "yes"]
    told = chance.sample(told, chance.choice((1, 1, 2, 3, 5)) if things else chance.choice((1, 1, 1, 2)))
    if subject and chance.random() < 0.35:
        told = []
    words = [subject] if subject else []
    words += [chance.choice(AXES_V1[axis][facts[axis]]) for axis in told]
    return {**things, **{axis: facts[axis] for axis in told}}, chance.choice(_TEMPLATES).format(", ".join(words))


def _subject(facts: Facts, chance: random.Random) -> tuple[str, Facts]:
    thing, _, _ = parts_of(facts)
    noun = f"{'an' if facts['body'][0] in 'aeiou' else 'a'} {facts['body']} {thing}"
    told = chance.choice(("all", "all", "noun", "noun", "thing", "set", "none", "none", "none"))
    return {
        "all": (facts["content"], {"content": facts["content"]}),
        "noun": (noun, {"body": facts["body"], "shape": facts["shape"]}),
        "thing": (f"a {thing}", {"shape": facts["shape"]}),
        "set": (facts["set"], {"set": facts["set"]}),
        "none": ("", {}),
    }[told]


def _set_of(content: str) -> str:
    """What a lesson's words say of the place: `a grey backdrop`, also where it has a disc; `a beige surface`."""
    return content.rsplit(" against ", 1)[-1].rsplit(" on ", 1)[-1].partition(" with ")[0]


def fits(facts: Sequence[Facts], claims: Sequence[Facts]) -> Tensor:
    """(B, B) bool: whether picture i is all that text j claims."""
    places: dict[tuple[str, str], int] = {}
    for table in (*facts, *claims):
        for item in table.items():
            places.setdefault(item, len(places))
    true, claimed = torch.zeros(len(facts), len(places)), torch.zeros(len(claims), len(places))
    for matrix, tables in ((true, facts), (claimed, claims)):
        for row, table in enumerate(tables):
            matrix[row, [places[item] for item in table.items()]] = 1.0
    return true @ claimed.T == claimed.sum(1)


def loss_of(logits: Tensor, right: Tensor) -> Tensor:
    """Cross entropy both ways; all that fit share the right answer evenly. (B, B) each, pictures by rows."""
    shares = right.float()
    by_text = -(shares / shares.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    by_picture = -(shares / shares.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return 0.5 * (by_text + by_picture)


def prepare(frames: Tensor) -> Tensor:
    """(B, 3, H, W) in -1..1 -> what the model sees: longest side fitted, padded with black, normalised. (B, 3, S, S)."""
    size, settings = sizes.OPEN_CLIP["model_cfg"]["vision_cfg"]["image_size"], sizes.OPEN_CLIP["preprocess_cfg"]
    fitted = functional.interpolate((frames + 1) / 2, (size * 2 // 3, size), mode="bicubic", antialias=True).clamp(0, 1)
    spare = size - fitted.shape[-2]
    square = functional.pad(fitted, (0, 0, spare // 2, spare - spare // 2))
    mean, deviation = (torch.tensor(settings[key])[:, None, None] for key in ("mean", "std"))
    return (square - mean) / deviation


def batch_of(step: int, course: Course, lessons: Lessons) -> tuple[Tensor, list[Facts], list[Facts], list[str]]:
    """Pictures, their facts, and what the texts claim and say."""
    chance = random.Random(f"{course.seed}/{step}")
    pictures, facts = [], []
    for number in range(course.batch_size):
        if number % _CARDS == 0:
            colour, truth = card(chance)
            frame = np.repeat(np.repeat(colour, 64, axis=1), 64, axis=2)
        else:
            index, flip = chance.randrange(len(lessons)), chance.random() < 0.5
            frame, truth = lessons.frames(index), facts_of(lessons.truths[index], flip)
            frame = frame[:1, :, ::-1] if flip else frame[:1]
        pictures.append(frame)
        facts.append(truth)
    claims, texts = zip(*(claim(truth, chance) for truth in facts), strict=True)
    return prepare(as_pixels(pictures)[:, :, 0]), facts, list(claims), list(texts)


def train(course_file: Path, work: Path, model_folder: Path, minutes: float) -> None:
    """Goes on with the training in `work`; writes the weights into `model_folder`/open_clip, whose tokenizer is used."""
    course = read_course(course_file, Course)
    lessons, folder = Lessons(work / "lessons", "stills"), model_folder / "open_clip"
    torch.manual_seed(course.seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    assert isinstance(model, open_clip.CLIP)
    scaling = model.logit_scale
    assert isinstance(scaling, Tensor)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    progress = Progress(model, course, work / "vision.safetensors")

    def loss_of_step(step: int) -> dict[str, Tensor]:
        pictures, facts, claims, texts = batch_of(step, course, lessons)
        device = scaling.device
        seen, read, scale = model(pictures.to(device), tokenizer(texts).to(device))  # in float32: for this model faster on CPUs
        scaling.data.clamp_(max=4.6)  # a factor of 100 at most, as published
        return {"loss": loss_of(scale * seen @ read.T, fits(facts, claims).to(device))}

    progress.advance(minutes, loss_of_step)
    progress.use_average()
    write_weights(folder / "open_clip_model.safetensors", model.state_dict())


def main(
    course: Annotated[Path, typer.Argument(help="recipes/nano/vision.toml")],
    work: Annotated[Path, typer.Option(help="Folder of the lessons and of the progress.")],
    model: Annotated[Path, typer.Option(help="The model folder whose open_clip model is trained.")],
    minutes: Annotated[float, typer.Option(help="Stop after so many; the next call goes on.")] = 1e6,
) -> None:
    """Train nova-nano's open_clip model."""
    run_command(lambda: train(course, work, model, minutes))


if __name__ == "__main__":
    typer.run(main)
