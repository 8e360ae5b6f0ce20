"""Parts that are right by themselves and wrong together."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from lora_studio.errors import ModelError
from lora_studio.nova import weights
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora

SMALL: dict[str, Any] = {
    "image_dim": 4, "image_size": [128, 192], "image_stride": 8, "image_base_size": [8, 12], "video_base_size": [3, 4, 6],
    "text_token_dim": 128, "text_token_len": 16, "arch": ["vit_d1w64", "vit_d2w64", "mlp_d1w64"], "clip_latents": 3,
}  # fmt: skip
VIDEO_VAE: dict[str, Any] = {"block_out_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4}
IMAGE_VAE: dict[str, Any] = {
    **VIDEO_VAE, "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped text encoder and schedule; a backbone and a VAE that fit them."""
    place = Path(shutil.copytree(weights.find_model("nano"), tmp_path / "model", ignore=shutil.ignore_patterns("open_clip")))
    _part(place, "transformer", NOVATransformer3DModel, SMALL)
    _part(place, "vae", AutoencoderKLOpenSora, VIDEO_VAE)
    return place


def _part(folder: Path, part: str, network: Any, config: dict[str, Any]) -> None:
    shutil.rmtree(folder / part)
    (folder / part).mkdir()
    (folder / part / "config.json").write_text(json.dumps(config))
    save_file(network(**config).state_dict(), folder / part / "diffusion_pytorch_model.safetensors")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, part: ["ours", network.__name__]}))


def _refused(folder: Path, part: str, message: str) -> None:
    """Told by the check, by the part's loader, and by `verify_model` for this part alone."""
    load: Any = {"vae": weights.load_vae, "text_encoder": weights.load_text}[part]
    for refuse in (weights.check_fit, load):
        with pytest.raises(ModelError, match=message):
            refuse(folder)
    faults = weights.verify_model(folder)
    assert [name for name, fault in faults.items() if fault] == [part]
    with pytest.raises(ModelError, match=message):
        raise ModelError(faults[part])


def test_parts_of_one_model_fit(folder: Path) -> None:
    weights.check_fit(folder)
    assert set(weights.verify_model(folder).values()) == {""}


def test_latents_of_another_depth(folder: Path) -> None:
    _part(folder, "vae", AutoencoderKLOpenSora, {**VIDEO_VAE, "latent_channels": 8})
    _refused(folder, "vae", r"latent_channels of vae/config\.json must equal image_dim .* \(4\), got 8: take all parts from one")


def test_text_rows_of_another_width(folder: Path) -> None:
    _part(folder, "transformer", NOVATransformer3DModel, {**SMALL, "text_token_dim": 64})
    _refused(folder, "text_encoder", r"hidden_size of text_encoder/config\.json must equal text_token_dim .* \(64\), got 128")


def test_an_image_vae_beside_a_video_backbone(folder: Path) -> None:
    _part(folder, "vae", AutoencoderKLImage, IMAGE_VAE)
    _refused(folder, "vae", r"the VAE is for single images \(AutoencoderKL\), and the backbone for clips of 9 frames")
    _part(folder, "transformer", NOVATransformer3DModel, {**SMALL, "video_base_size": [1, 4, 6]})
    assert set(weights.verify_model(folder).values()) == {""}


def test_cells_of_another_size(folder: Path) -> None:
    _part(folder, "transformer", NOVATransformer3DModel, {**SMALL, "image_stride": 9})
    _refused(folder, "vae", r"image_stride of transformer/config\.json must be the pixels .* \(8\), got 9")


def test_a_folder_with_some_of_the_parts_is_no_fault(folder: Path) -> None:
    for part, load in (("vae", weights.load_transformer), ("transformer", lambda folder: weights.load_words(folder, 4))):
        shutil.rmtree(folder / part)
        weights.check_fit(folder)
        load(folder)
