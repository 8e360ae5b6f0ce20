"""Loads the tokenizer and Phi. The weights are read and checked as those of the other parts are; transformers only builds.

Of a text encoder's config only what changes the numbers is used, and the ids of its marks; dropout, output switches and the
like are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lora_studio.errors import ModelError
from lora_studio.nova.layout import known_keys, read_config, weight_files
from lora_studio.nova.rules import PHI, check_phi
from lora_studio.nova.shards import check_keys, check_values, read_weights
from lora_studio.nova.text import TextEncoder

_OLDER_KEYS = ("partial_rotary_factor", "rope_theta", "rope_scaling", "torch_dtype", "auto_map", "qk_layernorm", "model_type")


def load_words(
    folder: Path, max_rows: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> TextEncoder:
    """Loads from a folder that need not hold anything but `tokenizer/` and `text_encoder/`.

    Raises:
        ModelError: a file is missing or damaged, a setting is not known or not possible, any key or shape of the weights differs
            from the config, a weight is not finite, or the tokenizer has ids that the encoder has not.
    """
    from transformers import PhiConfig, PhiModel

    place = folder / "text_encoder"
    config: Any = PhiConfig(**_phi_settings(place / "config.json"))
    tokenizer = _load_tokenizer(folder / "tokenizer")
    _check_vocabulary(tokenizer, config.vocab_size, folder)
    state = _without_head(read_weights(weight_files(folder, "text_encoder"), dtype))
    with torch.device("meta"):
        check_keys(PhiModel(config).state_dict(), state, place)
    check_values(state, place)
    with _quiet_transformers():
        model: Any = PhiModel.from_pretrained(None, config=config, state_dict=state, dtype=dtype)  # no copy of `state`
    return TextEncoder(tokenizer, model.eval().requires_grad_(False).to(device), max_rows)


def _phi_settings(path: Path) -> dict[str, Any]:
    from transformers import PhiConfig

    defaults = PhiConfig().to_dict()
    table = known_keys(path, read_config(path), {*defaults, *_OLDER_KEYS})
    check_phi({**{key: defaults[key] for key in PHI if key in defaults and not key.startswith("rope")}, **table}, path)
    return {key: value for key, value in table.items() if key in PHI}


def _without_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's own weights: a language model's checkpoint has a prefix and a head, old ones a table of angles."""
    return {
        key.removeprefix("model."): value
        for key, value in state.items()
        if not key.startswith("lm_head.") and not key.endswith("rotary_emb.inv_freq")
    }


def _load_tokenizer(place: Path) -> Any:
    from transformers import AutoTokenizer

    _check_tokenizer(place)
    try:
        return AutoTokenizer.from_pretrained(place, local_files_only=True)
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise ModelError(f"{place} is no tokenizer that can be read ({type(fault).__name__}: {fault}): fetch it again") from None


def _check_tokenizer(place: Path) -> None:
    """Tells damage in words that name the file: the library's own name none."""
    tables = {path.name: read_config(path) for path in sorted(place.glob("*.json"))}
    if "tokenizer.json" in tables:
        _check_whole(place / "tokenizer.json", tables["tokenizer.json"])
    elif "vocab.json" not in tables:
        raise ModelError(f"{place} holds neither tokenizer.json nor vocab.json: the folder is incomplete")
    elif not (place / "merges.txt").is_file():
        raise ModelError(f"{place} holds vocab.json but not merges.txt, and they belong together: the folder is incomplete")


def _check_whole(path: Path, table: dict[str, Any]) -> None:
    model = table.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict) or not isinstance(model.get("merges"), list):
        raise ModelError(f"{path} must hold a model with vocab and merges, and does not: fetch it again")
    if not isinstance(table.get("added_tokens"), list):
        raise ModelError(f"{path} must hold a list of added_tokens, and does not: fetch it again")


def _check_vocabulary(tokenizer: Any, size: int, folder: Path) -> None:
    if (last := max(tokenizer.get_vocab().values(), default=0)) >= size:
        raise ModelError(
            f"{folder / 'text_encoder' / 'config.json'}: vocab_size must be at least {last + 1}, as tokenizer/ has that many ids, "
            f"got {size}: take both parts from one checkpoint"
        )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    was_on, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if was_on:
            transformers_logging.enable_progress_bar()
