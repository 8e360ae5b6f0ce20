"""Fetches a model from the Hub, only the files that are read. Knows names of files, not what is in them."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lora_studio.errors import ModelError

_TEXTS = ("*.json", "*.txt")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_LISTED = [*_TEXTS, "*.safetensors", *(f"*{suffix}" for suffix in _PICKLED)]
_WEIGHED = ("transformer", "vae", "text_encoder")


def is_hub_name(name: str) -> bool:
    """Whether a name is of the Hub's form, `owner/model`."""
    halves = name.split("/")
    return (
        len(name) <= 96
        and len(halves) == 2
        and all(re.fullmatch(r"\w(?:[\w.-]*\w)?", half, re.ASCII) for half in halves)
        and not re.search(r"--|\.\.|\.git$", name)
    )


def download(name: str, to: Path | None = None) -> Path:
    """Fetches what a model needs from the Hub, nothing else; goes on where an earlier try was stopped.

    Args:
        name: Hub id, `owner/model`.
        to: a folder to fill; None: the Hub's cache on this machine.

    Raises:
        ModelError: this is no Hub id, the Hub cannot be reached, has no such model, or has no weights of it that are read.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    if not is_hub_name(name):
        raise ModelError(
            f"{name!r} is no Hub id: it must be owner/model, of letters, digits, -, _ and . "
            "(a folder is not pulled: check it with lora-studio model verify)"
        )
    try:
        listed = [file.filename for file in snapshot_download(name, local_dir=to, allow_patterns=_LISTED, dry_run=True)]
    except DryRunError as fault:  # the Hub does not answer: what was fetched before will do
        return _fetched_before(name, to, fault)
    except OSError as fault:
        raise _unreachable(name, fault) from fault
    chosen = needed_files(name, listed)
    try:
        return Path(snapshot_download(name, local_dir=to, allow_patterns=chosen))
    except OSError as fault:
        raise _unreachable(name, fault) from fault


def _fetched_before(name: str, to: Path | None, reason: OSError) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_dir=to, allow_patterns=list(_TEXTS), local_files_only=True))
    except OSError:
        raise _unreachable(name, reason) from reason


def _unreachable(name: str, fault: OSError) -> ModelError:
    return ModelError(
        f"no folder {name!r} here, and it could not be fetched from the Hub either ({type(fault.__cause__ or fault).__name__}): "
        "download the model elsewhere and give the folder"
    )


def needed_files(name: str, listed: Iterable[str]) -> list[str]:
    """Which files of a repository are fetched: configs and words, and each part's weights in one precision.

    Args:
        name: Hub id, for messages.
        listed: every file's path in the repository.

    Raises:
        ModelError: a part has only weights that are not read.
    """
    paths = [PurePosixPath(file) for file in listed]
    chosen = [str(path) for path in paths if any(path.match(pattern) for pattern in _TEXTS)]
    for place in sorted({path.parent for path in paths}):
        names = [path.name for path in paths if path.parent == place]
        weights = readable(names)
        if str(place) in _WEIGHED and not weights and (help_words := pickled(str(place), names)):
            raise ModelError(
                f"{name} has no .safetensors weights in {place}{help_words}; "
                f"to have it in a folder of yours: hf download {name} --local-dir FOLDER, then give FOLDER as the model"
            )
        chosen += [str(place / weight) for weight in weights]
    return sorted(chosen)


def readable(names: Iterable[str]) -> list[str]:
    """The safetensors files among those of one folder; those of one variant such as fp16 only where there are no others."""
    every = sorted(name for name in names if name.endswith(".safetensors"))
    plain = [name for name in every if name.count(".") == 1]
    variants = sorted({variant_of(name) for name in every if name not in plain})
    return plain or [name for name in every if variant_of(name) in variants[:1]]


def variant_of(name: str) -> str:
    """fp16 of model.fp16.safetensors, and of both spellings of its shards."""
    return name.removesuffix(".safetensors").rpartition(".")[2].partition("-")[0]


def pickled(part: str, names: Iterable[str]) -> str:
    """How to convert the weights among these files that are not read, as they may hold code; "" where there are none."""
    other = sorted(name for name in names if name.endswith(_PICKLED))
    if not other:
        return ""
    stem = PurePosixPath(other[0]).stem
    convert = (
        f"python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{other[0]}', weights_only=True), "
        f"'{stem.replace('pytorch_model', 'model') if part == 'text_encoder' else stem}.safetensors')\""
    )
    return f": {other[0]} may hold code and is not read; convert it once, in that folder, with {convert}"
