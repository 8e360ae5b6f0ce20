"""What the keys of a model's configs may be: a table a file, and what some keys must be together. No torch, no files.

A rule is a predicate and the words for it, so that every refusal reads alike: where, the key, what is allowed, what was got.
All faults of a table are told in one message.
"""

import json
import math
from collections.abc import Callable, Iterable
from numbers import Real
from pathlib import Path
from typing import Any, Final, NamedTuple

from lora_studio.errors import ModelError
from lora_studio.nova.config import stack_size


class Rule(NamedTuple):
    """What a value must be: the words for it, and whether a value is that."""

    words: str
    holds: Callable[[Any], bool]


def _whole(least: int = 1, most: int = 2**20) -> Rule:
    return Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _number(words: str, holds: Callable[[Any], bool] = lambda _: True) -> Rule:
    return Rule(words, lambda value: _is_number(value) and holds(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(*allowed: Any) -> Rule:
    words = " or ".join(json.dumps(value) for value in allowed)
    return Rule(words, lambda value: any(type(value) is type(one) and value == one for one in allowed))


def _row(count: int | None, each: Rule) -> Rule:
    return Rule(
        f"a list of {'one or more' if count is None else count}, each {each.words}",
        lambda value: isinstance(value, list | tuple) and len(value) == (count or len(value) or 1) and all(map(each.holds, value)),
    )


def _or_null(rule: Rule) -> Rule:
    return Rule(f"null or {rule.words}", lambda value: value is None or rule.holds(value))


def _either(first: Rule, second: Rule) -> Rule:
    return Rule(f"{first.words}, or {second.words}", lambda value: first.holds(value) or second.holds(value))


_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_FINITE = _number("a finite number")
_POSITIVE = _number("a finite number above 0", lambda value: value > 0)
_FRACTION = _number("a number between 0 and 1, neither of them included", lambda value: 0 < value < 1)
_SIZE = _either(_whole(), _row(2, _whole()))
_MIXER_RANK = Rule("-1 (a full matrix) or a whole number from 1", lambda value: type(value) is int and (value == -1 or value > 0))
_TEXT = Rule("a name", lambda value: isinstance(value, str))

TRANSFORMER: Final = {
    "image_dim": _whole(),
    "image_size": _or_null(_SIZE),
    "image_stride": _whole(),
    "text_token_dim": _whole(),
    "text_token_len": _whole(),
    "image_base_size": _row(2, _whole()),
    "video_base_size": _row(3, _whole()),
    "video_mixer_rank": _or_null(_MIXER_RANK),
    "rotary_pos_embed": _FLAG,
    "arch": _row(3, _TEXT),
    "clip_latents": _whole(),
}

_VAE: Final = {
    "in_channels": _one_of(3),
    "out_channels": _one_of(3),
    "layers_per_block": _whole(),
    "latent_channels": _whole(),
    "norm_num_groups": _whole(),
    "sample_size": _SIZE,
    "scaling_factor": _POSITIVE,
    "shift_factor": _or_null(_FINITE),
    "force_upcast": _FLAG,
    "use_quant_conv": _FLAG,
    "use_post_quant_conv": _FLAG,
    "mid_block_add_attention": _FLAG,
    "latents_mean": Rule("null: no NOVA model shifts channels one by one", lambda value: value is None),
    "latents_std": Rule("null: no NOVA model scales channels one by one", lambda value: value is None),
    "double_z": _one_of(True, None),
}

VIDEO_VAE: Final = {
    **_VAE,
    "act_fn": _one_of("silu"),
    "block_out_channels": _row(4, _whole()),
    "down_block_types": _row(4, _one_of("DownEncoderBlock2D", "DownEncoderBlock3D")),
    "up_block_types": _row(4, _one_of("UpDecoderBlock3D")),
}

IMAGE_VAE: Final = {
    **_VAE,
    "act_fn": _one_of("silu", "swish", "mish", "gelu", "relu"),
    "block_out_channels": _row(None, _whole()),
    "down_block_types": _row(None, _one_of("DownEncoderBlock2D", "AttnDownEncoderBlock2D")),
    "up_block_types": _row(None, _one_of("UpDecoderBlock2D", "AttnUpDecoderBlock2D")),
}

_ROPE: Final = {
    "rope_type": _one_of("default"),
    "type": _one_of("default"),
    "rope_theta": _POSITIVE,
    "partial_rotary_factor": _number("a number above 0, up to 1", lambda value: 0 < value <= 1),
}
_ROPE_TABLE = Rule(
    'null or a table with rope_type "default", rope_theta above 0 and partial_rotary_factor above 0, up to 1',
    lambda value: value is None or (isinstance(value, dict) and not set(value) - set(_ROPE) and not _faults(value, _ROPE)),
)

PHI: Final = {
    "vocab_size": _whole(),
    "hidden_size": _whole(),
    "intermediate_size": _whole(),
    "num_hidden_layers": _whole(),
    "num_attention_heads": _whole(),
    "num_key_value_heads": _or_null(_whole()),
    "max_position_embeddings": _whole(),
    "hidden_act": _one_of("gelu_new", "gelu", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu"),
    "layer_norm_eps": _POSITIVE,
    "qk_layernorm": _FLAG,
    "rope_parameters": _ROPE_TABLE,
    "rope_scaling": _ROPE_TABLE,
    "rope_theta": _POSITIVE,
    "partial_rotary_factor": _ROPE["partial_rotary_factor"],
    "bos_token_id": _or_null(_whole(0)),
    "eos_token_id": _or_null(_either(_whole(0), _row(None, _whole(0)))),
    "pad_token_id": _or_null(_whole(0)),
}
_PHI_NAMES: Final = {
    "model_type": _one_of("phi"),
    "architectures": _or_null(_row(None, _one_of("PhiModel", "PhiEncoderModel", "PhiForCausalLM"))),
}

_NOT_DONE = Rule("false or null: sampling here does no such thing", lambda value: value is None or value is False)

FLOW_MATCHING: Final = {
    "num_train_timesteps": _whole(),
    "shift": _POSITIVE,
    "use_dynamic_shifting": _NOT_DONE,
    "invert_sigmas": _NOT_DONE,
    "shift_terminal": _NOT_DONE,
    "use_karras_sigmas": _NOT_DONE,
    "use_exponential_sigmas": _NOT_DONE,
    "use_beta_sigmas": _NOT_DONE,
    "stochastic_sampling": _NOT_DONE,
    "time_shift_type": _one_of("exponential", "linear"),
}

DDPM: Final = {
    "num_train_timesteps": _whole(),
    "beta_start": _FRACTION,
    "beta_end": _FRACTION,
    "beta_schedule": _one_of("linear", "scaled_linear", "squaredcos_cap_v2", "laplace", "sigmoid"),
    "trained_betas": Rule(
        f"null or a list, each {_FRACTION.words}",
        lambda value: value is None or (isinstance(value, Iterable) and all(map(_FRACTION.holds, value))),
    ),
    "variance_type": _one_of("fixed_small", "fixed_small_log", "fixed_large"),
    "clip_sample": _FLAG,
    "clip_sample_range": _POSITIVE,
    "prediction_type": _one_of("epsilon", "sample", "v_prediction"),
    "thresholding": _NOT_DONE,
    "timestep_spacing": _one_of("linspace", "leading", "trailing"),
    "steps_offset": _whole(0),
    "rescale_betas_zero_snr": _FLAG,
}


def check_transformer(table: dict[str, Any], where: str | Path = "the transformer's config") -> None:
    """Refuses a backbone that cannot be built, or whose grids do not lie on each other.

    Raises:
        ModelError: naming every faulty key, what it must be, and what it is.
    """
    _refuse(where, _faults(table, TRANSFORMER) or _arch_faults(table["arch"]) + _grid_faults(table))


def _arch_faults(arch: list[str]) -> list[str]:
    try:
        video, image, decoder = map(stack_size, arch)
    except ModelError as fault:
        return [str(fault)]
    if not video.heads or not image.heads or decoder.heads:
        return [f"arch must name two vit_... (video and image encoder) and one mlp_... (decoder), got {_shown(arch)}"]
    if video.width != image.width:
        return [f"arch: video and image encoder must be equally wide, got {arch[0]} and {arch[1]}"]
    return []


def _grid_faults(table: dict[str, Any]) -> list[str]:
    want = [2 * side for side in table["video_base_size"][1:]]
    if list(table["image_base_size"]) == want:
        return []
    return [
        f"image_base_size must be twice the last two of video_base_size (a video patch is two image patches wide), {want}, "
        f"got {_shown(table['image_base_size'])}"
    ]


def check_vae(table: dict[str, Any], is_video: bool, where: str | Path = "the VAE's config") -> None:
    """Refuses an autoencoder that cannot be built or means nothing here; raises as `check_transformer` does."""
    faults = _faults(table, VIDEO_VAE if is_video else IMAGE_VAE)
    if not faults:
        widths, groups = table["block_out_channels"], table["norm_num_groups"]
        if any(width % groups for width in widths):
            faults.append(f"norm_num_groups must divide every width in block_out_channels ({_shown(widths)}), got {groups}")
        faults += [
            f"{key} must name one block for each of the {len(widths)} block_out_channels, got {len(table[key])}"
            for key in ("down_block_types", "up_block_types")
            if len(table[key]) != len(widths)
        ]
    _refuse(where, faults)


def check_phi(table: dict[str, Any], where: str | Path = "the text encoder's config") -> None:
    """Refuses a text encoder that cannot be built, or is no Phi; raises as `check_transformer` does."""
    faults = _faults(table, {**PHI, **_PHI_NAMES})
    _refuse(where, faults or _phi_faults(table))


def _phi_faults(table: dict[str, Any]) -> list[str]:
    width, heads = table["hidden_size"], table["num_attention_heads"]
    if width % heads:
        return [f"num_attention_heads must divide hidden_size ({width}), got {heads}"]
    if heads % (kept := table.get("num_key_value_heads") or heads):
        return [f"num_key_value_heads must divide num_attention_heads ({heads}), got {kept}"]
    if (table.get("pad_token_id") or 0) >= table["vocab_size"]:
        return [f"pad_token_id must be null or less than vocab_size ({table['vocab_size']}), got {table['pad_token_id']}"]
    rope = {**table, **(table.get("rope_scaling") or {}), **(table.get("rope_parameters") or {})}
    turned = int(width // heads * (factor := rope.get("partial_rotary_factor", 0.5)))
    if turned < 2 or turned % 2:
        return [f"partial_rotary_factor must leave an even part of a head's {width // heads} channels, got {factor}"]
    return []


def check_scheduler(table: dict[str, Any], is_ddpm: bool, where: str | Path = "the scheduler's config") -> None:
    """Refuses a noise schedule that is none, or asks for what is not done here; raises as `check_transformer` does."""
    faults = _faults(table, DDPM if is_ddpm else FLOW_MATCHING)
    betas, count = table.get("trained_betas"), table.get("num_train_timesteps", 1000)
    if not faults and betas is not None and len(betas) != count:
        faults.append(f"trained_betas must hold one number for each of the {count} num_train_timesteps, got {len(betas)}")
    if not faults and is_ddpm and (offset := table.get("steps_offset", 0)) and offset >= count:
        faults.append(f"steps_offset must be less than num_train_timesteps ({count}), got {offset}")
    if not faults and table.get("rescale_betas_zero_snr") and _divides_by_zero(table):
        faults.append(
            "rescale_betas_zero_snr leaves nothing of the picture at the last timestep, where noise alone cannot tell it: with "
            'timestep_spacing "trailing" or "linspace" prediction_type must be "v_prediction" or "sample", got "epsilon"'
        )
    _refuse(where, faults)


def _divides_by_zero(table: dict[str, Any]) -> bool:
    return table.get("prediction_type", "epsilon") == "epsilon" and table.get("timestep_spacing", "leading") != "leading"


def _faults(table: dict[str, Any], rules: dict[str, Rule]) -> list[str]:
    return [
        f"{key} must be {rules[key].words}, got {_shown(value)}"
        for key, value in table.items()
        if key in rules and not rules[key].holds(value)
    ]


def _refuse(where: str | Path, faults: list[str]) -> None:
    if faults:
        raise ModelError(f"{where}: {'; '.join(faults)}")


def _shown(value: Any) -> str:
    """A value as JSON has it, not longer than a message can hold."""
    words = json.dumps(value, default=repr)
    return words if len(words) <= 120 else f"{words[:120]}..."
