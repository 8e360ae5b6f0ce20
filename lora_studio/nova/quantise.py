"""Stores a backbone's Linear layers in 4 or 8 bits with bitsandbytes: for inference, and under an adapter that is trained.

Diffusers' own way needs a GPU at loading time; this one takes the same settings and works wherever bitsandbytes does.
"""

from typing import Any

import torch
from bitsandbytes.nn.modules import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
from diffusers.quantizers.quantization_config import BitsAndBytesConfig
from torch import nn

from lora_studio.errors import ModelError
from lora_studio.nova.transformer import NOVATransformer3DModel

_KEPT = ("text_embed", "motion_embed", "video_pos_embed", "image_decoder.head", "image_decoder.time_cond_embed", "mixer")


def quantise_(transformer: NOVATransformer3DModel, config: Any) -> NOVATransformer3DModel:
    """Replaces the Linear layers of both encoders and of the decoder's blocks; embeddings and the head stay as they are.

    Args:
        transformer: in the precision that it shall compute in; changed in place.
        config: diffusers' (or transformers') BitsAndBytesConfig with `load_in_4bit` or `load_in_8bit`; its quant type, double
            quantisation, compute dtype and outlier threshold count. A PipelineQuantizationConfig may name it for the transformer.

    Raises:
        ModelError: the config is of another kind, asks for neither 4 nor 8 bits, or for another part to be quantised.
    """
    config = backbone_config(config)
    device = transformer.device
    for name, layer in list(transformer.named_modules()):
        if type(layer) is not nn.Linear or any(part in name for part in _KEPT):
            continue
        small = _four_bits(layer, config) if config.load_in_4bit else _eight_bits(layer, config)
        parent, _, last = name.rpartition(".")
        setattr(transformer.get_submodule(parent), last, small.to(device))
    return transformer


def backbone_config(config: Any) -> Any:
    """The BitsAndBytesConfig meant for the transformer; see `quantise_` for what is raised."""
    from transformers import BitsAndBytesConfig as SameOfTransformers

    if isinstance(config, PipelineQuantizationConfig):
        config = _of_pipeline(config)
    if not isinstance(config, BitsAndBytesConfig | SameOfTransformers):
        raise ModelError(
            f"quantization_config must be diffusers' BitsAndBytesConfig, such as BitsAndBytesConfig(load_in_8bit=True), or a "
            f"PipelineQuantizationConfig that names one for the transformer, got {type(config).__name__}"
        )
    if not (config.load_in_4bit or config.load_in_8bit):
        raise ModelError("quantization_config must have load_in_4bit=True or load_in_8bit=True")
    return config


def _of_pipeline(config: PipelineQuantizationConfig) -> Any:
    named = config.quant_mapping or {}
    if others := sorted({*named, *(config.components_to_quantize or ())} - {"transformer"}):
        raise ModelError(f"quantization_config names {', '.join(others)}: only the transformer can be quantised, leave others out")
    if config.quant_backend is None:
        return named.get("transformer")
    if config.quant_backend not in ("bitsandbytes_4bit", "bitsandbytes_8bit"):
        raise ModelError(
            f"quantization_config has quant_backend {config.quant_backend!r}: supported are bitsandbytes_4bit and bitsandbytes_8bit"
        )
    if config.components_to_quantize is None:
        raise ModelError('quantization_config is for all parts: add components_to_quantize="transformer", the only one that can be')
    settings: dict[str, Any] = config.quant_kwargs
    return BitsAndBytesConfig(**settings)


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
