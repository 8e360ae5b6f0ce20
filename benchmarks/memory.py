"""Memory that the full-size model needs beside its weights: counted at full size, and measured on a smaller picture.

    python benchmarks/memory.py

Counted: runs the 0.6B video model's shapes on torch's meta device in float16: nothing is computed, every operation says how
large its result is, and the most that is alive at once is the figure. Attention counts as one fused kernel, as on a GPU;
workspace inside kernels is not counted. `whole`: a clip of the autoencoder in one part; `published`: benchmarks/literal.py;
`ours`: as shipped.
Measured: one tile through the published widths with random weights at 96 x 128 pixels in float32, in processes of their own,
taking turns; `ours` in parts of one frame, as it is at full size.
Writes benchmarks/results/memory.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.literal import generate_literally
from lora_studio.files import write_json
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import vae_layers
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLOpenSora
from lora_studio.threads import share_cores

RESULT = Path(__file__).parent / "results" / "memory.json"
HEIGHT, WIDTH, FRAMES, LATENTS = 480, 768, 17, 9
SETTINGS = SamplerSettings(num_steps=4, num_diffusion_steps=25, guidance=5.0)  # sets are larger than with 64: the most it can need
VIDEO: dict[str, Any] = {
    "image_base_size": (30, 48), "video_base_size": (16, 15, 24), "text_token_dim": 2560, "text_token_len": 256,
    "arch": ("vit_d16w1024", "vit_d32w1024", "mlp_d3w1280"), "clip_latents": LATENTS,
}  # fmt: skip


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors made inside that are still referred to, and the most there ever were. Weights are not."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: set[int] = set()
        self._given: list[torch.UntypedStorage] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            if storage._cdata not in self._known:
                self._known.add(storage._cdata)
                self._given.append(storage)
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            if storage._cdata not in self._known:
                self._add(storage._cdata, storage)
        return out

    def _add(self, key: int, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(values):
        if isinstance(leaf, Tensor) and leaf.device.type == "meta":
            yield leaf.untyped_storage()


def computing_nothing() -> AbstractContextManager[Any]:
    """For runs on the meta device: the sampler's look at its own numbers finds them finite."""
    return mock.patch.object(torch, "isfinite", return_value=torch.ones((), dtype=torch.bool))


def peak_gib(call: Callable[[], Any]) -> float:
    """Most GiB alive at once, beyond what was there before."""
    fused = mock.patch.object(functional, "scaled_dot_product_attention", lambda q, *_, **__: torch.empty_like(q))
    with torch.no_grad(), computing_nothing(), fused, LiveBytes() as live:
        call()
    return round(live.peak / 2**30, 2)


class NoNoise:
    """Shapes of random numbers."""

    def order(self, num_patches: int) -> Tensor:
        """(1, N)."""
        return torch.arange(num_patches, device="meta")[None]

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        """(1, C, H, W)."""
        return torch.empty(1, channels, height, width, device="meta")


def autoencoder() -> dict[str, dict[str, float]]:
    """GiB for one tile of 17 frames."""
    with torch.device("meta"):
        vae = AutoencoderKLOpenSora().half()
        pixels = torch.empty(1, 3, FRAMES, HEIGHT, WIDTH, dtype=torch.float16)
        latents = torch.empty(1, 4, 5, HEIGHT // 8, WIDTH // 8, dtype=torch.float16)
    calls = {"decode": lambda: vae.decode(latents), "encode": lambda: vae.encode(pixels).parameters}
    found = {}
    for name, call in calls.items():
        with mock.patch.object(vae_layers, "PART_NUMBERS", 2**60):
            whole = peak_gib(call)
        found[name] = {"whole": whole, "ours": peak_gib(call)}
    return found


def backbone() -> dict[str, float]:
    """GiB for one clip of 9 latent frames with guidance, its cache included."""
    with torch.device("meta"):
        model = NOVATransformer3DModel(**VIDEO).half()
        text = [torch.empty(40, VIDEO["text_token_dim"], dtype=torch.float16)]
    schedule = FlowMatchScheduler()
    return {
        "published": peak_gib(lambda: generate_literally(model, schedule, text, SETTINGS, NoNoise(), LATENTS)),
        "ours": peak_gib(lambda: generate_latents(model, schedule, text, SETTINGS, NoNoise())),
    }


def measured() -> dict[str, Any]:
    """MiB of resident memory that decoding gains, and its seconds: the median of three, ours as a share of whole."""
    runs: dict[str, list[tuple[float, float]]] = {"whole": [], "ours": []}
    for way in [*runs] * 3:
        call = [sys.executable, __file__, "--decode", way]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # freed memory goes back to the system at once
        out = subprocess.run(call, capture_output=True, text=True, check=True, env=environment).stdout.split()
        runs[way].append((float(out[-2]), float(out[-1])))
    mib, seconds = ({way: statistics.median(run[index] for run in runs[way]) for way in runs} for index in (0, 1))
    return {"decode MiB": mib, "ours / whole": {"memory": round(mib["ours"] / mib["whole"], 2),
            "time": round(seconds["ours"] / seconds["whole"], 2)}}  # fmt: skip


@torch.no_grad()
def decode_small(way: str) -> None:
    """Prints MiB gained and seconds of one decoding."""
    torch.manual_seed(0)
    vae, latents = AutoencoderKLOpenSora().eval(), torch.randn(1, 4, 5, 12, 16)
    vae_layers.PART_NUMBERS = 2**60 if way == "whole" else 1
    vae.decode(latents[:, :, :1, :4, :4])  # libraries take their own memory at the first call
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    vae.decode(latents)
    seconds = time.perf_counter() - started
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, round(seconds, 2))


def main() -> int:
    """Counts, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decode", choices=("whole", "ours"), help=argparse.SUPPRESS)
    if way := parser.parse_args().decode:
        decode_small(way)
        return 0
    found: dict[str, Any] = {"clip": f"{FRAMES} frames of {WIDTH} x {HEIGHT}, {LATENTS} latent frames", "dtype": "float16"}
    found = {**found, **autoencoder(), "backbone": backbone(), "measured": measured()}
    write_json(RESULT, found)
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    share_cores()
    sys.exit(main())
