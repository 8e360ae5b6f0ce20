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
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from lora_studio import files
from lora_studio.errors import ModelError
from lora_studio.nova.config import ClipShape, image_patch
from lora_studio.nova.transformer import NOVATransformer3DModel

PARTS: Final = ("transformer", "vae", "text_encoder")
DOWNLOADED: Final = ("*.json", "*.txt", "*.safetensors")
_FPS = 12.0  # of every NOVA checkpoint
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


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
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        folder = download(name)
    else:
        raise ModelError(f'no model {name!r}: give "nano", a folder with a model_index.json, or a Hub id such as owner/model')
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{folder} has no model_index.json: it must be a folder in the published NOVA layout")
    return folder


def download(name: str, to: Path | None = None) -> Path:
    """Fetches what a model needs from the Hub, nothing else; goes on where an earlier try was stopped.

    Args:
        name: Hub id, `owner/model`.
        to: a folder to fill; None: the Hub's cache on this machine.

    Raises:
        ModelError: the Hub cannot be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(DOWNLOADED), local_dir=to))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise ModelError(
            f"no folder {name!r} here, and it could not be fetched from the Hub either ({type(fault).__name__}): "
            "download the model elsewhere and give the folder"
        ) from fault


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
        ModelError: there are none, or the index names a shard that is missing.
    """
    place = folder / part
    every = sorted(place.glob("*.safetensors"))
    plain = [path for path in every if path.name.count(".") == 1]
    variants = sorted({path.name.removesuffix(".safetensors").rpartition(".")[2] for path in every if path not in plain})
    paths = plain or [path for path in every if path.name.endswith(f".{variants[0]}.safetensors")] if every else []
    for index in sorted(place.glob("*.safetensors.index.json" if plain or not variants else f"*.index.{variants[0]}.json")):
        named = {place / name for name in read_config(index).get("weight_map", {}).values()}
        if missing := sorted(path.name for path in named - set(paths)):
            raise ModelError(f"{place}: {index.name} names {', '.join(missing)}, which is missing: fetch it again")
        paths = sorted(named)
    if not paths:
        raise ModelError(f"{place} has no .safetensors weights{_pickled(place)}")
    return paths


def _pickled(place: Path) -> str:
    other = sorted(path for path in place.glob("*") if path.suffix in _PICKLED)
    if not other:
        return ""
    path = other[0]
    convert = (
        f"python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{path.name}', weights_only=True), "
        f"'{path.stem.replace('pytorch_model', 'model') if place.name == 'text_encoder' else path.stem}.safetensors')\""
    )
    return f": {path.name} may hold code and is not read; convert it once, in that folder, with {convert}"


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
    """The backbone's config, with the defaults of keys that an older config does not have."""
    parameters = inspect.signature(NOVATransformer3DModel.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {**defaults, **read_config(folder / "transformer" / "config.json")}


def known_keys(path: Path, table: dict[str, Any], known: Iterable[str], unused: Iterable[str] = ()) -> dict[str, Any]:
    """The settings of a config.json without diffusers' own (`_class_name`) and the `unused` ones.

    Raises:
        ModelError: a key is not known: a setting that this version does not have would change what the model computes.
    """
    settings = {key: value for key, value in table.items() if not key.startswith("_") and key not in set(unused)}
    known = sorted(set(known) - {"self"})
    if unknown := sorted(set(settings) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        raise ModelError(f"{path}: keys that this version does not know: {', '.join(unknown)}{hint}")
    return settings


def class_of(folder: Path, part: str, known: tuple[str, ...]) -> str:
    """The class of a part, as model_index.json has it; the library it names is never imported.

    Raises:
        ModelError: it is none of `known`.
    """
    entry = read_config(folder / "model_index.json").get(part)
    name = entry[-1] if isinstance(entry, list) and entry else entry
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
