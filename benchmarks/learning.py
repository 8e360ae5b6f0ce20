"""What nova-nano and its adapters have learned, on footage whose truth is known.

    python benchmarks/learning.py base            # 200 unseen prompts: colour, shape, angle, light of the base model
    python benchmarks/learning.py brands          # three brands it has never seen, five seeds: base, adapter, real footage

`base`: scenes of the stage that no lesson showed are described in words, the base model makes a clip of each, and the judge
(benchmarks/judge.py, trained on stage renders alone) names what it sees. `guessing` is the share that the same clips get right
for the prompts of other clips. `renders` is what the judge gets right on renders of those very scenes: a model can hardly beat it.

`brands`: for each brand the public commands make a workspace of its footage and an adapter by the shipped recipe, seed by seed.
An index of 0 is the base with the same prompts and seeds, 100 is real footage of scenes that nobody trained on.

Writes benchmarks/results/learning_PART.json and docs/pictures/learning_PART.png. Goes on where it was stopped.

B clips, F frames, H W pixels.
"""

import argparse
import math
import random
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from scipy.special import stdtrit
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import learning_brand, learning_scores
from benchmarks.judge import AXES, RESULTS, answers_of, load_judge
from benchmarks.learning_scores import Seen, look
from data_tools.stage import KITS, BrandKit
from data_tools.stage.lessons import FPS, HEIGHT, WIDTH, Lesson, lesson
from data_tools.stage.render import render
from lora_studio.files import write_json
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nano.lessons import compose_caption
from lora_studio.nova import weights
from lora_studio.threads import share_cores

SCALES: Final = ("medium_wide", "medium", "medium_close_up")  # where a shape can be told and all of it is in the picture
UNSEEN: Final = 1_000_000  # lessons from this number on are never trained on
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


def shares(found: dict[str, torch.Tensor], lessons: list[Lesson], shift: int = 0) -> dict[str, float]:
    """Share of clips named as asked; `shift` compares with the prompts of other clips."""
    answers = [answers_of(item.truth) for item in lessons[shift:] + lessons[:shift]]
    wanted = {axis: torch.tensor([answer[axis] for answer in answers]) for axis in AXES}
    return {axis: round(float((found[axis] == wanted[axis]).float().mean()), 3) for axis in AXES}


def judge_base(folder: Path, count: int) -> dict[str, Any]:
    """The table of part `base`, and its picture."""
    lessons = unseen_lessons(count)
    clips = learning_brand.make_clips(folder, [(prompt_of(item), number) for number, item in enumerate(lessons)], SETTINGS)
    rendered = np.stack([render(item.scene, HEIGHT, WIDTH, 9, FPS) for item in tqdm(lessons, desc="renders", unit="clip")])
    judge = load_judge()
    found = look(judge, clips).named
    draw_sheet(rendered[:24, 4], clips[:24, 4], PICTURES / "learning_base.png")
    return {
        "prompts": count,
        "settings": SETTINGS.model_dump(),
        "base": shares(found, lessons),
        "guessing": shares(found, lessons, shift=1),
        "renders": shares(look(judge, rendered).named, lessons),
    }


class Proof:
    """One brand: its footage, what is asked, and the ruler that its clips are measured with."""

    def __init__(self, work: Path, kit: BrandKit, folder: Path, model: str, num_files: int = 12) -> None:
        self.work, self.kit, self.folder = work, kit, folder
        name = kit.name.lower() if num_files == 12 else f"{kit.name.lower()}_{num_files}"
        self.name, self.rows, self.judge = name, learning_brand.asked(kit), load_judge()
        self.workspace = learning_brand.prepare(work, name, kit, model, num_files)
        real = learning_brand.clips_of(work / f"{name}_clips" / "real.npy", lambda: learning_brand.real_clips(kit, self.rows))
        self.real, self.real_seen = real, look(self.judge, real)
        self.real_rows = [row for row in self.rows if row.is_brand and row.seed < 2]
        products = learning_brand.gallery(kit, self.rows)
        self.look_alikes = [look(self.judge, stills[:, None]).features for stills in products]
        self.training = look(self.judge, learning_brand.training_frames(self.workspace)[:, None]).features
        self.base = self.clips("base", None)

    def clips(self, name: str, adapter: Path | None) -> np.ndarray:
        """All that is asked for, by the base or with an adapter; made once."""
        rows = [(row.text, row.seed) for row in self.rows]
        path = self.work / f"{self.name}_clips" / f"{name}.npy"
        return learning_brand.clips_of(path, lambda: learning_brand.make_clips(self.folder, rows, SETTINGS, adapter))

    def raw(self, clips: np.ndarray, seen: Seen) -> dict[str, np.ndarray]:
        """What can be indexed, clip by clip."""
        colours = learning_scores.palette(clips, self.kit.product)
        return {"palette": colours, "identity": learning_scores.identity(seen, self.look_alikes)}

    def measure(self, clips: np.ndarray) -> dict[str, float]:
        """One line of the table: the scores of an adapter's clips beside those of the base."""
        ours, theirs = look(self.judge, clips), look(self.judge, self.base)
        brand = np.array([row.is_brand for row in self.rows])
        unshot = brand & ~np.array([row.was_shot for row in self.rows])
        score, base, real = self.raw(clips, ours), self.raw(self.base, theirs), self.raw(self.real, self.real_seen)
        told: dict[str, float] = {}
        for axis in score:
            floor, ceiling = base[axis][brand].mean(), real[axis].mean()
            told |= {f"{axis} base": floor, f"{axis} adapter": score[axis][brand].mean(), f"{axis} real": ceiling}
            told[f"{axis} index"] = learning_scores.index(score[axis][brand].mean(), floor, ceiling)
            told[f"{axis} leakage"] = learning_scores.index(score[axis][~brand].mean(), base[axis][~brand].mean(),
                                                            base[axis][~brand].mean() + ceiling - floor)  # fmt: skip
            told[f"{axis} index unshot"] = learning_scores.index(score[axis][unshot].mean(), base[axis][unshot].mean(), ceiling)
        asked = (learning_scores.fidelity(ours, self.rows), learning_scores.fidelity(theirs, self.rows))
        told |= {"fidelity base": asked[1].mean(), "fidelity adapter": asked[0].mean(),
                 "fidelity real": learning_scores.fidelity(self.real_seen, self.real_rows).mean(),
                 "fidelity loss": asked[1].mean() - asked[0].mean(),
                 "fidelity loss unshot": asked[1][unshot].mean() - asked[0][unshot].mean()}  # fmt: skip
        picked = Seen(ours.features[brand], {}), [row for row in self.rows if row.is_brand]
        before = Seen(theirs.features[brand], {}), picked[1]
        told["copies"] = learning_scores.copies(picked[0], self.real_seen, self.training)
        told["diversity of base"] = learning_scores.diversity(*picked) / learning_scores.diversity(*before)
        return {key: round(float(value), 4) for key, value in told.items()}


def prove_brands(folder: Path, model: str, work: Path, recipe: Path, brands: list[str], seeds: int) -> dict[str, Any]:
    """The table of part `brands`, and its picture."""
    lines, pictures = [], []
    for name in brands:
        proof = Proof(work, KITS[name], folder, model)
        for seed in range(seeds):
            run = learning_brand.train(proof.workspace, recipe, f"seed-{seed}", [f"train.seed={seed}", f"model.base={model}"])
            clips = proof.clips(run.name, run.folder / "adapter")
            seconds = sum(row.get("seconds", 0.0) for row in run.metrics())
            lines.append({"brand": name, "seed": seed, "training seconds": round(seconds, 1), **proof.measure(clips)})
            sys.stdout.write(f"{lines[-1]}\n")
            if seed == 0:
                pictures.append(strip_of(proof, clips))
    Image.fromarray(np.concatenate(pictures)).save(PICTURES / "learning_brands.png")
    return {"settings": SETTINGS.model_dump(), "recipe": recipe.name, "runs": lines, "mean": means_of(lines)}


def means_of(lines: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over brands and seeds, and the half width of its 95 % interval over the seeds' means."""
    found, seeds = {}, sorted({line["seed"] for line in lines})
    for key in (key for key in lines[0] if key not in ("brand", "seed")):
        by_seed = [statistics.fmean(line[key] for line in lines if line["seed"] == seed) for seed in seeds]
        error = statistics.stdev(by_seed) / len(by_seed) ** 0.5 if len(by_seed) > 1 else math.nan
        found[key] = {"mean": round(statistics.fmean(by_seed), 4), "±": round(float(stdtrit(len(by_seed) - 1, 0.975)) * error, 4)}
    return found


def strip_of(proof: Proof, clips: np.ndarray) -> np.ndarray:
    """Six prompts of a brand, middle frames: real footage above, then the base, then the adapter. (3 H, 6 W, 3)"""
    chosen = [number for number, row in enumerate(proof.rows) if row.is_brand and row.seed == 0][::2]
    real = [number for number, row in enumerate(proof.real_rows) if row.seed == 0][::2]
    rows = (proof.real[real, 4], proof.base[chosen, 4], clips[chosen, 4])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])


def draw_sheet(above: np.ndarray, below: np.ndarray, path: Path, columns: int = 6) -> None:
    """Pairs of frames (B, H, W, 3), one over the other, in a grid."""
    pairs = np.concatenate([above, below], axis=1)
    rows = [np.concatenate(list(pairs[i : i + columns]), axis=1) for i in range(0, len(pairs), columns)]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("base", "brands"))
    parser.add_argument("--model", default="nano", help="nano, or a folder")
    parser.add_argument("--work", type=Path, default=Path("build/learning"), help="where footage, runs and clips are kept")
    parser.add_argument("--count", type=int, default=200, help="prompts of part `base`")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nano_look.toml"), help="of part `brands`")
    parser.add_argument("--brands", nargs="+", default=list(KITS), choices=list(KITS))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    share_cores()
    folder = weights.find_model(arguments.model)
    if arguments.part == "base":
        result = judge_base(folder, arguments.count)
        told = {row: result[row] for row in ("base", "guessing", "renders")}
    else:
        result = prove_brands(folder, arguments.model, arguments.work, arguments.recipe, arguments.brands, arguments.seeds)
        told = result["mean"]
    write_json(RESULTS / f"learning_{arguments.part}.json", result)
    for row, shown in told.items():
        sys.stdout.write(f"{row:24} " + "  ".join(f"{key} {value:.3g}" for key, value in shown.items()) + "\n")


if __name__ == "__main__":
    main()
