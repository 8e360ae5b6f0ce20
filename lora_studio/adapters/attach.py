"""Which layers an adapter sits on, and putting one there. Knows peft and the backbone's names; knows no file and no loop.

Presets are named after the part of the backbone that they train, and are full-match patterns over module names. Suffix lists are
a trap on this backbone: modules that are no Linear are also called `proj`, and the decoder's projectors are called `fc1` and `fc2`
like the encoders' MLPs.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from lora_studio.errors import AdapterError
from lora_studio.recipe import AdapterSection

_LAYERS: Final = {
    "video_encoder": r"video_encoder\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))",
    "image_encoder": r"image_encoder\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))",
    "image_decoder": r"image_decoder\.blocks\.\d+\.proj\.(fc1|fc2)",
}
PATTERNS: Final = {**_LAYERS, "full": "|".join(f"({pattern})" for pattern in _LAYERS.values())}
_PER_BLOCK: Final = {"video_encoder": 4, "image_encoder": 4, "image_decoder": 2}


@dataclass(frozen=True)
class Attached:
    """A backbone that now carries an adapter.

    Attributes:
        model: peft's wrapper; the layers of the transformer it wraps were replaced in place.
        num_modules: adapted Linear layers.
        num_parameters: adapter parameters, the only ones that get gradients.
        pattern: the full-match pattern of the adapted layers' names.
    """

    model: PeftModel
    num_modules: int
    num_parameters: int
    pattern: str


def attach_adapter(transformer: nn.Module, section: AdapterSection, seed: int) -> Attached:
    """Puts a fresh adapter on the layers of a preset; the model's output does not change until it is trained.

    Args:
        transformer: a NOVA transformer; its layers are replaced in place and all its own parameters are frozen.
        section: the recipe's [adapter] table.
        seed: of the adapter's first weights; the global random state is neither read nor moved.

    Raises:
        AdapterError: the preset does not match exactly the layers that a backbone of this depth has.
    """
    pattern = PATTERNS[section.preset]
    names = matched_layers(transformer, pattern)
    stacks = tuple(_LAYERS) if section.preset == "full" else (section.preset,)
    expected = sum(_depth(transformer, stack) * _PER_BLOCK[stack] for stack in stacks)
    if len(names) != expected:
        raise AdapterError(f"adapter.preset {section.preset!r} must match {expected} Linear layers here, got {len(names)}")
    config = lora_config(pattern, section.rank, section.alpha, section.dropout)
    transformer.requires_grad_(False)
    with _seeded(seed):
        model = get_peft_model(transformer, config)
    assert isinstance(model, PeftModel)
    count = sum(parameter.numel() for parameter in adapter_parameters(model).values())
    return Attached(model, len(names), count, pattern)


def _depth(transformer: nn.Module, stack: str) -> int:
    return len(list(transformer.get_submodule(f"{stack}.blocks").children()))


def lora_config(pattern: str, rank: int, alpha: float, dropout: float = 0.0) -> LoraConfig:
    """A LoRA of the given pattern; `alpha` is kept as it is, also when it is no whole number."""
    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, bias="none")  # type: ignore[arg-type]


def matched_layers(transformer: nn.Module, pattern: str) -> list[str]:
    """Names of the Linear layers that a full-match pattern selects, in the model's order.

    Raises:
        AdapterError: the pattern matches nothing, or a module that is no Linear; lists the layers there are.
    """
    linear = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    matched = [name for name, _ in transformer.named_modules() if re.fullmatch(pattern, name)]
    if not matched:
        kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in linear})
        raise AdapterError(f"the target pattern {pattern!r} matches no layer; the layers that exist are: {', '.join(kinds)}")
    wrong = sorted(set(matched) - set(linear))
    if wrong:
        raise AdapterError(f"the target pattern {pattern!r} matches modules that are no Linear layer: {', '.join(wrong[:5])}")
    return matched


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's own parameters by name (`lora_A`, `lora_B`; the bare word "lora" also names a base module)."""
    return {name: p for name, p in model.named_parameters() if ".lora_A." in name or ".lora_B." in name}


def bare_transformer(model: PeftModel) -> nn.Module:
    """The transformer inside peft's wrapper, with the adapter's layers in place: what the loss and the sampler call."""
    return model.base_model.model  # type: ignore[union-attr, return-value]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator for a block (peft draws first weights from it) and puts its state back after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
