"""What nova-nano and its adapters have learned, on footage whose truth is known.

    python benchmarks/learning.py vae             # unseen clips, encoded and decoded: absolute error by frame
    python benchmarks/learning.py base            # 200 unseen prompts: colour, shape, angle, light of the base model
    python benchmarks/learning.py brands          # three brands it has never seen, five seeds: base, adapter, real footage
    python benchmarks/learning.py fresh           # the same of three brands that nothing was chosen by
    python benchmarks/learning.py ablation        # which layers, which rank, how many steps
    python benchmarks/learning.py data            # how many films

`vae`: what is left of unseen clips after the autoencoder: mean absolute error of pixels, of the whole range from black to white.

`base`: scenes of the stage that no lesson showed are described in words, the base model makes a clip of each, and the judge
(benchmarks/judge.py, trained on stage renders alone) names what it sees. `guessing` is the share that the same clips get right
for the prompts of other clips. `renders` is what the judge gets right on renders of those very scenes: a model can hardly beat it;
`decoded` is the same after the autoencoder, which is all that a backbone can do.

`brands`: for each brand the public commands make a workspace of its footage and an adapter by the shipped recipe, seed by seed.
An index of 0 is the base with the same prompts and seeds, 100 is real footage of scenes that nobody trained on; `decoded` is what
the autoencoder leaves of that footage. `fresh`: other brands, shoots, prompts' sizes and backdrops; recipes were chosen by how they
do on the brands of `brands`, and nothing by these.

`ablation` and `data`: the same figures for variants of the recipe and for fewer or more films, one run each and half the clips.

Writes benchmarks/results/learning_PART.json, line by line, and pictures (docs/pictures/learning_*.png) of vae, base and each brand.
Goes on where it was stopped; lines of another model, recipe, sampler, shoot or judge are never taken for these.

B clips, F frames, H W pixels.
"""

import argparse
import itertools
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import learning_brand
from benchmarks.frames import RESULTS, SCALES, trained
from benchmarks.judge import AXES, JUDGE, answers_of, load_judge
from benchmarks.learning_brand import NUM_FRAMES
from benchmarks.learning_proof import SETTINGS, Lines, Proof, means_of, model_of, require_same, strip_of, work_of
from benchmarks.learning_scores import Cells, brighter_sides, look, measured_colours, product_cells
from benchmarks.segmenter import SEGMENTER, load_segmenter
from data_tools.stage import KITS, BrandKit
from data_tools.stage.brands import FRESH, TRIED
from data_tools.stage.lessons import FPS, HEIGHT, WIDTH, Lesson, lesson
from data_tools.stage.render import render
from lora_studio.errors import run_command
from lora_studio.files import sha256_file, sha256_json, write_json, write_text
from lora_studio.nano.lessons import compose_caption, draw_support
from lora_studio.nova import weights
from lora_studio.recipe import Recipe, load_recipe, recipe_to_toml
from lora_studio.runs import Run
from lora_studio.threads import share_cores
from lora_studio.training.start import recipe_sha256
from lora_studio.wall import dataset_clips

SIDES: Final = ("side_left", "side_right")
# lessons from 1,000,000 on are never trained on; the first of them settled how the base is sampled, those from 2,000,000 on which
# base ships: these are for its figures alone
UNSEEN: Final = 4_000_000
PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"


def unseen_lessons(count: int) -> list[Lesson]:
    """Scenes that no lesson showed, at sizes where everything can be told."""
    numbered = (lesson("clips", number) for number in range(UNSEEN, UNSEEN + 100 * count))
    fitting = (item for item in numbered if item.truth["tags"]["angle.scale"] in SCALES)
    return [next(fitting) for _ in range(count)]


def rulers() -> dict[str, str]:
    """Hashes of the networks that judge."""
    return {"judge": sha256_file(trained(JUDGE)), "segmenter": sha256_file(trained(SEGMENTER))}


def prompt_of(item: Lesson) -> str:
    """The scene in words, at length; half of the low angles without their plinth, half of the views from above without lying."""
    truth = item.truth
    chance = random.Random(item.number)
    while True:
        text = compose_caption(truth["content"], truth["tags"], chance)
        if ". " in text and text.startswith(("a ", "an ")):  # a long one, without a name in front
            return draw_support(text, truth["tags"], chance)


def shares(found: dict[str, torch.Tensor], lessons: list[Lesson], shift: int = 0) -> dict[str, float]:
    """Share of clips named as asked, by axis; `shift` compares with the prompts of other clips."""
    answers = [answers_of(item.truth) for item in lessons[shift:] + lessons[:shift]]
    wanted = {axis: torch.tensor([answer[axis] for answer in answers]) for axis in AXES}
    return {axis: round((found[axis] == wanted[axis]).float().mean().item(), 3) for axis in AXES}


def shares_by_pixels(products: list[Cells], lessons: list[Lesson], shift: int = 0) -> dict[str, float]:
    """The same without the judge: the body's colour as measured, and the lighter side where light from a side was asked for."""
    truths = [item.truth for item in lessons[shift:] + lessons[:shift]]
    colours = [name == truth["body"] for name, truth in zip(measured_colours(products), truths, strict=True)]
    asked = [truth["tags"]["light.direction"] for truth in truths]
    sides = [side == light for side, light in zip(brighter_sides(products), asked, strict=True) if light in SIDES]
    return {"colour measured": round(float(np.mean(colours)), 3), "side measured": round(float(np.mean(sides)), 3)}


def judge_base(folder: Path, count: int, work: Path) -> dict[str, Any]:
    """The table of part `base`, and its picture."""
    lessons = unseen_lessons(count)
    rows = [(prompt_of(item), number) for number, item in enumerate(lessons)]
    kept = work / f"base_{sha256_json(rows)[:12]}.npy"  # other words are other clips
    clips = learning_brand.clips_of(kept, lambda: learning_brand.make_clips(folder, rows, SETTINGS))
    rendered = np.stack([render(item.scene, HEIGHT, WIDTH, NUM_FRAMES, FPS) for item in tqdm(lessons, desc="renders", unit="clip")])
    judge, segmenter = load_judge(), load_segmenter()
    found, products = look(judge, clips).named, product_cells(segmenter, clips)
    real_products = product_cells(segmenter, rendered)
    draw_sheet(rendered[:24, 4], clips[:24, 4], PICTURES / "learning_base.png")
    decoded = learning_brand.through_vae(folder, rendered)
    through = look(judge, decoded).named
    return {
        "prompts": count,
        **rulers(),
        "settings": SETTINGS.model_dump(),
        "base": shares(found, lessons) | shares_by_pixels(products, lessons),
        "base, first frame": shares(look(judge, clips[:, :1]).named, lessons),
        "base, last frame": shares(look(judge, clips[:, -1:]).named, lessons),
        "guessing": shares(found, lessons, shift=1) | shares_by_pixels(products, lessons, shift=1),
        "renders": shares(look(judge, rendered).named, lessons) | shares_by_pixels(real_products, lessons),
        "decoded": shares(through, lessons) | shares_by_pixels(product_cells(segmenter, decoded), lessons),
    }


def judge_vae(folder: Path, count: int) -> dict[str, Any]:
    """The table of part `vae`, and its picture: above as rendered, below as decoded."""
    scenes = [item.scene for item in unseen_lessons(count)]
    rendered = np.stack([render(scene, HEIGHT, WIDTH, NUM_FRAMES, FPS) for scene in tqdm(scenes, desc="renders", unit="clip")])
    decoded = learning_brand.through_vae(folder, rendered)
    errors = np.stack([np.abs(new.astype(np.int16) - old) for new, old in zip(decoded, rendered, strict=True)])
    draw_sheet(rendered[:24, 8], decoded[:24, 8], PICTURES / "learning_vae.png")
    by_frame = errors.mean(axis=(0, 2, 3, 4)) / 255
    return {"clips": count, "error": {"mean": round(float(by_frame.mean()), 4)},
            "by frame": {str(number): round(float(error), 4) for number, error in enumerate(by_frame)}}  # fmt: skip


PRESETS: Final = ("video_encoder", "image_encoder", "image_decoder", "full")
RANKS: Final = (2, 4, 8, 16)
STEPS: Final = (125, 250, 500)
RATES: Final = {"video_encoder": 5e-3, "image_encoder": 2e-3, "image_decoder": 2e-3, "full": 2e-3}  # first and last tried by hand
FILMS: Final = (2, 3, 6, 11, 22)  # twelve films give 43 clips, of which a fifth is held out
FEWER: Final = (0, 1)  # seeds of a prompt in the parts with many variants


@dataclass(frozen=True)
class Bench:
    """What the parts with adapters have in common."""

    folder: Path  # of the model
    model: str  # as a recipe names it
    work: Path
    recipe: Recipe
    kits: Mapping[str, BrandKit]  # all brands of the part
    brands: Sequence[str]  # those that are wanted now

    def lines(self, part: str) -> Lines:
        """The part's table, with the lines that are there."""
        used = {"recipe": self.recipe_sha256, "shoots": learning_brand.shoots_sha256(self.kits.values()), **rulers()}
        return Lines(
            RESULTS / f"learning_{part}.json", {"model": model_of(self.folder), "settings": SETTINGS.model_dump(), **used}
        )

    @property
    def recipe_sha256(self) -> str:
        """Hash of what the recipe says, not of how it is written."""
        return recipe_sha256(self.recipe)

    def proof(self, brand: str, num_files: int = 12, seeds: Sequence[int] = learning_brand.SEEDS) -> Proof:
        """The brand's footage and ruler."""
        return Proof(self.work, self.kits[brand], self.folder, self.model, num_files, seeds)

    def run_name(self, name: str) -> str:
        """A run of another recipe is another run."""
        return f"{name}-{self.recipe_sha256[:8]}"

    def line(self, proof: Proof, name: str, changes: Sequence[str]) -> dict[str, Any]:
        """Trains a run, makes its clips and measures them."""
        recipe = self.work / f"recipe_{self.recipe_sha256[:8]}.toml"  # as it was when this began, whatever becomes of the file
        write_text(recipe, recipe_to_toml(self.recipe))
        run = learning_brand.train(proof.workspace, recipe, self.run_name(name), [*changes, f"model.base={self.model}"])
        state, seconds = run.state(), sum(row.get("seconds", 0.0) for row in run.metrics())
        assert state is not None
        told = {"training seconds": round(seconds, 1), "parameters": state.num_parameters}
        return {**told, **proof.measure(proof.clips(run))}


def variants() -> dict[str, list[str]]:
    """The variants of part `ablation`: name -> what it changes in the recipe."""
    return {
        f"{preset}-r{rank}-s{steps}": [f"adapter.preset={preset}", f"adapter.rank={rank}", f"adapter.alpha={rank}",
                                       f"train.steps={steps}", f"optim.lr={RATES[preset]}"]
        for preset, rank, steps in itertools.product(PRESETS, RANKS, STEPS)
    }  # fmt: skip


def prove_variants(bench: Bench, only: str) -> dict[str, Any]:
    """The table of part `ablation`: variants of the recipe whose name begins with `only`, with seconds and size."""
    lines = bench.lines("ablation")
    for name in bench.brands:
        proof = None
        for variant, changes in variants().items():
            if not variant.startswith(only) or lines.has(brand=name, variant=variant):
                continue
            proof = proof or bench.proof(name, seeds=FEWER)
            line = {"brand": name, "variant": variant, **bench.line(proof, variant, changes)}
            lines.add(line)
            tell(line)
    return {"runs": len(lines.lines)}


def prove_amounts(bench: Bench) -> dict[str, Any]:
    """The table of part `data`."""
    lines = bench.lines("data")
    for name, count in itertools.product(bench.brands, FILMS):
        if not lines.has(brand=name, films=count):
            proof = bench.proof(name, count, FEWER)
            clips = len(dataset_clips(proof.workspace, "train"))
            line = {"brand": name, "films": count, "clips": clips, **bench.line(proof, "seed-0", ["train.seed=0"])}
            lines.add(line)
            tell(line)
    return {"runs": len(lines.lines)}


def prove_brands(bench: Bench, part: str, seeds: int) -> dict[str, Any]:
    """The table of part `brands` or `fresh`, and a picture of each brand."""
    lines = bench.lines(part)
    for name in bench.brands:
        missing = [seed for seed in range(seeds) if not lines.has(brand=name, seed=seed)]
        proof = bench.proof(name) if missing else None
        for seed in missing:
            assert proof is not None
            line = {"brand": name, "seed": seed, **bench.line(proof, f"seed-{seed}", [f"train.seed={seed}"])}
            if seed == 0:
                strip = strip_of(proof, proof.clips(Run(proof.workspace.runs / bench.run_name("seed-0"))))
                Image.fromarray(strip).save(PICTURES / f"learning_{name}.png")
            lines.add(line)
            tell(line)
    return means_of([line for line in lines.lines if line["brand"] in bench.brands and line["seed"] < seeds])


def tell(line: dict[str, Any]) -> None:
    """Prints a line as soon as it is measured."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def draw_sheet(above: np.ndarray, below: np.ndarray, path: Path, columns: int = 6) -> None:
    """Pairs of frames (B, H, W, 3), one over the other, in a grid."""
    pairs = np.concatenate([above, below], axis=1)
    columns = min(columns, len(pairs))
    pairs = pairs[: len(pairs) // columns * columns]
    rows = [np.concatenate(list(pairs[i : i + columns]), axis=1) for i in range(0, len(pairs), columns)]
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("vae", "base", "brands", "fresh", "ablation", "data"))
    parser.add_argument("--model", default="nano", help="nano, or a folder")
    parser.add_argument("--work", type=Path, default=Path("build/learning"), help="where footage, runs and clips are kept")
    parser.add_argument("--count", type=int, default=200, help="prompts of part `base`, clips of part `vae`")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nano_look.toml"), help="of the parts with adapters")
    parser.add_argument("--brands", nargs="+", choices=list(KITS), help="of the parts with adapters (default: all of the part's)")
    parser.add_argument("--seeds", type=int, default=5, help="of parts `brands` and `fresh`")
    parser.add_argument("--only", default="", help="of part `ablation`: variants whose name begins so, such as full-r8")
    arguments = parser.parse_args()
    share_cores()
    run_command(lambda: print_part(arguments))


def print_part(arguments: argparse.Namespace) -> None:
    """Runs one part and prints what it says."""
    for row, shown in run_part(arguments, weights.find_model(arguments.model)).items():
        sys.stdout.write(f"{row:24} {shown}\n")


def run_part(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What one part says in the end; all of it is in its file."""
    if arguments.part in ("vae", "base"):
        path = RESULTS / f"learning_{arguments.part}.json"
        work = work_of(arguments.work, folder, TRIED.values())
        require_same(path, {"model": model_of(folder)})
        told = judge_vae(folder, arguments.count) if arguments.part == "vae" else judge_base(folder, arguments.count, work)
        result = {"model": model_of(folder), **told}
        write_json(path, result)
        return result
    kits = FRESH if arguments.part == "fresh" else TRIED
    brands = arguments.brands or list(kits)
    if others := set(brands) - set(kits):
        raise SystemExit(f"part {arguments.part} has the brands {', '.join(kits)}, got --brands {', '.join(sorted(others))}")
    work = work_of(arguments.work, folder, kits.values())
    bench = Bench(folder, arguments.model, work, load_recipe(arguments.recipe), kits, brands)
    parts = {
        "brands": lambda: prove_brands(bench, "brands", arguments.seeds),
        "fresh": lambda: prove_brands(bench, "fresh", arguments.seeds),
        "ablation": lambda: prove_variants(bench, arguments.only),
        "data": lambda: prove_amounts(bench),
    }
    return parts[arguments.part]()


if __name__ == "__main__":
    main()
