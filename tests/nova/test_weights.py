"""Finding and loading: the shipped set loads whole; damaged or foreign folders are refused in words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import ModelError
from lora_studio.nova import weights
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler

NANO = weights.find_model("nano")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "nano", ignore=shutil.ignore_patterns("open_clip")))


def _change_config(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_shipped_set_is_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file()) < 12_000_000
    shape = weights.clip_shape(NANO)
    assert (shape.num_frames, shape.fps, shape.height, shape.width, shape.latent) == (9, 12.0, 128, 192, (4, 3, 16, 24))
    model = weights.load_transformer(NANO)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert (model.num_patches, model.num_latents, model.latent_size) == (96, 3, (16, 24))
    assert weights.load_scheduler(NANO) == FlowMatchScheduler(1000, 1.0)


def test_shipped_weights_are_exact_in_float16() -> None:
    for path in NANO.rglob("*.safetensors"):
        assert all(value.dtype in (torch.float16, torch.int64) for value in load_file(path).values()), path.name


def test_precision_is_as_asked() -> None:
    assert weights.load_vae(NANO, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_hash_follows_the_weights(copy: Path) -> None:
    before = weights.model_sha256(copy)
    assert before == weights.model_sha256(NANO)
    _change_config(copy / "transformer" / "config.json", image_stride=9)
    assert weights.model_sha256(copy) != before


def test_missing_and_leftover_keys_are_named(copy: Path) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["video_encoder.mixer.proj.bias"] = state.pop("mask_embed.bos_token")
    save_file(state, path)
    with pytest.raises(ModelError, match="missing: mask_embed.bos_token; not in this model: video_encoder.mixer.proj.bias"):
        weights.load_transformer(copy)


def test_other_shapes_are_named(copy: Path) -> None:
    _change_config(copy / "transformer" / "config.json", text_token_dim=64)
    with pytest.raises(ModelError, match=r"text_embed.proj.weight is \[128, 128\], not \[128, 64\]"):
        weights.load_transformer(copy)


def test_damaged_and_pickled_weights_are_refused(copy: Path) -> None:
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is damaged"):
        weights.load_vae(copy)
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match="may hold code"):
        weights.load_vae(copy)


def test_foreign_classes_are_refused(copy: Path) -> None:
    _change_config(copy / "model_index.json", vae=["somewhere", "AutoencoderDC"])
    with pytest.raises(ModelError, match="AutoencoderDC"):
        weights.load_vae(copy)


def test_published_class_names_are_mapped(copy: Path) -> None:
    _change_config(
        copy / "model_index.json",
        vae=["__vae__", "AutoencoderKLOpenSora"],
        text_encoder=["__text_encoder__", "PhiEncoderModel"],
        transformer=["__transformer__", "NOVATransformer3DModel"],
    )
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler", "clip_sample": False}))
    schedule = weights.load_scheduler(copy)
    assert isinstance(schedule, DDPMSchedule)
    assert schedule.config["clip_sample"] is False
    assert weights.load_text(copy).max_rows == 96
    weights.load_transformer(copy)
    weights.load_vae(copy)


def test_unknown_config_keys_are_left_out_with_a_warning(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    _change_config(copy / "transformer" / "config.json", image_size=128, newer_key=1)
    weights.load_transformer(copy)
    assert "newer_key" in caplog.text


def test_names_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model 'nana'"):
        weights.find_model("nana")
    with pytest.raises(ModelError, match="has no model_index.json"):
        weights.find_model(str(tmp_path))


def test_open_clip_reads_its_part() -> None:
    import open_clip

    name = f"local-dir:{NANO / 'open_clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name, require_pretrained=True)
    tokens = open_clip.get_tokenizer(name)(["a RED can", "a red can"])
    assert tokens.shape == (2, 48)
    assert torch.equal(tokens[0], tokens[1])
    assert model.encode_text(tokens).shape == (2, 64)
    assert preprocess is not None
