"""Where a model lies and what its folder holds, from names and configs alone. Loads no weights, runs no code of a folder.

    FOLDER/
      model_index.json     which class each part is
      transformer/  vae/  text_encoder/      config.json and *.safetensors, in one file or in shards with an index
      tokenizer/           tokenizer.json or vocab.json and merges.txt
      scheduler/           scheduler_config.json
"""

import difflib
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from lora_studio import files
from lora_studio.errors import ModelError
from lora_studio.nova import rules
from lora_studio.nova.config import ClipShape, image_patch
from lora_studio.nova.hub import download, is_hub_name, pickled, readable, variant_of
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora

__all__ = [
    "PARTS",
    "class_of",
    "clip_shape",
    "download",
    "find_model",
    "index_entry",
    "known_keys",
    "model_sha256",
    "read_config",
    "transformer_config",
    "vae_config",
    "weight_files",
]

PARTS: Final = ("transformer", "vae", "text_encoder")
_FPS = 12.0  # of every NOVA checkpoint
_UNUSED_KEYS = ("latents_mean", "latents_std", "double_z")  # written into VAE configs; null, or what every VAE here does


def find_model(name: str) -> Path:
    """The folder of a model.

    Args:
        name: "nano" for the model set shipped in this package, a folder, or a Hub id such as `owner/model`. Only a Hub id
            may open the network, and only for what is not in the local cache yet.

    Raises:
        ModelError: there is no such model, or its folder has no model_index.json.
    """
    if name == "nano":
        folder = Path(__file__).parents[1] / "assets" / "nova_nano"
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    elif name.startswith((".", "/", "~")):
        raise ModelError(f"{name}: no such folder; give one with a model_index.json, or a Hub id such as owner/model")
    elif is_hub_name(name):
        folder = download(name)
    else:
        raise ModelError(f'no model {name!r}: give "nano", a folder with a model_index.json, or a Hub id such as owner/model')
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{folder} has no model_index.json: it must be a folder in the published NOVA layout")
    return folder


def model_sha256(folder: Path, part: str = "transformer") -> str:
    """Hash of a part's weight files and config, 64 hexadecimal digits.

    Raises:
        ModelError: the part has no weights, or a shard is missing.
    """
    paths = [*weight_files(folder, part), folder / part / "config.json"]
    return files.sha256_json({path.name: files.sha256_file(path) for path in paths})


def weight_files(folder: Path, part: str) -> list[Path]:
    """The safetensors files of a part; files of a variant such as fp16 only where there are no others.

    Raises:
        ModelError: there are none, an index is damaged, or it names a shard that is missing.
    """
    place = folder / part
    paths = [place / name for name in readable([path.name for path in place.glob("*.safetensors")])]
    is_variant = bool(paths) and paths[0].name.count(".") > 1
    for index in sorted(place.glob(f"*.index.{variant_of(paths[0].name)}.json" if is_variant else "*.safetensors.index.json")):
        named = {place / name for name in _shards(index)}
        if missing := sorted(path.name for path in named - set(place.glob("*.safetensors"))):
            raise ModelError(f"{place}: {index.name} names {', '.join(missing)}, which is missing: fetch it again")
        paths = sorted(named)
    if not paths:
        raise ModelError(f"{place} has no .safetensors weights{pickled(part, [path.name for path in place.glob('*')])}")
    return paths


def _shards(index: Path) -> set[str]:
    table = read_config(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) and Path(name).name == name for name in table.values()):
        raise ModelError(f"{index}: weight_map must be a table that names the file of each weight, fetch it again")
    return set(table.values())


def clip_shape(folder: Path) -> ClipShape:
    """What one clip of this model looks like, from its configs alone."""
    config = transformer_config(folder)
    stride, patch = config["image_stride"], image_patch(config["image_stride"])
    height, width = (side * patch for side in config["image_base_size"])
    num_latents = config["clip_latents"] if config["video_base_size"][0] > 1 else 1
    return ClipShape(
        num_frames=4 * (num_latents - 1) + 1,
        fps=_FPS,
        height=height * stride,
        width=width * stride,
        latent=(config["image_dim"], num_latents, height, width),
    )


def transformer_config(folder: Path) -> dict[str, Any]:
    """The backbone's settings, with the defaults of keys that an older config does not have.

    Raises:
        ModelError: the file is missing or damaged, or a key or value in it is not known.
    """
    path = folder / "transformer" / "config.json"
    settings = _settings(path, NOVATransformer3DModel, ("NOVATransformer3DModel",))
    rules.check_transformer(settings, path)
    return settings


def vae_config(folder: Path) -> tuple[type[AutoencoderKLOpenSora | AutoencoderKLImage], dict[str, Any]]:
    """The class of the autoencoder and its settings; raises as `transformer_config` does."""
    path, video, image = folder / "vae" / "config.json", ("AutoencoderKLOpenSora",), ("AutoencoderKL", "AutoencoderKLImage")
    is_video = class_of(folder, "vae", video + image) in video
    network = AutoencoderKLOpenSora if is_video else AutoencoderKLImage
    settings = _settings(path, network, video if is_video else image, _UNUSED_KEYS)
    rules.check_vae(settings, is_video, path)
    return network, {key: value for key, value in settings.items() if key not in _UNUSED_KEYS}


def _settings(path: Path, network: type, names: tuple[str, ...], unused: tuple[str, ...] = ()) -> dict[str, Any]:
    table = read_config(path)
    if table.get("_class_name", names[0]) not in names:
        raise ModelError(f"{path}: _class_name must be {' or '.join(names)} (or not be there), got {table['_class_name']!r}")
    parameters = inspect.signature(network.__init__).parameters
    defaults = {key: value.default for key, value in parameters.items() if value.default is not inspect.Parameter.empty}
    return {**defaults, **known_keys(path, table, {*parameters, *unused})}


def known_keys(path: Path, table: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The settings of a config.json without diffusers' own (`_class_name`).

    Raises:
        ModelError: a key is not known: a setting that this version does not have would change what the model computes.
    """
    settings = {key: value for key, value in table.items() if not key.startswith("_")}
    known = sorted(set(known) - {"self"})
    if unknown := sorted(set(settings) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        raise ModelError(f"{path}: keys that this version does not know: {', '.join(unknown)}{hint}")
    return settings


def index_entry(folder: Path, part: str) -> tuple[str, str]:
    """Library and class of a part, as model_index.json has them; "" and "" where it has none. The library is never imported.

    Raises:
        ModelError: the entry is damaged.
    """
    entry = read_config(folder / "model_index.json").get(part, ["", ""])
    if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(name, str) for name in entry):
        raise ModelError(f"{folder / 'model_index.json'}: {part} must be a list of a library and a class, got {entry!r}")
    return entry[0], entry[1]


def class_of(folder: Path, part: str, known: tuple[str, ...]) -> str:
    """The class of a part, as model_index.json has it.

    Raises:
        ModelError: it is none of `known`.
    """
    _, name = index_entry(folder, part)
    if name not in known:
        raise ModelError(f"{folder / 'model_index.json'}: {part} is {name!r}; known are {', '.join(known)}")
    return name


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file of a model or a recording.

    Raises:
        ModelError: it is missing or damaged.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: the folder is incomplete")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ModelError(f"{path} is not valid JSON ({fault}): fetch it again") from None
    if not isinstance(table, dict):
        raise ModelError(f"{path} must hold a table of settings, got a {type(table).__name__}: fetch it again")
    return table
