"""Reads recordings of the published implementation and plays their random draws back."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lora_studio.nova.transformer import NOVATransformer3DModel

RECORDINGS = Path(__file__).parent / "recordings"
SHARED = Path(__file__).parents[2] / "shared" / "parity"
SETS = ["abs_nomix", "rope_mix4"]


class Recording:
    """One set: `tensors`, `meta`, and a model with its weights."""

    def __init__(self, name: str) -> None:
        folder = RECORDINGS / name if (RECORDINGS / name).is_dir() else SHARED / name
        if not folder.is_dir():
            pytest.skip(f"the recording {name} is not beside the repository (../shared/parity)")
        self.folder = folder
        self.tensors: dict[str, Tensor] = load_file(folder / "golden.safetensors")
        self.meta: dict[str, Any] = json.loads((folder / "golden.json").read_text())

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[key]

    @property
    def config(self) -> dict[str, Any]:
        table = json.loads((self.folder / "config.json").read_text())
        return {key: value for key, value in table.items() if not key.startswith("_")}

    @property
    def weights(self) -> dict[str, Tensor]:
        return {key: value.float() for key, value in load_file(self.folder / "weights.safetensors").items()}

    def transformer(self, num_latents: int = 3) -> NOVATransformer3DModel:
        model = NOVATransformer3DModel(**self.config, clip_latents=num_latents)
        model.load_state_dict(self.weights)
        return model.eval()

    def draws(self, scenario: str) -> list[Tensor]:
        entries = self.meta["rng"][scenario]
        return [self[e["key"]] if "key" in e else torch.tensor(e["value"]) for e in entries]

    def close(self, key: str, value: Tensor, tolerance: float | None = None) -> None:
        """Compares with a recorded tensor: 2e-5 of its largest value, or the given absolute tolerance."""
        want = self[key]
        assert want.shape == value.shape
        limit = 2e-5 * max(1.0, float(want.abs().max())) if tolerance is None else tolerance
        assert float((want - value).abs().max()) <= limit, key


class Replay:
    """A noise source for the sampler that gives out recorded draws, in order."""

    def __init__(self, draws: list[Tensor]) -> None:
        self.left = list(draws)

    def order(self, num_patches: int) -> Tensor:
        uniform = self.left.pop(0)
        assert uniform.shape[1:] == (num_patches, 1)
        return uniform[..., 0].argsort(1)

    def grid(self, channels: int, height: int, width: int) -> Tensor:
        return self.left.pop(0)
