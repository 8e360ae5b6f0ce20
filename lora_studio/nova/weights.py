"""Loads models of the published layout, every key, shape and value checked, and writes that layout. Safetensors only.

The layout itself, and how a model is found, is in `layout.py`.
"""

import inspect
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors import SafetensorError, safe_open

from lora_studio import files
from lora_studio.errors import ModelError
from lora_studio.nova.layout import (
    class_of,
    clip_shape,
    find_model,
    known_keys,
    model_sha256,
    read_config,
    transformer_config,
    weight_files,
)
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler
from lora_studio.nova.text import TextEncoder
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora

__all__ = [
    "clip_shape",
    "find_model",
    "load_scheduler",
    "load_scheduler_component",
    "load_text",
    "load_transformer",
    "load_vae",
    "load_words",
    "model_sha256",
    "save_checkpoint",
    "schedule_of",
    "verify_model",
    "weight_files",
]

Network = TypeVar("Network", bound=torch.nn.Module)

_TOKENIZERS = ("CodeGenTokenizerFast", "CodeGenTokenizer", "TokenizersBackend")  # the last: as transformers 5 writes it
_PHI_KEYS = ("partial_rotary_factor", "rope_theta", "rope_scaling", "torch_dtype", "auto_map", "qk_layernorm", "model_type")
_UNUSED_KEYS = ("latents_mean", "latents_std", "double_z")  # written into VAE configs, used by no NOVA model


def load_transformer(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> NOVATransformer3DModel:
    """Loads the backbone for inference; see `load_vae` for what is raised."""
    class_of(folder, "transformer", ("NOVATransformer3DModel",))
    return _load(NOVATransformer3DModel, folder, "transformer", device, dtype)


def load_vae(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKLOpenSora | AutoencoderKLImage:
    """Loads the autoencoder for inference.

    Raises:
        ModelError: a file is missing or damaged, the class or a setting is unknown, any key or shape differs from the config,
            or a weight is not finite.
    """
    name = class_of(folder, "vae", ("AutoencoderKLOpenSora", "AutoencoderKL", "AutoencoderKLImage"))
    return _load(AutoencoderKLOpenSora if name == "AutoencoderKLOpenSora" else AutoencoderKLImage, folder, "vae", device, dtype)


def load_text(folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> TextEncoder:
    """Loads tokenizer and text encoder for inference; see `load_vae` for what is raised."""
    class_of(folder, "text_encoder", ("PhiEncoderModel", "PhiModel"))
    class_of(folder, "tokenizer", _TOKENIZERS)
    return load_words(folder, transformer_config(folder)["text_token_len"], device, dtype)


def load_words(
    folder: Path, max_rows: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> TextEncoder:
    """`load_text` from a folder that need not hold anything but `tokenizer/` and `text_encoder/`."""
    from transformers import PhiConfig, PhiModel

    place = folder / "text_encoder"
    weight_files(folder, "text_encoder")
    config = read_config(place / "config.json")
    known_keys(place / "config.json", config, {*PhiConfig().to_dict(), *_PHI_KEYS})
    tokenizer = _load_tokenizer(folder / "tokenizer")
    try:
        with _quiet_transformers():
            model, report = PhiModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                place, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except SafetensorError as fault:
        raise ModelError(f"{place} has a damaged weight file ({fault}): fetch it again") from None
    if wrong := sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"])):
        raise ModelError(f"{place} does not fit its config.json: missing or misshapen are {_some(wrong)}")
    if leftover := sorted(key for key in report["unexpected_keys"] if not key.startswith("lm_head.")):
        raise ModelError(f"{place} does not fit its config.json: not in this model are {_some(leftover)}")
    _check_values(model.state_dict(), place)
    return TextEncoder(tokenizer, model.eval().requires_grad_(False).to(device), max_rows)


def _load_tokenizer(place: Path) -> Any:
    from transformers import AutoTokenizer

    kept = [name for name in ("tokenizer.json", "vocab.json") if (place / name).is_file()]
    if not kept:
        raise ModelError(f"{place} holds neither tokenizer.json nor vocab.json: the folder is incomplete")
    for name in kept:
        read_config(place / name)  # damaged JSON is told here: the library's own words name no file
    return AutoTokenizer.from_pretrained(place, local_files_only=True)


def load_scheduler(folder: Path) -> FlowMatchScheduler | DDPMSchedule:
    """Reads the noise schedule.

    Raises:
        ModelError: the file is missing or names a schedule that is not supported.
    """
    scheduler = load_scheduler_component(folder)
    library = (read_config(folder / "model_index.json").get("scheduler") or [""])[0]
    return schedule_of(scheduler, even_stride=library.startswith("diffnext"))  # the published code's own, not diffusers'


def load_scheduler_component(folder: Path) -> DDPMScheduler | FlowMatchEulerDiscreteScheduler:
    """Reads the noise schedule as diffusers' own class; see `load_scheduler` for what is raised."""
    config = read_config(folder / "scheduler" / "scheduler_config.json")
    name = config.get("_class_name", (read_config(folder / "model_index.json").get("scheduler") or [""])[-1])
    classes = {kind.__name__: kind for kind in (FlowMatchEulerDiscreteScheduler, DDPMScheduler)}
    if name not in classes:
        raise ModelError(f"{folder}: the scheduler is {name!r}; known are {', '.join(classes)}")
    known_keys(folder / "scheduler" / "scheduler_config.json", config, inspect.signature(classes[name].__init__).parameters)
    scheduler = classes[name].from_config(config)
    assert isinstance(scheduler, DDPMScheduler | FlowMatchEulerDiscreteScheduler)
    return scheduler


def schedule_of(
    scheduler: DDPMScheduler | FlowMatchEulerDiscreteScheduler, even_stride: bool = False
) -> FlowMatchScheduler | DDPMSchedule:
    """The schedule that trains and samples, from diffusers' class with the same settings.

    Raises:
        ModelError: a setting is not supported.
    """
    if isinstance(scheduler, DDPMScheduler):
        return DDPMSchedule(scheduler, even_stride)
    if scheduler.config["use_dynamic_shifting"]:
        raise ModelError("the scheduler's use_dynamic_shifting is not supported, NOVA's checkpoints have a fixed shift")
    return FlowMatchScheduler(scheduler.config["num_train_timesteps"], scheduler.config["shift"])


def verify_model(folder: Path) -> dict[str, str]:
    """Loads every part, so that every file, key, shape and value is looked at, one part after the other.

    Returns:
        What is wrong with each part, "" where nothing is; parts are those of the layout, scheduler and tokenizer included.
    """
    faults = {}
    for part, load in {
        "transformer": load_transformer, "vae": load_vae, "text_encoder": load_text, "scheduler": load_scheduler,
    }.items():  # fmt: skip
        try:
            load(folder)
            faults[part] = ""
        except (ModelError, OSError) as fault:
            faults[part] = str(fault)
    return faults


def save_checkpoint(transformer: NOVATransformer3DModel, source: Path, folder: Path) -> None:
    """Writes a whole model folder in the published layout: this transformer, and the other parts of `source`.

    Args:
        transformer: a plain one: adapters merged or taken off.
        source: the model folder whose VAE, text encoder, tokenizer and scheduler go with it.
        folder: to be made; appears whole or not at all.

    Raises:
        ModelError: the transformer still carries an adapter, or a folder of that name exists.
    """
    if adapted := [name for name, _ in transformer.named_parameters() if ".lora_" in name]:
        raise ModelError(f"the transformer still carries an adapter ({_some(adapted)}): merge it first")
    if folder.exists():
        raise ModelError(f"{folder} exists: give the name of a folder that does not")
    with files.atomic_folder(folder) as temporary:
        shutil.copyfile(source / "model_index.json", temporary / "model_index.json")
        for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
            shutil.copytree(source / part, temporary / part)
        transformer.save_pretrained(temporary / "transformer", max_shard_size="2GB")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    was_on, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # it reports every key it leaves out, such as the language head's
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if was_on:
            transformers_logging.enable_progress_bar()


def _load(network: type[Network], folder: Path, part: str, device: str | torch.device, dtype: torch.dtype) -> Network:
    model = _empty(network, folder, part)
    state: dict[str, torch.Tensor] = {}
    for file in weight_files(folder, part):
        _read_shard(file, dtype, state)
    _check_state(model.state_dict(), state, folder / part)
    _check_values(state, folder / part)
    model.load_state_dict(state, assign=True)
    return model.to(device).eval().requires_grad_(False)


def _empty(network: type[Network], folder: Path, part: str) -> Network:
    """The model that a config describes, without memory for its weights."""
    path = folder / part / "config.json"
    known = inspect.signature(network.__init__).parameters
    table = known_keys(path, read_config(path), known, _UNUSED_KEYS if part == "vae" else ())
    with torch.device("meta"):
        return network(**table)


def _read_shard(path: Path, dtype: torch.dtype, state: dict[str, torch.Tensor]) -> None:
    """Adds the tensors of one file; a file is mapped, not read whole, so memory holds the weights once."""
    try:
        with safe_open(path, framework="pt") as shard:
            for key in shard.keys():  # noqa: SIM118
                if key in state:
                    raise ModelError(f"{path}: {key} is also in another file of this part: one of them is left over")
                tensor = shard.get_tensor(key)
                if not tensor.is_floating_point():
                    raise ModelError(f"{path}: {key} is {tensor.dtype}; weights must be floating-point numbers")
                state[key] = tensor.to(dtype)
    except SafetensorError as fault:
        raise ModelError(f"{path} is damaged ({fault}): fetch it again") from None


def _check_state(want: dict[str, Any], have: dict[str, torch.Tensor], place: Path) -> None:
    faults = []
    if missing := sorted(want.keys() - have.keys()):
        faults.append(f"missing: {_some(missing)}")
    if leftover := sorted(have.keys() - want.keys()):
        faults.append(f"not in this model: {_some(leftover)}")
    differing = [key for key in want.keys() & have.keys() if want[key].shape != have[key].shape]
    if shapes := [f"{key} is {list(have[key].shape)}, not {list(want[key].shape)}" for key in sorted(differing)]:
        faults.append(f"of another shape: {_some(shapes)}")
    if faults:
        raise ModelError(f"the weights in {place} do not fit its config.json; {'; '.join(faults)}")


def _check_values(state: dict[str, torch.Tensor], place: Path) -> None:
    wrong = [key for key, value in state.items() if not torch.isfinite(value.sum(dtype=torch.float32))]  # one pass, no copy
    if bad := [key for key in wrong if not torch.isfinite(state[key]).all()]:
        raise ModelError(f"{len(bad)} weights in {place} are not finite numbers ({_some(sorted(bad))}): fetch them again")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
