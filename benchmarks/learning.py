"""What nova-nano and its adapters have learned, on footage whose truth is known.

    python benchmarks/learning.py base            # 200 unseen prompts: colour, shape, angle, light of the base model

`base`: scenes of the stage that no lesson showed are described in words, the base model makes a clip of each, and the judge
(benchmarks/judge.py, trained on stage renders alone) names what it sees. `guessing` is the share that the same clips get right
for the prompts of other clips. `renders` is what the judge gets right on renders of those very scenes: a model can hardly beat it.

Writes benchmarks/results/learning_base.json and docs/pictures/learning_base.png (above: asked, rendered; below: made).

B clips, F frames, H W pixels.
"""

import argparse
import random
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.judge import AXES, RESULTS, answers_of, judge_frames, load_judge
from data_tools.stage.lessons import FPS, HEIGHT, WIDTH, Lesson, lesson
from data_tools.stage.render import render
from lora_studio.files import write_json
from lora_studio.generation.sampler import generate
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nano.lessons import compose_caption
from lora_studio.nova import weights
from lora_studio.threads import share_cores

SCALES: Final = ("medium_wide", "medium", "medium_close_up")  # where a shape can be told and all of it is in the picture
UNSEEN: Final = 1_000_000  # lessons from this number on are never trained on
LOOKED_AT: Final = (0, 4, 8)  # frames of a clip
SETTINGS: Final = SamplerSettings(num_steps=24, num_diffusion_steps=25, guidance=4.0)
PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"


def unseen_lessons(count: int) -> list[Lesson]:
    """Scenes that no lesson showed, at sizes where everything can be told."""
    numbered = (lesson("clips", number) for number in range(UNSEEN, UNSEEN + 100 * count))
    fitting = (item for item in numbered if item.truth["tags"]["angle.scale"] in SCALES)
    return [next(fitting) for _ in range(count)]


def prompt_of(item: Lesson) -> str:
    """The scene in words, everything said."""
    truth = item.truth
    chance = random.Random(item.number)
    while True:
        text = compose_caption(truth["content"], truth["tags"], chance)
        if ". " in text and text.startswith(("a ", "an ")):  # a long one, without a made-up word in front
            return text


def make_clips(folder: Path, prompts: list[str], settings: SamplerSettings, batch: int = 20) -> np.ndarray:
    """uint8 (B, F, H, W, 3), seed 0, 1, 2, ..."""
    transformer, vae = weights.load_transformer(folder), weights.load_vae(folder)
    text, scheduler = weights.load_text(folder), weights.load_scheduler(folder)
    made = []
    for start in tqdm(range(0, len(prompts), batch), desc="clips", unit="batch"):
        rows = text.encode(prompts[start : start + batch])
        made.append(generate(transformer, vae, scheduler, rows, settings, list(range(start, start + len(rows)))))
    return np.concatenate(made)


def named(clips: np.ndarray) -> dict[str, torch.Tensor]:
    """What the judge names in each clip: axis -> (B,) index, by the mean over a few frames."""
    judge = load_judge()
    looked = [judge_frames(judge, clips[:, min(frame, clips.shape[1] - 1)]) for frame in LOOKED_AT]
    return {axis: torch.stack([one[axis] for one in looked]).mean(0).argmax(-1) for axis in AXES}


def shares(found: dict[str, torch.Tensor], lessons: list[Lesson], shift: int = 0) -> dict[str, float]:
    """Share of clips named as asked; `shift` compares with the prompts of other clips."""
    answers = [answers_of(item.truth) for item in lessons[shift:] + lessons[:shift]]
    wanted = {axis: torch.tensor([answer[axis] for answer in answers]) for axis in AXES}
    return {axis: round(float((found[axis] == wanted[axis]).float().mean()), 3) for axis in AXES}


def judge_base(folder: Path, count: int) -> dict[str, Any]:
    """The table of part `base`, and its picture."""
    lessons = unseen_lessons(count)
    clips = make_clips(folder, [prompt_of(item) for item in lessons], SETTINGS)
    rendered = np.stack([render(item.scene, HEIGHT, WIDTH, 9, FPS) for item in tqdm(lessons, desc="renders", unit="clip")])
    found = named(clips)
    draw_sheet(rendered[:24, 4], clips[:24, 4], PICTURES / "learning_base.png")
    return {
        "prompts": count,
        "settings": SETTINGS.model_dump(),
        "base": shares(found, lessons),
        "guessing": shares(found, lessons, shift=1),
        "renders": shares(named(rendered), lessons),
    }


def draw_sheet(above: np.ndarray, below: np.ndarray, path: Path, columns: int = 6) -> None:
    """Pairs of frames (B, H, W, 3), one over the other, in a grid."""
    pairs = np.concatenate([above, below], axis=1)
    rows = [np.concatenate(list(pairs[i : i + columns]), axis=1) for i in range(0, len(pairs), columns)]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("base",))
    parser.add_argument("--model", default="nano", help="nano, or a folder")
    parser.add_argument("--count", type=int, default=200, help="prompts of part `base`")
    arguments = parser.parse_args()
    share_cores()
    result = judge_base(weights.find_model(arguments.model), arguments.count)
    write_json(RESULTS / "learning_base.json", result)
    for row in ("base", "guessing", "renders"):
        sys.stdout.write(f"{row:9} " + "  ".join(f"{axis} {share:.0%}" for axis, share in result[row].items()) + "\n")


if __name__ == "__main__":
    main()
