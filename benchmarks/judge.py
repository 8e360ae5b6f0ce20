"""The judge of the learning proof: names shape, body colour, camera angle and light of a frame. Trained on stage renders alone.

    python benchmarks/judge.py --lessons build/nano/lessons      # trains it and prints what it gets right

It has never seen a generated picture, knows nothing of the model it judges, and its own mistakes on unseen renders are printed and
kept, because no share it reports can be trusted beyond them. Blurred, bent and half unsharp renders are among its lessons: what a
small model draws softly should be judged by its content. The segmenter, trained on renders alone too, shows it where the product
is; train that first.

Writes judge_trained.safetensors and .json beside the lessons; `--publish` puts both into benchmarks/results, in the place of those
that the published figures were measured with.

B frames, H W pixels (64 x 96 inside).
"""

import argparse
import itertools
import random
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.frames import (
    HELD_BACK,
    RESULTS,
    SCALES,
    SMALL_SHARE,
    load_trained,
    moved,
    prepare,
    softened,
    usable_stills,
    worn,
    write_trained,
)
from benchmarks.segmenter import Segmenter, load_segmenter
from data_tools.stage.colours import NAMED
from data_tools.stage.shapes import SHAPES
from lora_studio import taxonomy
from lora_studio.errors import run_command
from lora_studio.nano.lessons import Lessons, draw_lesson, mirrored
from lora_studio.nano.progress import Course, Progress, autocast
from lora_studio.threads import share_cores

JUDGE: Final = RESULTS / "judge.safetensors"
AXES: Final = {
    "shape": tuple(SHAPES),
    "colour": tuple(NAMED),
    "angle": tuple(taxonomy.AXES_V1["angle.vertical"]),
    "light": tuple(taxonomy.AXES_V1["light.direction"]),
}
_MIRRORED: Final = ("shape", "colour", "angle")  # the same in the mirror
_TRUTH: Final = {"shape": "shape", "colour": "body"}
_TAGS: Final = {"angle": "angle.vertical", "light": "light.direction"}


class Judge(nn.Module):
    """A small residual network with one head for each axis; the last map keeps its places, because light has a side.

    Beside the colours it sees what the segmenter, which is part of it and is not trained with it, takes for the product.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 128)
        self.segmenter = Segmenter().requires_grad_(False)
        self.stem = nn.Conv2d(4, widths[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Block(i, o) for i, o in itertools.pairwise(widths))
        self.hidden = nn.Linear(widths[-1] * 4 * 6, 256)
        self.heads = nn.ModuleDict({axis: nn.Linear(256, len(values)) for axis, values in AXES.items()})

    def features(self, frames: Tensor) -> Tensor:
        """(B, 3, 64, 96) in -1..1 -> what all answers are read from, (B, 256)."""
        cover = self.segmenter(frames).float().sigmoid()[:, None] * 2 - 1
        x = self.stem(torch.cat([frames, cover], dim=1))
        for block in self.blocks:
            x = block(x)
        return functional.dropout(functional.silu(self.hidden(x.flatten(1))), 0.1, self.training)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        """(B, 3, 64, 96) in -1..1 -> logits by axis, (B, values)."""
        hidden = self.features(frames)
        return {axis: head(hidden) for axis, head in self.heads.items()}


class _Block(nn.Module):
    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, width), nn.GroupNorm(4, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, out_width, 3, padding=1)
        self.short = nn.Conv2d(width, out_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C_out, H / 2, W / 2)."""
        y = self.conv2(functional.silu(self.norm2(self.conv1(functional.silu(self.norm1(x))))))
        return functional.avg_pool2d(y + self.short(x), 2)


def answers_of(truth: dict, flip: bool = False) -> dict[str, int]:
    """The right answer of each axis."""
    tags = mirrored(truth["tags"]) if flip else truth["tags"]
    words = {axis: truth[key] for axis, key in _TRUTH.items()} | {axis: tags[key] for axis, key in _TAGS.items()}
    return {axis: AXES[axis].index(word) for axis, word in words.items()}


def loss_of(judge: Judge, stills: Lessons, clips: Lessons, course: Course, step: int) -> dict[str, Tensor]:
    """Cross entropy of all axes on one batch: moved, resized, mirrored, some soft, brightness and noise a little off."""
    chance = random.Random(f"{course.seed}/{step}")
    generator = torch.Generator().manual_seed(chance.getrandbits(60))
    frames, answers = zip(*(_lesson(stills, clips, chance) for _ in range(course.batch_size)), strict=True)
    pixels = softened(moved(prepare(np.stack(frames)), generator), generator)
    pixels = worn(pixels, chance, generator)
    device = judge.stem.weight.device
    torch.manual_seed(chance.getrandbits(60))  # of the dropout: a step done again is the same
    with autocast():
        logits = judge(pixels.to(device))
    wanted = {axis: torch.tensor([a[axis] for a in answers], device=device) for axis in AXES}
    return {axis: functional.cross_entropy(rows.float(), wanted[axis]) for axis, rows in logits.items()}


def _lesson(stills: Lessons, clips: Lessons, chance: random.Random) -> tuple[np.ndarray, dict[str, int]]:
    """A still that is not held back or any frame of a clip, now and then in the mirror: (H, W, 3), and the right answers."""
    flip = chance.random() < 0.5
    usable = len(stills) - HELD_BACK
    lessons, among = (clips, len(clips)) if chance.randrange(usable + len(clips)) < len(clips) else (stills, usable)
    index = draw_lesson(lessons, SMALL_SHARE, chance, among)
    frames = lessons.frames(index)
    frame = frames[chance.randrange(len(frames))]
    return frame[:, ::-1] if flip else frame, answers_of(lessons.truths[index], flip)


def judge_frames(judge: Judge, frames: np.ndarray) -> dict[str, Tensor]:
    """uint8 (B, H, W, 3) -> probabilities by axis, (B, values); what a mirror leaves alone is the mean with the mirror image's."""
    with torch.inference_mode():
        pixels = prepare(frames)
        found = {axis: rows.softmax(-1) for axis, rows in judge(pixels).items()}
        mirror = judge(pixels.flip(-1))
        return found | {axis: (found[axis] + mirror[axis].softmax(-1)) / 2 for axis in _MIRRORED}


def load_judge() -> Judge:
    """The trained judge; ends as `trained` does."""
    return load_trained(Judge(), JUDGE)


def accuracy(judge: Judge, lessons: Lessons, scales: tuple[str, ...] | None) -> dict[str, float]:
    """Share of right answers on the lessons held back; `scales` keeps some shot sizes only."""
    unseen = range(len(lessons) - HELD_BACK, len(lessons))
    indices = [i for i in unseen if scales is None or lessons.truths[i]["tags"]["angle.scale"] in scales]
    right: dict[str, list[bool]] = {axis: [] for axis in AXES}
    for index in indices:
        found = judge_frames(judge, lessons.frames(index))
        for axis, answer in answers_of(lessons.truths[index]).items():
            right[axis].append(int(found[axis][0].argmax()) == answer)
    return {axis: round(sum(hits) / len(hits), 3) for axis, hits in right.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lessons", type=Path, required=True, help="folder of `data-tools lessons`")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many; the next call goes on")
    parser.add_argument("--publish", action="store_true", help="take the place of the published one")
    arguments = parser.parse_args()
    share_cores()
    run_command(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> None:
    """Trains a judge, measures it and writes it."""
    stills, clips = usable_stills(arguments.lessons), Lessons(arguments.lessons, "clips")
    course = Course(steps=arguments.steps, batch_size=64, lr=1e-3, weight_decay=0.05)
    torch.manual_seed(0)
    judge = Judge()
    judge.segmenter.load_state_dict(load_segmenter().state_dict())
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU
    progress = Progress(judge, course, arguments.lessons.parent / "judge.safetensors")
    progress.advance(arguments.minutes, lambda step: loss_of(judge, stills, clips, course, step))
    progress.use_average()
    judge.cpu().eval()
    told = {
        "steps": progress.step,
        "stills": len(stills) - HELD_BACK,
        "clips": len(clips),
        "right on unseen renders": accuracy(judge, stills, None),
        "of those medium_wide to medium_close_up": accuracy(judge, stills, SCALES),
    }
    write_trained(JUDGE if arguments.publish else arguments.lessons.parent / "judge_trained.safetensors", judge, told)


if __name__ == "__main__":
    main()
