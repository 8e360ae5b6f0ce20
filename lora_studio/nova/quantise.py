"""Stores a backbone's Linear layers in 4 or 8 bits with bitsandbytes: for inference, and under an adapter that is trained.

Diffusers' own way needs a GPU at loading time; this one takes the same settings and works wherever bitsandbytes does.
"""

from typing import Any

import torch
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import nn

from lora_studio.errors import ModelError
from lora_studio.nova.transformer import NOVATransformer3DModel

_KEPT = ("text_embed", "motion_embed", "video_pos_embed", "image_decoder.head", "image_decoder.time_cond_embed", "mixer")


def quantise_(transformer: NOVATransformer3DModel, config: Any) -> NOVATransformer3DModel:
    """Replaces the Linear layers of both encoders and of the decoder's blocks; embeddings and the head stay as they are.

    Args:
        transformer: in the precision that it shall compute in; changed in place.
        config: diffusers' (or transformers') BitsAndBytesConfig with `load_in_4bit` or `load_in_8bit`; its quant type, double
            quantisation, compute dtype and outlier threshold count.

    Raises:
        ModelError: the config asks for neither 4 nor 8 bits.
    """
    if not (config.load_in_4bit or config.load_in_8bit):
        raise ModelError("quantization_config must have load_in_4bit=True or load_in_8bit=True")
    device = transformer.device
    for name, layer in list(transformer.named_modules()):
        if type(layer) is not nn.Linear or any(part in name for part in _KEPT):
            continue
        small = _four_bits(layer, config) if config.load_in_4bit else _eight_bits(layer, config)
        parent, _, last = name.rpartition(".")
        setattr(transformer.get_submodule(parent), last, small.to(device))
    return transformer


def _four_bits(layer: nn.Linear, config: Any) -> nn.Module:
    small = Linear4bit(
        layer.in_features, layer.out_features, bias=layer.bias is not None, compute_dtype=config.bnb_4bit_compute_dtype,
        compress_statistics=config.bnb_4bit_use_double_quant, quant_type=config.bnb_4bit_quant_type, device="meta",
    )  # fmt: skip
    make: Any = Params4bit
    small.weight = make(
        layer.weight.data, requires_grad=False, compress_statistics=config.bnb_4bit_use_double_quant,
        quant_type=config.bnb_4bit_quant_type,
    )  # fmt: skip
    return _with_bias(small, layer)


def _eight_bits(layer: nn.Linear, config: Any) -> nn.Module:
    small = Linear8bitLt(
        layer.in_features, layer.out_features, bias=layer.bias is not None, has_fp16_weights=False,
        threshold=config.llm_int8_threshold, device="meta",
    )  # fmt: skip
    make: Any = Int8Params
    small.weight = make(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    return _with_bias(small, layer)


def _with_bias(small: Any, layer: nn.Linear) -> nn.Module:
    if layer.bias is not None:
        small.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    return small


def stored_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers as they are stored."""
    tensors: list[torch.Tensor] = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
