"""What the named approximations save, and how far they move the latents, against the exact sampler in the same run.

    python benchmarks/approximations.py --size nano --size mid

Each way and the exact one take turns; ratios are of medians. `moved` is the distance of the latents from the exact ones over their
own deviation, root mean square (1.41 is another picture altogether: two seeds). What pictures lose is told by
benchmarks/learning.py, which judges them.
`full size`: floating-point operations of the exact way over those of each, counted on the shapes of the 0.6B video model
with 64 sets (torch's meta device: nothing is computed), for the first frame: later ones differ only in the small video encoder.
Writes benchmarks/results/approximations_SIZE.json, SIZE being nano, mid or full.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.generation import RESULTS, build
from benchmarks.memory import VIDEO, NoNoise, computing_nothing
from lora_studio.files import write_json
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.threads import share_cores

EXACT = SamplerSettings(num_steps=32, num_diffusion_steps=25, guidance=5.0)
WAYS: dict[str, dict[str, Any]] = {
    "half the sets": {"num_steps": 16},
    "half the diffusion steps": {"num_diffusion_steps": 12},
    "guidance above timestep 500": {"guidance_trunc": 500.0},
    "unguided look every 2 sets": {"guidance_every": 2},
    "unguided look every 4 sets": {"guidance_every": 4},
    "half the sets, look every 4": {"num_steps": 16, "guidance_every": 4},
    "half the sets, look every 4, guidance above 500": {"num_steps": 16, "guidance_every": 4, "guidance_trunc": 500.0},
}


def latents_of(model: NOVATransformer3DModel, settings: SamplerSettings, seed: int = 0) -> tuple[Tensor, float]:
    """Latents of one clip, and the seconds it took."""
    text = [torch.randn(12, model.config.text_token_dim, generator=torch.Generator().manual_seed(1))]
    started = time.perf_counter()
    made = generate_latents(model, FlowMatchScheduler(), text, settings, SeededNoise([seed]))
    return made, time.perf_counter() - started


def compare(size: str, repeats: int) -> dict[str, Any]:
    """Speed and distance of every way."""
    model = build(size)
    exact = latents_of(model, EXACT)[0]
    ways = {name: EXACT.model_copy(update=changed) for name, changed in WAYS.items()}
    times: dict[str, list[float]] = {name: [] for name in ("exact", *ways)}
    moved: dict[str, float] = {"another seed": _distance(latents_of(model, EXACT, seed=1)[0], exact)}
    for _ in range(repeats):
        times["exact"].append(latents_of(model, EXACT)[1])
        for name, settings in ways.items():
            made, seconds = latents_of(model, settings)
            times[name].append(seconds)
            moved[name] = _distance(made, exact)
    base = statistics.median(times["exact"])
    speedup = {name: round(base / statistics.median(times[name]), 2) for name in ways}
    return {"size": size, "repeats": repeats, "speedup": speedup, "moved": {k: round(v, 3) for k, v in moved.items()}}


class Work(TorchDispatchMode):
    """Counts the floating-point operations of matrix products, convolutions and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count_full_size() -> dict[str, Any]:
    """How many times less work every way is at the 0.6B shape."""
    with torch.device("meta"):
        model = NOVATransformer3DModel(**{**VIDEO, "clip_latents": 1}).half()
        text = [torch.empty(40, VIDEO["text_token_dim"], dtype=torch.float16)]
    flops = {}
    for name, changed in {"exact": {}, **WAYS}.items():
        sets = 32 if "num_steps" in changed else 64
        settings = EXACT.model_copy(update={**changed, "num_steps": sets})
        with torch.no_grad(), computing_nothing(), Work() as work:
            generate_latents(model, FlowMatchScheduler(), text, settings, NoNoise())
        flops[name] = work.flops
    less = {name: round(flops["exact"] / flops[name], 2) for name in WAYS}
    return {"size": "0.6B", "sets": 64, "TFLOP a frame": round(flops["exact"] / 1e12, 1), "less work": less}


def _distance(made: Tensor, exact: Tensor) -> float:
    return float((made - exact).square().mean().sqrt() / exact.std())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=("nano", "mid", "full"), help="repeatable; all by default")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    share_cores()
    for size in arguments.size or ("nano", "mid", "full"):
        result = count_full_size() if size == "full" else compare(size, arguments.repeats)
        write_json(RESULTS / f"approximations_{size}.json", result)
        sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
