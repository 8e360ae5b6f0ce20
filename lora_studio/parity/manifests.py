"""Compares the published checkpoints' manifests, names and shapes of every tensor, with the model ours builds. No weights."""

import json
from pathlib import Path
from typing import Any

import torch

from lora_studio.nova.transformer import NOVATransformer3DModel


def check_manifest(path: Path) -> dict[str, Any]:
    """Builds the model of a manifest on the meta device.

    Returns:
        `missing`, `unexpected` and `misshapen` names, and the number of parameters wanted and found.
    """
    manifest = json.loads(path.read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = NOVATransformer3DModel(**manifest["config"])
    have = {key: list(value.shape) for key, value in model.state_dict().items()}
    want = manifest["keys"]
    return {
        "missing": sorted(set(want) - set(have)),
        "unexpected": sorted(set(have) - set(want)),
        "misshapen": sorted(key for key in set(want) & set(have) if want[key] != have[key]),
        "parameters": [manifest["parameters"], sum(parameter.numel() for parameter in model.parameters())],
    }
