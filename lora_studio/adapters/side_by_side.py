"""Several adapters in one pass: every sample of a batch wears its own. Knows peft's mixed batches; knows no sampler."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lora_studio.adapters.attach import bare_transformer
from lora_studio.adapters.storage import load_adapters, set_weight_
from lora_studio.errors import AdapterError

_BASE = "__base__"  # peft's word for a sample without adapter


@contextmanager
def wear_side_by_side(transformer: nn.Module, folders: Sequence[Path | None], weight: float = 1.0) -> Iterator[nn.Module]:
    """Lets sample i of every batch wear the adapter in `folders[i]`, or none; afterwards the transformer is bare again.

    A batch may hold every sample several times, one whole set of samples after the other, as guidance does.

    Args:
        transformer: the bare backbone.
        folders: one adapter folder or None (the base) per sample; a folder may occur more than once.
        weight: of every adapter: 1 as trained, 0 none.

    Yields:
        The transformer with the adapters in place.

    Raises:
        AdapterError: a folder is not an adapter of this backbone; or, from a pass, the batch is no multiple of the samples.
    """
    names = {folder: f"look_{index}" for index, folder in enumerate(dict.fromkeys(f for f in folders if f is not None))}
    if not names:
        yield transformer
        return
    worn = [_BASE if folder is None else names[folder] for folder in folders]
    model = load_adapters(transformer, {name: folder for folder, name in names.items()})
    set_weight_(model, weight)
    layers = [module for module in model.modules() if isinstance(module, LoraLayer) and isinstance(module, nn.Module)]
    handles = [layer.register_forward_pre_hook(_wearing(worn), with_kwargs=True) for layer in layers]
    try:
        yield bare_transformer(model)
    finally:
        for handle in handles:
            handle.remove()
        model.unload()  # pyright: ignore[reportCallIssue]


def _wearing(worn: list[str]) -> Any:
    def name_adapters(_: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        times, rest = divmod(len(args[0]), len(worn))
        if rest:
            raise AdapterError(f"{len(args[0])} rows cannot be shared out among {len(worn)} samples: give one prompt per look")
        return args, {**kwargs, "adapter_names": worn * times}

    return name_adapters
