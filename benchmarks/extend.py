"""How far a clip drifts when it goes on far beyond the trained length: the sliding window against chained short clips.

    python benchmarks/extend.py --times 8

The chain is what one does without a window: every clip begins with the last frame of the one before (image to video). Both get
the same prompt, seeds and settings. For each stretch of the trained length: CIEDE2000 between its mean colour and that of the
first stretch, its contrast (standard deviation of L*) over that of the first, and the change from frame to frame.
Writes benchmarks/results/extend.json and a contact sheet.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.color import deltaE_ciede2000

from lora_studio.consistency.colour import small_lab
from lora_studio.files import write_json
from lora_studio.generation.sampler import generate
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.threads import share_cores

RESULTS = Path(__file__).parent / "results"
PROMPT = "a red bottle on a white table, eye level, soft light"


def chained(parts: tuple[Any, Any, Any], text: list, settings: SamplerSettings, seed: int, num_frames: int) -> np.ndarray:
    """Clips of the trained length, each begun with the last frame of the one before: (F, H, W, 3)."""
    frames = generate(*parts, text, settings, seed)
    while frames.shape[1] < num_frames:
        seed += 1
        frames = np.concatenate([frames, generate(*parts, text, settings, seed, frames[:, -1:])[:, 1:]], axis=1)
    return frames[0, :num_frames]


def drift(frames: np.ndarray, stretch: int) -> list[dict[str, float]]:
    """Figures of each stretch of a clip (F, H, W, 3) against its first."""
    lab = small_lab(frames)  # (F, h, w, 3)
    parts = [lab[start : start + stretch] for start in range(0, len(lab) - stretch + 1, stretch)]
    first = parts[0]
    return [
        {
            "colour_dE00": float(deltaE_ciede2000(part.mean((0, 1, 2)), first.mean((0, 1, 2)))),
            "contrast": float(part[..., 0].std() / first[..., 0].std()),
            "change_L": float(np.abs(np.diff(part[..., 0], axis=0)).mean()),
        }
        for part in parts
    ]


def main() -> None:
    """Runs both and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--times", type=int, default=8, help="how many times the trained length")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = weights.find_model(options.model)
    parts = (weights.load_transformer(folder), weights.load_vae(folder), weights.load_scheduler(folder))
    text, settings = weights.load_text(folder).encode([PROMPT]), SamplerSettings()
    shape = weights.clip_shape(folder)
    window = generate(*parts, text, settings, options.seed, num_latents=options.times * shape.latent[1])[0]
    chain = chained(parts, text, settings, options.seed, len(window))
    found = {"window": drift(window, shape.num_frames), "chain": drift(chain, shape.num_frames)}
    for name, rows in found.items():
        for index, row in enumerate(rows):
            print(f"{name:<8}{index:>3}  " + "  ".join(f"{key} {value:7.3f}" for key, value in row.items()))
    write_json(RESULTS / "extend.json", {"model": options.model, "times": options.times, "seed": options.seed, **found})
    sheet = [np.concatenate(list(clip[:: shape.num_frames][: options.times]), axis=1) for clip in (window, chain)]
    width = min(part.shape[1] for part in sheet)
    Image.fromarray(np.concatenate([part[:, :width] for part in sheet])).save(RESULTS / "extend.png")


if __name__ == "__main__":
    share_cores()
    main()
