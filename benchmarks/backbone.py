"""Each part of the backbone against the published order of work on the same weights, side by side in one run.

    python benchmarks/backbone.py --size nano --size mid
    python benchmarks/backbone.py --size full --device cuda       (0.6B shape, random weights)

* clip: the video encoder on a whole clip, as in training; published: under a dense mask
* frames: the video encoder frame by frame; published: with its cache; uncached: all frames again for each
* patches: the image encoder for one set of patches; published: all rows of every block
* diffusion: all diffusion steps of one set; published: on the whole frame, with time and condition worked out in each step

The ways take turns; ratios are of medians, with the smallest and the largest. Results must agree (exit 1 if not).
Writes benchmarks/results/backbone_SIZE.json.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import literal
from benchmarks.generation import MID
from benchmarks.memory import VIDEO
from lora_studio.files import write_json
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.painter import Painter
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.layers import KVCache, gather_patches, patchify
from lora_studio.nova.masking import generation_rounds
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.threads import share_cores

RESULTS = Path(__file__).parent / "results"
SETTINGS = SamplerSettings(num_steps=16, num_diffusion_steps=25, guidance=5.0)
ROUND = 10  # of 16: 57 of 96 patches are known at nano size, 8 are asked for
SHAPES = {"mid": MID, "full": VIDEO}
Ways = dict[str, Callable[[], Tensor]]


def build(size: str, device: str) -> NOVATransformer3DModel:
    """nova-nano, or seeded weights of another shape."""
    if size == "nano":
        return weights.load_transformer(weights.find_model("nano")).to(device)
    torch.manual_seed(0)
    with torch.device(device):
        return NOVATransformer3DModel(**SHAPES[size]).eval()


def parts(model: NOVATransformer3DModel) -> dict[str, Ways]:
    """Part -> way -> one call of it; the first way is ours."""
    device, length, size = next(model.parameters()).device, model.num_latents, (model.config.image_dim, *model.latent_size)
    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(2, size[0], length, *size[1:], generator=generator).to(device)  # two rows: with the prompt, without
    text = [torch.randn(12, model.config.text_token_dim, generator=generator).to(device)]
    condition = model.condition([*text, text[0][:0]], torch.full((2,), 5.0))
    patches = generation_rounds(SeededNoise([0]).order(model.num_patches).to(device), SETTINGS.num_steps)[ROUND]
    kept, wanted = (torch.cat([ids, ids]) for ids in (patches.kept_ids, patches.predicted_ids))
    context, canvas = model.encode_video(clip, condition)[:, 0], clip[:, :, 0]
    z = model.encode_image(canvas, context, kept)  # (R, N, D)
    schedule, guidance = FlowMatchScheduler(), SETTINGS.as_guidance()

    def cached() -> Tensor:
        cache, seen = KVCache(), []
        for index in range(length):
            before, start = (clip[:, :, index - 1], None) if index else (None, condition)
            out, cache = model.encode_video_frame(before, start, index, length, cache)
            seen.append(out)
        return torch.stack(seen, dim=1)

    def again() -> Tensor:
        return torch.stack([literal.read_clip(model, clip[:, :, : t + 1], condition, length)[:, -1] for t in range(length)], dim=1)

    def ours() -> Tensor:
        plan = schedule.plan(SETTINGS.num_diffusion_steps)
        painter = Painter(model, plan, SeededNoise([0]), guidance, [patches], size)
        return painter.denoise(gather_patches(z, wanted), patches.predicted_ids, SETTINGS.guidance)

    def whole() -> Tensor:
        painted = literal.denoise(model, schedule, z, canvas[:1], patches.predicted_ids, SETTINGS, SeededNoise([0]))
        return gather_patches(patchify(painted, model.patch), patches.predicted_ids)

    return {
        "clip": {
            "ours": lambda: model.encode_video(clip, condition),
            "published": lambda: literal.read_clip(model, clip, condition, length),
        },
        "frames": {"ours": cached, "uncached": again},
        "patches": {
            "ours": lambda: model.encode_image(canvas, context, kept, wanted),
            "published": lambda: gather_patches(model.encode_image(canvas, context, kept), wanted),
        },
        "diffusion": {"ours": ours, "published": whole},
    }


def compare(ways: Ways, repeats: int) -> dict[str, Any]:
    """Ratio of the other way's median to ours, its spread, and how far results are apart."""
    made = {name: way() for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way().sum().item()  # a GPU is waited for
            times[name].append(time.perf_counter() - started)
    middle = statistics.median(times["ours"])
    (other,) = (name for name in ways if name != "ours")
    return {
        f"{other} / ours": round(statistics.median(times[other]) / middle, 2),
        "from": round(min(times[other]) / middle, 2),
        "to": round(max(times[other]) / middle, 2),
        "ours run to run": [round(min(times["ours"]) / middle, 2), round(max(times["ours"]) / middle, 2)],
        "difference": float((made[other] - made["ours"]).abs().max() / made["ours"].abs().max()),
    }


@torch.no_grad()
def main() -> int:
    """Measures each size, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=("nano", "mid", "full"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    equal = True
    for size in options.size or ["nano"]:
        model = build(size, options.device)
        found = {name: compare(ways, options.repeats) for name, ways in parts(model).items()}
        named = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
        write_json(RESULTS / f"backbone_{size}.json", {"device": named, "repeats": options.repeats, **found})
        print(size, json.dumps(found, indent=2))
        equal = equal and all(part["difference"] < 1e-4 for part in found.values())
    return 0 if equal else 1


if __name__ == "__main__":
    share_cores()
    sys.exit(main())
