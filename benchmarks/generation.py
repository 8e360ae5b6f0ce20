"""How much faster clips are made than in the published order of work, with equal latents, measured side by side in one run.

    python benchmarks/generation.py --size nano --size mid

`published`: the order of work of the published code (benchmarks/literal.py); `uncached`: the same without the cache; `ours`:
lora_studio.generation.sampler; `compiled`: the same with the diffusion MLP through torch's compiler. They take turns, so that a
busy machine slows all alike; ratios are of medians. Latents must agree (exit 1 if not). `frames`: our time for twice the
latent frames over our time for one length: 2 is linear. Peak memory is that of a process of its own for each, above what it
holds with the model loaded. If `diffnext` is installed it is only named: its sampler cannot be given our draws without changing it.
Writes benchmarks/results/generation_SIZE.json.
"""

import argparse
import copy
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.literal import generate_literally
from lora_studio.files import write_json
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.threads import share_cores

RESULTS = Path(__file__).parent / "results"
SETTINGS = SamplerSettings(num_steps=16, num_diffusion_steps=25, guidance=5.0)
WAYS = ("ours", "compiled", "published", "uncached")
# 12.8 million parameters, 3 latent frames of 32 x 48: the shape of the published video model at a quarter of its width
MID: dict[str, Any] = {
    "image_base_size": (16, 24), "video_base_size": (4, 8, 12), "text_token_dim": 1024, "text_token_len": 64,
    "arch": ("vit_d4w256", "vit_d8w256", "mlp_d3w320"), "clip_latents": 3,
}  # fmt: skip


def build(size: str) -> NOVATransformer3DModel:
    """nova-nano, or seeded weights at the middle size."""
    if size == "nano":
        return weights.load_transformer(weights.find_model("nano"))
    torch.manual_seed(0)
    return NOVATransformer3DModel(**MID).eval()


def maker(model: NOVATransformer3DModel, way: str, num_latents: int) -> Callable[[], Tensor]:
    """One generation of one clip."""
    text = [torch.randn(12, model.config.text_token_dim, generator=torch.Generator().manual_seed(1))]
    if way in ("ours", "compiled"):
        return lambda: generate_latents(model, FlowMatchScheduler(), text, SETTINGS, SeededNoise([0]), num_latents=num_latents)
    cached = way == "published"
    return lambda: generate_literally(model, FlowMatchScheduler(), text, SETTINGS, SeededNoise([0]), num_latents, cached)


def seconds(make: Callable[[], Tensor]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    make()
    return time.perf_counter() - started


def compare(size: str, repeats: int) -> dict[str, Any]:
    """Ratios of medians with their spread, and how far latents are apart."""
    model = build(size)
    length = model.num_latents
    compiled = copy.deepcopy(model)
    compiled.image_decoder.compile(dynamic=True)
    ways = {way: maker(compiled if way == "compiled" else model, way, length) for way in WAYS}
    latents = {way: make() for way, make in ways.items()}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    longer = maker(model, "ours", 2 * length)
    model.register_to_config(clip_latents=2 * length)
    double: list[float] = []
    for _ in range(repeats):
        for way, make in ways.items():
            times[way].append(seconds(make))
        double.append(seconds(longer))
    middle = {way: statistics.median(values) for way, values in times.items()}
    largest = float(latents["ours"].abs().max())
    return {
        "size": size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sets x steps": f"{SETTINGS.num_steps} x {SETTINGS.num_diffusion_steps}",
        "repeats": repeats,
        "speedup": {way: round(middle["published"] / middle[way], 2) for way in ("ours", "compiled")},
        "uncached / ours": round(middle["uncached"] / middle["ours"], 2),
        "spread": {way: [round(min(v) / middle["ours"], 2), round(max(v) / middle["ours"], 2)] for way, v in times.items()},
        "frames": round(statistics.median(double) / middle["ours"], 2),
        "difference": {way: float((latents[way] - latents["ours"]).abs().max()) / largest for way in WAYS[1:]},
        "peak memory": {way: peak(size, way) for way in ("ours", "published")},
        "diffnext": "installed, not run" if importlib.util.find_spec("diffnext") else "not installed",
    }


def peak(size: str, way: str) -> int:
    """MiB above the loaded model at the peak of one generation, in a process of its own."""
    call = [sys.executable, __file__, "--size", size, "--peak", way]
    return int(subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure_peak(size: str, way: str) -> None:
    """Prints MiB of resident memory gained by one generation (Linux: the kernel's own high-water mark, reset before)."""
    model = build(size)
    make = maker(model, way, model.num_latents)
    make()  # libraries take their own memory at the first call
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    make()
    print((resident("VmHWM") - before) // 1024)


def resident(field: str) -> int:
    """A figure of /proc/self/status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def main() -> int:
    """Measures each size, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=("nano", "mid"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = options.size or ["nano"]
    if options.peak:
        measure_peak(sizes[0], options.peak)
        return 0
    equal = True
    for size in sizes:
        found = compare(size, options.repeats)
        write_json(RESULTS / f"generation_{size}.json", found)
        print(json.dumps(found, indent=2))
        equal = equal and max(found["difference"].values()) < 1e-4
    return 0 if equal else 1


if __name__ == "__main__":
    share_cores()
    sys.exit(main())
