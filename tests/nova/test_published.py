"""Full-size random weights in the published layout, sharded float16, for all five sizes and the video VAE: written, loaded,
equal to the last bit.

Sizes are those of the published configs; keys and shapes are compared with the manifests where they lie beside the repository.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import SHARED
from safetensors.torch import save_file

from lora_studio.nova import weights
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLOpenSora

VIDEO = {"image_size": [480, 768], "video_base_size": [16, 15, 24], "image_base_size": [30, 48]}
IMAGE = {"image_size": 1024, "video_base_size": [1, 32, 32], "image_base_size": [64, 64]}
SIZES: dict[str, tuple[dict[str, Any], int]] = {
    "d48w1024_osp480": ({**VIDEO, "arch": ["vit_d16w1024", "vit_d32w1024", "mlp_d3w1280"]}, 644_118_544),
    "d48w1024_osp480_mixer24": (
        {**VIDEO, "video_mixer_rank": 24, "arch": ["vit_d16w1024", "vit_d32w1024", "mlp_d3w1280"]}, 644_194_320,
    ),
    "d48w768_sdxl1024": ({**IMAGE, "arch": ["vit_d16w768", "vit_d32w768", "mlp_d6w768"]}, 363_946_000),
    "d48w1024_sdxl1024": ({**IMAGE, "arch": ["vit_d16w1024", "vit_d32w1024", "mlp_d6w1024"]}, 645_693_456),
    "d48w1536_sdxl1024": ({**IMAGE, "arch": ["vit_d16w1536", "vit_d32w1536", "mlp_d6w1536"]}, 1_449_836_560),
}  # fmt: skip
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKLOpenSora", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 2 + ["DownEncoderBlock3D"] * 2, "up_block_types": ["UpDecoderBlock3D"] * 4,
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 480,
    "scaling_factor": 0.18215,
}  # fmt: skip
NUM_SHARDS = 3


def random_checkpoint(folder: Path, part: str, name: str, config: dict[str, Any], shapes: dict[str, torch.Size]) -> None:
    """Seeded float16 weights in shards with an index; each tensor's values are a function of its name."""
    place = folder / part
    place.mkdir()
    (folder / "model_index.json").write_text(json.dumps({part: [f"__{part}__", name]}))
    (place / "config.json").write_text(json.dumps(config))
    names = sorted(shapes)
    index = {}
    for part in range(NUM_SHARDS):
        path = place / f"diffusion_pytorch_model-{part + 1:05}-of-{NUM_SHARDS:05}.safetensors"
        mine = names[part::NUM_SHARDS]
        save_file({name: values(name, shapes[name]) for name in mine}, path)
        index.update(dict.fromkeys(mine, path.name))
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def values(name: str, shape: torch.Size) -> torch.Tensor:
    """A tensor that no other name has: a ramp shifted by the name, exact in float16."""
    start = sum(name.encode()) % 2000
    count = shape.numel()
    return ((torch.arange(count, dtype=torch.int32) + start) % 2001 - 1000).to(torch.float16).div_(1024).reshape(shape)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SIZES)
def test_full_size_weights_are_written_loaded_and_equal(tmp_path: Path, name: str) -> None:
    config, parameters = SIZES[name]
    with torch.device("meta"):
        model = NOVATransformer3DModel(text_token_dim=2560, **config)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    manifest = SHARED / f"manifest_{name}.json"
    if manifest.is_file():
        assert {key: list(shape) for key, shape in shapes.items()} == json.loads(manifest.read_text())["keys"]
    published = {"image_dim": 4, "image_stride": 8, "text_token_dim": 2560, **config}
    random_checkpoint(tmp_path, "transformer", "NOVATransformer3DModel", published, shapes)
    assert_equal(weights.load_transformer(tmp_path, dtype=torch.float16).state_dict(), shapes)
    stored = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    print(f"{name}: {parameters:,} parameters, {stored / 1e9:.2f} GB in {NUM_SHARDS} shards")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_full_size_video_vae_is_written_loaded_and_equal(tmp_path: Path) -> None:
    with torch.device("meta"):
        vae = AutoencoderKLOpenSora()
    shapes = {key: value.shape for key, value in vae.state_dict().items()}
    assert sum(shape.numel() for shape in shapes.values()) == 239_189_991
    random_checkpoint(tmp_path, "vae", "AutoencoderKLOpenSora", VAE, shapes)
    assert_equal(weights.load_vae(tmp_path, dtype=torch.float16).state_dict(), shapes)


def assert_equal(loaded: dict[str, torch.Tensor], shapes: dict[str, torch.Size]) -> None:
    """Every tensor has the values that `random_checkpoint` wrote under its name."""
    assert loaded.keys() == shapes.keys()
    for key, tensor in loaded.items():
        assert torch.equal(tensor, values(key, shapes[key])), key
