"""How often a camera's movement is told right where it is known and nothing else moves: 300 drawn shots.

    python benchmarks/moves.py    # five minutes on one core

Rendered pictures of the stage, flat, before which a camera of no depth stands, pans, tilts, zooms or shakes: without parallax there
is nothing that a similarity could not tell. What depth adds is counted on the stage's films (benchmarks/taggers.py). Every shot is
written as a clip and measured as `data-tools tag` does. An answer too unsure to be heard counts as none. Writes
benchmarks/results/moves.json.

H W pixels; speeds in percent of the frame's side per second.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.taggers import summarise
from data_tools.fusion import MIN_CONFIDENCE
from data_tools.measure import measure_shot
from data_tools.stage.lessons import lesson
from data_tools.stage.render import render
from data_tools.tags import LOOKED_AT
from lora_studio.files import write_json
from lora_studio.video import write_video

FPS, HEIGHT, WIDTH = 24, 272, 480
SPEEDS: Final = (2.0, 12.0)  # slower is hardly a movement: 1 is where standing still begins
SHAKES: Final = (4.0, 9.0)  # deviation of the speed
# word -> how the window moves over the picture: right, down, and how it grows
WAYS: Final = {
    "static": (0, 0, 0), "pan_right": (1, 0, 0), "pan_left": (-1, 0, 0), "tilt_down": (0, 1, 0), "tilt_up": (0, -1, 0),
    "dolly_in": (0, 0, -1), "dolly_out": (0, 0, 1), "handheld": (0, 0, 0),
}  # fmt: skip
RESULT = Path(__file__).parent / "results" / "moves.json"


def path_of(word: str, num_frames: int, chance: np.random.Generator) -> np.ndarray:
    """Where the window is in each frame, (F, 3): right and down in percent of its sides, and its size (logarithm, percent)."""
    time_s = np.arange(num_frames) / FPS
    straight = np.outer(time_s - time_s[-1] / 2, WAYS[word]) * chance.uniform(*SPEEDS)
    if word.startswith("dolly"):
        straight *= 2  # what a size changes by is seen at the border alone
    if word != "handheld":
        return straight
    hertz = chance.uniform(0.8, 3.0, (2, 4))  # a hand sways and trembles
    waves = np.sin(2 * np.pi * (hertz[..., None] * time_s + chance.uniform(size=(2, 4, 1)))) / hertz[..., None]
    sway = waves.sum(axis=1)
    speed = np.diff(sway, axis=1).std() * FPS
    return np.concatenate([sway / speed * chance.uniform(*SHAKES), np.zeros((1, num_frames))]).T


def draw_shot(number: int, word: str) -> np.ndarray:
    """The frames of one shot, (F, H, W, 3) uint8."""
    chance = np.random.default_rng(number)
    scene = lesson("stills", 6_000_000 + number).scene
    picture = render(scene, 3 * HEIGHT, 3 * WIDTH, 1, FPS)[0]
    frames = []
    for right, down, size in path_of(word, int(chance.uniform(2, 4) * FPS), chance):
        scale = 1.5 * np.exp(size / 100)  # pixels of the picture per pixel of the frame
        middle = np.array([1.5 * WIDTH + right / 100 * WIDTH * scale, 1.5 * HEIGHT + down / 100 * HEIGHT * scale])
        corner = middle - np.array([WIDTH, HEIGHT]) / 2 * scale
        matrix = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT))
    return np.stack(frames)


def told(frames: np.ndarray, folder: Path) -> tuple[str | None, str | None]:
    """The movement and the steadiness that are measured of them, as a clip."""
    clip = folder / "shot.mp4"
    write_video(clip, frames, FPS)
    arguments = {"path": str(clip), "duration_s": len(frames) / FPS, "places": LOOKED_AT, "short_side": HEIGHT}
    scores = measure_shot(arguments, lambda share: None)["scores"]
    return _answer(scores.get("angle.movement", {})), _answer(scores.get("angle.steadiness", {}))


def _answer(scores: dict[str, float]) -> str | None:
    best = max(scores, key=lambda word: scores[word]) if scores else None
    return best if best is not None and scores[best] >= MIN_CONFIDENCE else None


def main() -> None:
    """Draws, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=300)
    options = parser.parse_args()
    words = list(WAYS)
    answers, steady = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(options.shots), desc="moves", unit="shot"):
            word = words[number % len(words)]
            movement, steadiness = told(draw_shot(number, word), Path(folder))
            answers[word, movement] += 1
            steady[{"static": "locked", "handheld": "handheld"}.get(word, "smooth"), steadiness] += 1
    by_word = {word: summarise(Counter({pair: n for pair, n in answers.items() if pair[0] == word})) for word in words}
    told_right = {"movement": summarise(answers), "steadiness": summarise(steady)}
    result = {"shots": options.shots, "speeds": SPEEDS, "shakes": SHAKES, **told_right, "by word": by_word}
    write_json(RESULT, result)
    for name, row in {**told_right, **by_word}.items():
        print(f"{name:12}{row['shots']:5} shots  answered {row['answered']:.0%}  right {row['right'] or 0:.1%}  {row['wrong']}")


if __name__ == "__main__":
    main()
