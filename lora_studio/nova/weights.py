"""Loads models of the published layout, every key, shape and value checked, and writes that layout. Safetensors only.

The layout itself, and how a model is found, is in `layout.py`.
"""

import inspect
import shutil
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from lora_studio import files
from lora_studio.errors import ModelError
from lora_studio.nova.fit import check_fit, misfit
from lora_studio.nova.layout import (
    class_of,
    clip_shape,
    find_model,
    index_entry,
    known_keys,
    model_sha256,
    read_config,
    transformer_config,
    vae_config,
    weight_files,
)
from lora_studio.nova.rules import check_scheduler
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler
from lora_studio.nova.shards import check_keys, check_values, read_weights, some
from lora_studio.nova.text import TextEncoder
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora
from lora_studio.nova.words import load_words

__all__ = [
    "check_fit",
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


def load_transformer(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> NOVATransformer3DModel:
    """Loads the backbone for inference; see `load_vae` for what is raised."""
    class_of(folder, "transformer", ("NOVATransformer3DModel",))
    return _load(NOVATransformer3DModel, transformer_config(folder), folder, "transformer", device, dtype)


def load_vae(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKLOpenSora | AutoencoderKLImage:
    """Loads the autoencoder for inference.

    Raises:
        ModelError: a file is missing or damaged, the class or a setting is unknown, any key or shape differs from the config,
            a weight is not finite, or the part does not fit the backbone beside it.
    """
    check_fit(folder, "vae")
    return _load_vae(folder, device, dtype)


def _load_vae(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKLOpenSora | AutoencoderKLImage:
    return _load(*vae_config(folder), folder, "vae", device, dtype)


def load_text(folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> TextEncoder:
    """Loads tokenizer and text encoder for inference; see `load_vae` for what is raised."""
    check_fit(folder, "text_encoder")
    return _load_text(folder, transformer_config(folder)["text_token_len"], device, dtype)


def _load_text(
    folder: Path, max_rows: int = 1, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> TextEncoder:
    class_of(folder, "text_encoder", ("PhiEncoderModel", "PhiModel", "PhiForCausalLM"))
    class_of(folder, "tokenizer", _TOKENIZERS)
    return load_words(folder, max_rows, device, dtype)


def load_scheduler(folder: Path) -> FlowMatchScheduler | DDPMSchedule:
    """Reads the noise schedule.

    Raises:
        ModelError: the file is missing, names a schedule that is not supported, or a key or value in it is not.
    """
    library, _ = index_entry(folder, "scheduler")
    # diffnext is the library of the published code, whose DDPM has a stride of its own
    return schedule_of(load_scheduler_component(folder), even_stride=library.startswith("diffnext"))


def load_scheduler_component(folder: Path) -> DDPMScheduler | FlowMatchEulerDiscreteScheduler:
    """Reads the noise schedule as diffusers' own class; see `load_scheduler` for what is raised."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = read_config(path)
    name = config.get("_class_name", index_entry(folder, "scheduler")[1])
    kinds = [kind for kind in (FlowMatchEulerDiscreteScheduler, DDPMScheduler) if kind.__name__ == name]
    if not kinds:
        raise ModelError(f"{path}: the scheduler is {name!r}; known are FlowMatchEulerDiscreteScheduler, DDPMScheduler")
    settings = known_keys(path, config, inspect.signature(kinds[0].__init__).parameters)
    check_scheduler(settings, kinds[0] is DDPMScheduler, path)
    return kinds[0](**settings)


def schedule_of(
    scheduler: DDPMScheduler | FlowMatchEulerDiscreteScheduler, even_stride: bool = False
) -> FlowMatchScheduler | DDPMSchedule:
    """The schedule that trains and samples, from diffusers' class with the same settings.

    Raises:
        ModelError: a setting is not supported.
    """
    if isinstance(scheduler, DDPMScheduler):
        return DDPMSchedule(scheduler, even_stride)
    check_scheduler(dict(scheduler.config), is_ddpm=False)
    if scheduler.shift != scheduler.config["shift"]:
        raise ModelError(
            f"set_shift({scheduler.shift}) is not followed here: build the scheduler anew with shift={scheduler.shift} "
            f"(its config says {scheduler.config['shift']})"
        )
    return FlowMatchScheduler(scheduler.config["num_train_timesteps"], scheduler.config["shift"])


def verify_model(folder: Path) -> dict[str, str]:
    """Loads every part, so that every file, key, shape and value is looked at, one part after the other.

    Returns:
        What is wrong with each part, "" where nothing is; parts are those of the layout, scheduler and tokenizer included.
        A part that is right by itself, but does not fit the backbone, is wrong too.
    """
    faults = {}
    for part, load in {
        "transformer": load_transformer, "vae": _load_vae, "text_encoder": _load_text, "scheduler": load_scheduler,
    }.items():  # fmt: skip
        try:
            load(folder)
            faults[part] = ""
        except (ModelError, OSError) as fault:
            faults[part] = str(fault)
    for part in ("vae", "text_encoder"):
        if not faults["transformer"] and not faults[part]:
            faults[part] = misfit(folder, part)
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
        raise ModelError(f"the transformer still carries an adapter ({some(adapted)}): merge it first")
    if folder.exists():
        raise ModelError(f"{folder} exists: give the name of a folder that does not")
    with files.atomic_folder(folder) as temporary:
        shutil.copyfile(source / "model_index.json", temporary / "model_index.json")
        for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
            shutil.copytree(source / part, temporary / part)
        transformer.save_pretrained(temporary / "transformer", max_shard_size="2GB")


def _load(
    network: type[Network], settings: dict[str, Any], folder: Path, part: str, device: str | torch.device, dtype: torch.dtype
) -> Network:
    with torch.device("meta"):  # no memory for its weights yet
        model = network(**settings)
    state = read_weights(weight_files(folder, part), dtype)
    check_keys(model.state_dict(), state, folder / part)
    check_values(state, folder / part)
    model.load_state_dict(state, assign=True)
    return model.to(device).eval().requires_grad_(False)
