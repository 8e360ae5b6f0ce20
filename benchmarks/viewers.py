"""What viewers who do not know what was asked for call the body's colour, in the base's clips and in renders of the same scenes.

    python benchmarks/viewers.py draw FOLDER      # sheets of clips to be looked at, and a key that viewers must not see
    python benchmarks/viewers.py count FOLDER     # adds up FOLDER/base_answers_*.json and decoded_answers_*.json

Drawn are all clips of part `base` of learning.py whose colour the judge names wrong, and forty others: first, middle and last
frame, and two swatches in random order, the colour that was asked for and the one that the judge takes for the likeliest
besides. For each number a viewer answers A, B or N (neither), as {"0": "A", ...}. The same is drawn of renders of these scenes,
encoded and decoded. A share counts a clip named right as many times as it stands for; its 95 % interval is over clips.

The pairs are the hardest there are (navy or blue, black or forest green), so these shares are lower than those of a judge that may
name any colour: compare the two sides with each other. Writes benchmarks/results/viewers.json.
"""

import argparse
import random
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import learning_brand
from benchmarks.frames import RESULTS
from benchmarks.judge import AXES, answers_of, judge_frames, load_judge
from benchmarks.learning import prompt_of, unseen_lessons
from benchmarks.learning_brand import NUM_FRAMES
from benchmarks.learning_proof import SETTINGS, work_of
from benchmarks.learning_scores import LOOKED_AT
from data_tools.stage.brands import TRIED
from data_tools.stage.colours import NAMED
from data_tools.stage.lessons import FPS, HEIGHT, WIDTH
from data_tools.stage.render import render
from lora_studio.errors import run_command
from lora_studio.files import read_json, sha256_json, write_json
from lora_studio.nova import weights

SIDES: Final = ("base", "decoded")
OTHERS: Final = 40  # clips that the judge names right
PER_SHEET: Final = 8
RESAMPLED: Final = 2_000


def draw(folder: Path, work: Path, count: int) -> None:
    """Sheets of both sides, each in an order of its own, and key.json."""
    model, lessons = weights.find_model("nano"), unseen_lessons(count)
    rows = [(prompt_of(item), number) for number, item in enumerate(lessons)]
    kept = work_of(work, model, TRIED.values()) / f"base_{sha256_json(rows)[:12]}.npy"
    clips = learning_brand.clips_of(kept, lambda: learning_brand.make_clips(model, rows, SETTINGS))
    judge = load_judge()
    told = torch.stack([judge_frames(judge, clips[:, frame])["colour"] for frame in LOOKED_AT]).mean(0)  # (B, colours)
    asked = torch.tensor([answers_of(item.truth)["colour"] for item in lessons])
    right, others = told.argmax(-1) == asked, told.scatter(1, asked[:, None], -1).argmax(-1)
    chance = random.Random(0)
    chosen = [number for number in range(count) if not right[number]]
    chosen += chance.sample([number for number in range(count) if right[number]], OTHERS)
    scenes = [lessons[number].scene for number in chosen]
    rendered = np.stack([render(scene, HEIGHT, WIDTH, NUM_FRAMES, FPS) for scene in tqdm(scenes, desc="renders", unit="clip")])
    names, key = AXES["colour"], {"stand for": {"right": int(right.sum()), "wrong": int((~right).sum())}}
    for side, shown in zip(SIDES, (clips[chosen], learning_brand.through_vae(model, rendered)), strict=True):
        order = chance.sample(range(len(chosen)), len(chosen))
        tiles = []
        for number, place in enumerate(order):
            index = chosen[place]
            pair = chance.sample([names[int(asked[index])], names[int(others[index])]], 2)
            tiles.append(_tile(number, shown[place][list(LOOKED_AT)], pair))
            key[f"{side} {number}"] = {"prompt": index, "asked": names[int(asked[index])], "A": pair[0], "B": pair[1],
                                       "judge": "right" if right[index] else "wrong"}  # fmt: skip
        for start in range(0, len(tiles), PER_SHEET):
            _sheet(tiles[start : start + PER_SHEET]).save(folder / f"{side}_{start // PER_SHEET:02d}.png")
    write_json(folder / "key.json", key)


def _tile(number: int, frames: np.ndarray, pair: list[str]) -> Image.Image:
    """Three frames (3, H, W, 3) one and a half times as large, and two swatches below them."""
    width, height = WIDTH * 3 // 2, HEIGHT * 3 // 2
    tile = Image.new("RGB", (3 * width, height + 60), (128, 128, 128))
    pen = ImageDraw.Draw(tile)
    for place, frame in enumerate(frames):
        tile.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS), (place * width, 0))
    for place, name in enumerate(pair):
        left = 10 + place * 430
        pen.rectangle((left, height + 6, left + 160, height + 54), fill=NAMED[name])
        pen.text((left + 170, height + 22), f"{'AB'[place]}: {name}", fill=(255, 255, 255), font_size=20)
    pen.text((2 * width + 120, 3), f"#{number}", fill=(255, 0, 255), font_size=24)
    return tile


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    width, height = tiles[0].width + 10, tiles[0].height + 10
    sheet = Image.new("RGB", (2 * width, -(-len(tiles) // 2) * height), (60, 60, 60))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % 2 * width, place // 2 * height))
    return sheet


def count(folder: Path) -> dict[str, Any]:
    """Shares of clips whose asked colour was chosen, by side, with intervals."""
    key, told = read_json(folder / "key.json"), {}
    for side in SIDES:
        answers = [read_json(path) for path in sorted(folder.glob(f"{side}_answers_*.json"))]
        entries = {name.split()[1]: entry for name, entry in key.items() if name.startswith(f"{side} ")}
        said = {number: [entry.get(answer[number]) == entry["asked"] for answer in answers] for number, entry in entries.items()}
        groups = [np.array([np.mean(said[number]) for number, entry in entries.items() if entry["judge"] == group])
                  for group in ("right", "wrong")]  # fmt: skip
        whole = share(groups, [key["stand for"][group] for group in ("right", "wrong")])
        parts = {"judge right": round(float(groups[0].mean()), 3), "judge wrong": round(float(groups[1].mean()), 3)}
        told[side] = {"viewers": len(answers), **whole, **parts}
    write_json(RESULTS / "viewers.json", told)
    return told


def share(groups: list[np.ndarray], stand_for: list[int]) -> dict[str, float]:
    """Share of all clips, from a sample of each group of `stand_for` clips, and its 95 % interval (bootstrap within groups)."""
    weight, chance = np.array(stand_for) / sum(stand_for), np.random.default_rng(0)
    drawn = np.stack([chance.choice(group, (RESAMPLED, len(group))).mean(1) for group in groups])  # (groups, RESAMPLED)
    low, high = np.percentile(weight @ drawn, (2.5, 97.5))
    whole = float(weight @ np.array([group.mean() for group in groups]))
    return {"share": round(whole, 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("draw", "count"))
    parser.add_argument("folder", type=Path, help="of sheets, key and answers")
    parser.add_argument("--work", type=Path, default=Path("build/learning"), help="where part `base` keeps its clips")
    parser.add_argument("--count", type=int, default=400, help="prompts of part `base`")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run_command(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """One step."""
    if arguments.step == "draw":
        draw(arguments.folder, arguments.work, arguments.count)
        return
    for side, row in count(arguments.folder).items():
        sys.stdout.write(f"{side:8} {row}\n")


if __name__ == "__main__":
    main()
