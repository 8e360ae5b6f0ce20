"""Where the product stands in a frame, named pixel by pixel. Trained on stage renders alone, as the judge is.

    python benchmarks/segmenter.py --lessons build/nano/lessons      # trains it and prints how well it does

Colours of a product can only be counted where the product is: in the whole frame a cream backdrop passes for a cream band, and a
shadow for a navy lid. A render's true cover is known, of every ray; blurred renders are among the lessons.

Writes segmenter_trained.safetensors and .json beside the lessons; `--publish` puts both into benchmarks/results, in the place of
those that the published figures were measured with.

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
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.frames import (
    HELD_BACK,
    RESULTS,
    SMALL_SHARE,
    load_trained,
    moved,
    prepare,
    usable_stills,
    worn,
    write_trained,
)
from data_tools.stage.lessons import FPS, lesson
from data_tools.stage.render import product_cover
from lora_studio.errors import run_command
from lora_studio.files import atomic_path, sha256_json
from lora_studio.nano.lessons import Lessons, draw_lesson
from lora_studio.nano.progress import Course, Progress, autocast
from lora_studio.threads import share_cores

SEGMENTER: Final = RESULTS / "segmenter.safetensors"
SIZE: Final = (64, 96)
_STILLS: Final = 10_240  # more would teach little: half the network's mistakes lie on the outline itself


class Segmenter(nn.Module):
    """A small U-Net: three times down, three times up, each time with what it saw on the way down."""

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 96)
        self.stem = _convolved(3, widths[0])
        self.down = nn.ModuleList(_convolved(i, o) for i, o in itertools.pairwise(widths))
        self.up = nn.ModuleList(_convolved(o + i, i) for i, o in itertools.pairwise(widths))
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) in -1..1 -> logits (B, H, W); H and W are multiples of 8."""
        seen = [self.stem(frames)]
        for block in self.down:
            seen.append(block(functional.avg_pool2d(seen[-1], 2)))
        x = seen.pop()
        for block in reversed(self.up):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), seen.pop()], 1))
        return self.head(x)[:, 0]


def _convolved(width: int, out_width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number_in in (width, out_width):
        layers += [nn.Conv2d(number_in, out_width, 3, padding=1), nn.GroupNorm(4, out_width), nn.SiLU()]
    return nn.Sequential(*layers)


def product_masks(segmenter: nn.Module, frames: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 (B, H, W, 3) -> bool (B, *size): where the product is; the mean with the mirror image's answer decides."""
    with torch.inference_mode():
        pixels = prepare(frames)
        logits = (segmenter(pixels) + segmenter(pixels.flip(-1)).flip(-1)) / 2
        scaled = functional.interpolate(logits[:, None], size, mode="bilinear", antialias=True)[:, 0]
        return (scaled > 0).numpy()


def load_segmenter() -> Segmenter:
    """The trained segmenter; ends as `trained` does."""
    return load_trained(Segmenter(), SEGMENTER)


def covers_of(stills: Lessons, indices: range) -> np.ndarray:
    """uint8 (B, 64, 96): how much of each pixel of these stills, of seed 0, the product covers."""
    shares = (product_cover(lesson("stills", stills.number(index)).scene, *SIZE, 1, FPS)[0] for index in indices)
    return np.stack([np.rint(share * 255).astype(np.uint8) for share in tqdm(shares, desc="covers", total=len(indices))])


def loss_of(segmenter: Segmenter, stills: Lessons, covers: np.ndarray, course: Course, step: int) -> dict[str, Tensor]:
    """Cross entropy of every pixel on one batch: moved, resized, mirrored, half of them blurred, brightness and noise off."""
    chance = random.Random(f"{course.seed}/{step}")
    generator = torch.Generator().manual_seed(chance.getrandbits(60))
    indices = [draw_lesson(stills, SMALL_SHARE, chance, len(covers)) for _ in range(course.batch_size)]
    pixels = prepare(np.stack([stills.frames(index)[0] for index in indices]))
    cover = torch.from_numpy(covers[indices])[:, None].float() / 127.5 - 1
    both = moved(torch.cat([pixels, cover], 1), generator)
    both = both.flip(-1) if chance.random() < 0.5 else both
    pixels, cover = worn(both[:, :3], chance, generator), (both[:, 3] + 1) / 2
    device = segmenter.head.weight.device
    with autocast():
        logits = segmenter(pixels.to(device))
    return {"pixels": functional.binary_cross_entropy_with_logits(logits.float(), cover.to(device))}


def overlap(segmenter: Segmenter, stills: Lessons) -> dict[str, float]:
    """Intersection over union with the true cover on the stills held back, mean by shot size."""
    numbers = range(len(stills) - HELD_BACK, len(stills))
    truth = covers_of(stills, numbers) > 127
    found = np.concatenate([product_masks(segmenter, np.stack([stills.frames(n)[0] for n in numbers[i : i + 64]]))
                            for i in range(0, HELD_BACK, 64)])  # fmt: skip
    both, either = (found & truth).sum((1, 2)), (found | truth).sum((1, 2)).clip(1)
    scales = np.array([stills.truths[number]["tags"]["angle.scale"] for number in numbers])
    return {str(scale): round(float((both / either)[scales == scale].mean()), 3) for scale in sorted(set(scales))}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lessons", type=Path, required=True, help="folder of `data-tools lessons`")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after so many; the next call goes on")
    parser.add_argument("--publish", action="store_true", help="take the place of the published one")
    arguments = parser.parse_args()
    share_cores()
    run_command(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> None:
    """Trains a segmenter, measures it and writes it."""
    stills, work = usable_stills(arguments.lessons), arguments.lessons.parent
    indices = range(min(_STILLS, len(stills) - HELD_BACK))
    kept = work / f"covers_{sha256_json([stills.number(index) for index in indices])[:8]}.npy"
    if not kept.is_file():
        with atomic_path(kept) as temporary, temporary.open("wb") as file:
            np.save(file, covers_of(stills, indices))
    covers, course = np.load(kept), Course(steps=arguments.steps, batch_size=32, lr=2e-3, weight_decay=0.05)
    torch.manual_seed(0)
    segmenter = Segmenter()
    segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    progress = Progress(segmenter, course, work / "segmenter.safetensors")
    progress.advance(arguments.minutes, lambda step: loss_of(segmenter, stills, covers, course, step))
    progress.use_average()
    segmenter.cpu().eval()
    told = {"steps": progress.step, "stills": len(covers), "overlap on unseen renders": overlap(segmenter, stills)}
    write_trained(SEGMENTER if arguments.publish else work / "segmenter_trained.safetensors", segmenter, told)


if __name__ == "__main__":
    main()
