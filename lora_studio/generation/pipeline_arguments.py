"""What may be handed to `NovaPipeline`, and what is said when something else is. Computes nothing, loads nothing.

Every check runs before any work does, and names the argument as the caller wrote it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation.settings import SamplerSettings

_OUTPUTS: Final = ("np", "pt", "pil", "uint8", "latent")
_SETTINGS: Final = {  # of the pipeline -> of SamplerSettings
    "num_inference_steps": "num_steps", "num_diffusion_steps": "num_diffusion_steps", "guidance_scale": "guidance",
    "min_guidance_scale": "min_guidance", "guidance_trunc": "guidance_trunc", "guidance_renorm": "guidance_renorm",
    "image_guidance_scale": "image_guidance", "guidance_every": "guidance_every", "motion_flow": "motion_flow",
}  # fmt: skip
_PRECISIONS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LOADING: Final = {  # diffusers' other arguments of from_pretrained: the only value this loader can mean, and why
    "use_safetensors": (True, "nothing but safetensors is read"),
    "low_cpu_mem_usage": (True, "files are always mapped, so that memory holds the weights once"),
    "trust_remote_code": (False, "nothing of a model's folder is executed"),
    "variant": (None, "the files of a variant are found by themselves where a folder has no others"),
}


def precision(dtype: Any, name: str) -> torch.dtype:
    """The dtype meant by a torch dtype or its name.

    Raises:
        ModelError: the model cannot compute in it.
    """
    found = _PRECISIONS.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if isinstance(found, torch.dtype) and found in _PRECISIONS.values():
        return found
    raise ModelError(
        f"{name} must be float32, bfloat16 or float16 (torch's, or the name), got {dtype!r}; for fewer bits pass "
        "quantization_config=BitsAndBytesConfig(load_in_8bit=True) or (load_in_4bit=True) to from_pretrained"
    )


def check_loading(given: Mapping[str, Any]) -> None:
    """Lets those of diffusers' loading arguments pass that ask for what happens anyway.

    Raises:
        ModelError: any other argument, or any other value.
    """
    for name, value in given.items():
        if name not in _LOADING:
            raise ModelError(
                f"from_pretrained has no argument {name}: it takes torch_dtype (or dtype), quantization_config, device_map and "
                f"local_files_only, besides {', '.join(_LOADING)}; set a part of your own afterwards (pipeline.scheduler = ...), "
                "and for another revision or cache download the folder first and give its path"
            )
        only, why = _LOADING[name]
        if value is not None and value is not only:
            raise ModelError(f"{name} can only be {only}, got {value!r}: {why}; leave it out")


def check_device(device_map: Any) -> None:
    """Refuses what is not one device for the whole pipeline."""
    try:
        torch.device(device_map)
    except (RuntimeError, TypeError):
        raise ModelError(
            f"device_map must be None or one device such as 'cpu', 'cuda' or 'cuda:0', got {device_map!r}: to hold one part at a "
            "time on the GPU call enable_model_cpu_offload() after loading"
        ) from None


def check_adapter_name(name: Any) -> None:
    """Refuses what torch takes for no name of a part.

    Raises:
        AdapterError: it is no text, empty, has a dot in it or is a word that torch keeps for itself.
    """
    if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise AdapterError(
            f"adapter_name must be a text without dots, and no word of torch's such as 'keys' or 'train', got {name!r}: "
            "choose another, such as 'brand'"
        )


def check_call(
    output_type: Any, num_videos_per_prompt: Any, max_latent_length: Any, callback: Any, spatiotemporal_guidance_scale: Any
) -> None:
    """Checks the arguments of a call that need no model to be judged.

    Raises:
        ModelError: one is not what it should be.
    """
    if output_type not in _OUTPUTS:
        raise ModelError(f"output_type must be {', '.join(_OUTPUTS[:-1])} or {_OUTPUTS[-1]}, got {output_type!r}")
    if not _is_whole(num_videos_per_prompt) or num_videos_per_prompt < 1:
        raise ModelError(f"num_videos_per_prompt must be 1 or more, got {num_videos_per_prompt!r}")
    if max_latent_length is not None and (not _is_whole(max_latent_length) or max_latent_length < 1):
        raise ModelError(
            f"max_latent_length must be None, or 1 or more latent frames (each after the first is four frames), "
            f"got {max_latent_length!r}"
        )
    if callback is not None and not callable(callback):
        raise ModelError(f"callback must be a function of sets done and sets in all, got {callback!r}")
    scale = spatiotemporal_guidance_scale
    if not isinstance(scale, int | float) or not math.isfinite(scale) or scale < 0:
        raise ModelError(f"spatiotemporal_guidance_scale must be a number of 0 or more (it has no effect), got {scale!r}")


def sampler_settings(**given: Any) -> SamplerSettings:
    """The sampler's settings out of the pipeline's arguments.

    Raises:
        ModelError: values out of range, named as the pipeline has them.
    """
    table = {ours: given[theirs] for theirs, ours in _SETTINGS.items()}
    try:
        return SamplerSettings.model_validate(table)
    except ValidationError as fault:
        theirs = {ours: name for name, ours in _SETTINGS.items()}
        lines = [
            f"{theirs[str(entry['loc'][0])]}: {_renamed(entry['msg'].removeprefix('Value error, '), theirs)}, "
            f"got {entry['input']!r}"
            for entry in fault.errors()
        ]
        raise ModelError("; ".join(lines)) from None


def _renamed(message: str, names: Mapping[str, str]) -> str:
    """A message about the sampler's settings, with the names that the pipeline has for them."""
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), message)


def prompts(texts: Any, embeds: Any, name: str, width: int) -> list[str] | list[Tensor]:
    """The texts, or the rows (n_i, D_text) of each, as a list with at least one entry; `width` is D_text.

    Raises:
        ModelError: both or neither are given, or they are something else.
    """
    if (texts is None) == (embeds is None):
        raise ModelError(f"give either {name} or {name}_embeds")
    if embeds is not None:
        return _rows(embeds, name, width)
    every = [texts] if isinstance(texts, str) else texts
    if not isinstance(every, Sequence) or not every or not all(isinstance(text, str) for text in every):
        raise ModelError(f"{name} must be a text or a list of texts, got {texts!r}")
    return list(every)


def _rows(embeds: Any, name: str, width: int) -> list[Tensor]:
    if not isinstance(embeds, Sequence | Tensor) or isinstance(embeds, str) or len(embeds) == 0:
        got = "an empty list" if isinstance(embeds, Sequence) and not embeds else type(embeds).__name__
        raise ModelError(f"{name}_embeds must be a list with a tensor (n, {width}) for each text, got {got}")
    for row in embeds:
        if not isinstance(row, Tensor):
            raise ModelError(f"{name}_embeds must hold torch tensors (n, {width}), got {type(row).__name__}")
        if row.ndim != 2 or row.shape[1] != width or not row.is_floating_point() or not torch.isfinite(row).all():
            got = f"{str(row.dtype).removeprefix('torch.')} {tuple(row.shape)}"
            raise ModelError(f"{name}_embeds must be finite rows (n, {width}) for each text, got {got}")
    return list(embeds)


def negatives(texts: Any, embeds: Any, count: int, width: int) -> list[str] | list[Tensor] | None:
    """What to steer away from: one for all or one for each of `count` prompts; None where nothing is given.

    Raises:
        ModelError: any other number of them, or they are something else.
    """
    if texts is None and embeds is None:
        return None
    found = prompts(texts, embeds, "negative_prompt", width)
    if len(found) not in (1, count):
        name = "negative_prompt" if embeds is None else "negative_prompt_embeds"
        raise ModelError(f"{name} must be one for all prompts or one for each of the {count}, got {len(found)}")
    return found


def seeds(seed: Any, generator: Any, count: int) -> list[int]:
    """One seed for each of `count` clips: counted up from one, as given, or drawn from the generator.

    Raises:
        ModelError: they are no whole numbers of 64 bits, or another number of them.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        got = type(generator).__name__
        raise ModelError(f"generator must be one torch.Generator, got {got}: for a seed per clip give seed=[...]")
    if seed is None and generator is not None:
        return torch.randint(2**62, (count,), generator=generator, device=generator.device).tolist()
    if _is_whole(seed) or seed is None:
        return [_seed(int(seed or 0) + index) for index in range(count)]
    is_list = isinstance(seed, Sequence) or (isinstance(seed, np.ndarray) and seed.ndim == 1)
    if not is_list or not all(_is_whole(one) for one in seed):
        raise ModelError(f"seed must be a whole number, or one for each clip, got {seed!r}")
    if len(seed) != count:
        raise ModelError(f"give one seed or {count}, one per clip; got {len(seed)}")
    return [_seed(int(one)) for one in seed]


def _seed(seed: int) -> int:
    if not -(2**63) <= seed < 2**63:
        raise ModelError(f"seed must be a whole number of 64 bits, from -2**63 to 2**63 - 1, got {seed}")
    return seed


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def picture(image: Any) -> np.ndarray:
    """A picture of either kind as uint8 (H, W, 3).

    Raises:
        ModelError: it is no picture.
    """
    if isinstance(image, Image.Image):
        return np.array(image.convert("RGB"))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ModelError(f"image must be a PIL picture or a uint8 array (H, W, 3), got {what}")
    return image.copy()
