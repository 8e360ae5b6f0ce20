"""Values of the wrong kind or out of range: each ends in one message with the file, the key, what is allowed, what was got."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from lora_studio.errors import ModelError
from lora_studio.nova import weights
from lora_studio.nova.schedules import DDPMSchedule
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLOpenSora

NANO = weights.find_model("nano")
NAN = float("nan")

TRANSFORMER: list[tuple[str, Any]] = [
    *(("image_dim", value) for value in ("4", None, 4.0, -4, True, 10**12)),
    *(("image_stride", value) for value in (0, "8", 8.5)),
    *(("arch", value) for value in (None, ["vit_d3w128", "vit_d6w128"], [3, 6, 3], "vit_d3w128")),
    ("arch", ["mlp_d3w128", "vit_d6w128", "mlp_d3w256"]),
    ("arch", ["vit_d3w128", "vit_d6w128", "vit_d3w128"]),
    ("arch", ["vit_d3w128", "vit_d6w256", "mlp_d3w256"]),
    ("arch", ["vit_d3w128", "vit_d9999999w128", "mlp_d3w256"]),
    *(("video_base_size", value) for value in (3, [3, 4], [0, 4, 6], None)),
    *(("image_base_size", value) for value in (8, [8], [8, "12"], [16, 24], [12, 8])),
    *(("video_mixer_rank", value) for value in ("none", 0, False)),
    *(("clip_latents", value) for value in ("3", 2.5, 0)),
    *(("text_token_len", value) for value in ("96", 0, -1, None)),
    *(("text_token_dim", value) for value in ("128", None)),
    *(("rotary_pos_embed", value) for value in ("false", 0, None)),
    *(("image_size", value) for value in ("128", [128], [128, 192, 3])),
    ("_class_name", "NOVATransformer2DModel"),
]

VAE: list[tuple[str, Any]] = [
    *(("latent_channels", value) for value in ("4", None, 0)),
    *(("norm_num_groups", value) for value in (0, 7, "8")),
    *(("block_out_channels", value) for value in (16, [16, 32], ["a"] * 4, None)),
    *(("layers_per_block", value) for value in ("1", 0)),
    *(("scaling_factor", value) for value in ("1", None, 0, -1.0, NAN, float("inf"))),
    *(("shift_factor", value) for value in ("a", NAN)),
    ("act_fn", "relu"),
    *(("down_block_types", value) for value in ("DownEncoderBlock2D", ["DownEncoderBlock2D"] * 3, ["UpDecoderBlock3D"] * 4)),
    ("up_block_types", ["UpDecoderBlock2D"] * 4),
    *(("in_channels", value) for value in (4, "3")),
    ("sample_size", None),
    ("use_quant_conv", 1),
    *((key, [0.0, 0.0, 0.0, 0.0]) for key in ("latents_mean", "latents_std")),
    ("double_z", False),
    ("_class_name", "AutoencoderKL"),
    ("_class_name", "AutoencoderDC"),
]

IMAGE_VAE: list[tuple[str, Any]] = [
    ("act_fn", "foo"),
    ("down_block_types", ["DownEncoderBlock2D"] * 3),
    ("down_block_types", ["DownBlock2D"] * 4),
    ("block_out_channels", []),
    ("norm_num_groups", 7),
    ("latents_mean", [0.0] * 4),
    ("scaling_factor", None),
    ("_class_name", "AutoencoderKLOpenSora"),
]

FLOW_MATCHING: list[tuple[str, Any]] = [
    *((key, True) for key in (
        "use_karras_sigmas", "invert_sigmas", "stochastic_sampling", "use_exponential_sigmas", "use_beta_sigmas",
        "use_dynamic_shifting",
    )),
    ("shift_terminal", 0.1),
    ("time_shift_type", "foo"),
    *(("shift", value) for value in (0, -1, None, "1", NAN)),
    *(("num_train_timesteps", value) for value in (0, "1000", None, 1000.0)),
]  # fmt: skip

DDPM: list[tuple[str, Any]] = [
    ("prediction_type", "foo"),
    *(("beta_start", value) for value in (NAN, 0, "0.1", None)),
    ("beta_end", 1.5),
    ("timestep_spacing", "foo"),
    ("beta_schedule", "foo"),
    ("variance_type", "learned"),
    ("thresholding", True),
    *(("clip_sample_range", value) for value in (0, None)),
    ("clip_sample", "no"),
    ("steps_offset", -1),
    *(("trained_betas", value) for value in ([0.1, 0.2], [2.0] * 1000, 3)),
    *(("num_train_timesteps", value) for value in (0, "1000")),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "nano", ignore=shutil.ignore_patterns("open_clip")))


def _write(path: Path, key: str, value: Any, **others: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **others, key: value}))


def _refusal(path: Path, key: str) -> str:
    return rf"{re.escape(str(path))}: .*{key}.*, got "


@pytest.mark.parametrize(("key", "value"), TRANSFORMER)
def test_values_of_a_backbone(copy: Path, key: str, value: Any) -> None:
    path = copy / "transformer" / "config.json"
    _write(path, key, value)
    for read in (weights.load_transformer, weights.clip_shape, weights.load_text):
        with pytest.raises(ModelError, match=_refusal(path, key)):
            read(copy)


@pytest.mark.parametrize(("key", "value"), VAE)
def test_values_of_a_video_vae(copy: Path, key: str, value: Any) -> None:
    path = copy / "vae" / "config.json"
    _write(path, key, value)
    with pytest.raises(ModelError, match=_refusal(path, key)):
        weights.load_vae(copy)


@pytest.mark.parametrize(("key", "value"), IMAGE_VAE)
def test_values_of_an_image_vae(copy: Path, key: str, value: Any) -> None:
    path = copy / "vae" / "config.json"
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    _write(copy / "model_index.json", "vae", ["diffusers", "AutoencoderKL"])
    _write(path, key, value, **{"_class_name": "AutoencoderKL", **blocks})
    with pytest.raises(ModelError, match=_refusal(path, key)):
        weights.load_vae(copy)


@pytest.mark.parametrize(("key", "value"), FLOW_MATCHING)
def test_values_of_flow_matching(copy: Path, key: str, value: Any) -> None:
    path = copy / "scheduler" / "scheduler_config.json"
    _write(path, key, value)
    for read in (weights.load_scheduler, weights.load_scheduler_component):
        with pytest.raises(ModelError, match=_refusal(path, key)):
            read(copy)


@pytest.mark.parametrize(("key", "value"), DDPM)
def test_values_of_ddpm(copy: Path, key: str, value: Any) -> None:
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "DDPMScheduler", key: value}))
    for read in (weights.load_scheduler, weights.load_scheduler_component):
        with pytest.raises(ModelError, match=_refusal(path, key)):
            read(copy)


def test_a_scheduler_of_diffusers_is_held_to_the_same() -> None:
    """It may come from a script that swaps the schedule, and never was a file."""
    for changes in ({"use_karras_sigmas": True}, {"shift_terminal": 0.1}, {"stochastic_sampling": True}):
        with pytest.raises(ModelError, match=rf"{next(iter(changes))} must be false or null"):
            weights.schedule_of(FlowMatchEulerDiscreteScheduler(**changes))
    with pytest.raises(ModelError, match='prediction_type must be "epsilon" or "sample" or "v_prediction", got "foo"'):
        DDPMSchedule(DDPMScheduler(prediction_type="foo"))  # pyright: ignore[reportArgumentType]
    defaults = dict(FlowMatchEulerDiscreteScheduler().config)
    assert defaults["shift_terminal"] is None
    weights.schedule_of(FlowMatchEulerDiscreteScheduler(**{key: value for key, value in defaults.items() if key[0] != "_"}))
    assert weights.schedule_of(DDPMScheduler(trained_betas=[0.1] * 1000)).plan(3).timesteps.shape == (3,)


def test_every_fault_of_a_file_is_told_at_once(copy: Path) -> None:
    path = copy / "vae" / "config.json"
    _write(path, "latent_channels", "4", layers_per_block=0)
    want = 'layers_per_block must be a whole number from 1 to 1048576, got 0; latent_channels must be .*, got "4"'
    with pytest.raises(ModelError, match=want):
        weights.load_vae(copy)


def test_a_faulty_part_does_not_hide_the_others(copy: Path) -> None:
    _write(copy / "transformer" / "config.json", "image_stride", 0)
    _write(copy / "scheduler" / "scheduler_config.json", "shift", 0)
    faults = weights.verify_model(copy)
    assert "image_stride must be a whole number from 1" in faults["transformer"]
    assert "shift must be a finite number above 0, got 0" in faults["scheduler"]
    assert faults["vae"] == faults["text_encoder"] == ""


def test_classes_that_are_built_in_code_are_held_to_the_same() -> None:
    with pytest.raises(ModelError, match=r"image_base_size must be twice the last two of .* \[8, 12\], got \[8, 13\]"):
        NOVATransformer3DModel(image_base_size=(8, 13), video_base_size=(3, 4, 6), arch=("vit_d1w64", "vit_d2w64", "mlp_d1w64"))
    with pytest.raises(ModelError, match='act_fn must be "silu", got "relu"'):
        AutoencoderKLOpenSora(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, act_fn="relu")


@pytest.mark.parametrize("entry", [5, None, "DDPMScheduler", [], ["diffusers"], [None, None], {"a": 1}])
def test_damaged_entries_of_the_index_are_told(copy: Path, entry: Any) -> None:
    for part, read in (("scheduler", weights.load_scheduler), ("vae", weights.load_vae), ("tokenizer", weights.load_text)):
        _write(copy / "model_index.json", part, entry)
        with pytest.raises(ModelError, match=rf"model_index\.json: {part} must be a list of a library and a class, got"):
            read(copy)


def test_a_ddpm_schedule_that_runs_out_of_its_table_or_divides_by_zero_is_refused() -> None:
    with pytest.raises(ModelError, match=r"steps_offset must be less than num_train_timesteps \(1000\), got 5000"):
        weights.schedule_of(DDPMScheduler(steps_offset=5000))
    with pytest.raises(ModelError, match=r'prediction_type must be "v_prediction" or "sample", got "epsilon"'):
        weights.schedule_of(DDPMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing"))
    weights.schedule_of(DDPMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"))
    weights.schedule_of(DDPMScheduler(rescale_betas_zero_snr=True, timestep_spacing="leading"))


def test_a_shift_set_after_building_is_not_passed_over() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    scheduler.set_shift(3.0)
    with pytest.raises(ModelError, match=r"set_shift\(3\.0\) is not followed here: build the scheduler anew with shift=3\.0"):
        weights.schedule_of(scheduler)
