"""A text encoder or tokenizer that is damaged, foreign or in another form."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import ModelError
from lora_studio.nova import weights

NANO = weights.find_model("nano")
TEXT = "a red can, seen from a low angle"

CONFIG: list[tuple[str, Any, str]] = [
    ("hidden_act", "foo", 'hidden_act must be "gelu_new" or .*, got "foo"'),
    ("num_hidden_layers", "2", 'num_hidden_layers must be a whole number .*, got "2"'),
    ("rope_parameters", {"rope_type": "foo"}, 'rope_parameters must be null or a table with rope_type "default"'),
    ("rope_scaling", {"type": "linear", "factor": 2.0}, "rope_scaling must be null or a table"),
    ("model_type", "llama", 'model_type must be "phi", got "llama"'),
    ("architectures", ["LlamaModel"], r'architectures must be null or a list .*, got \["LlamaModel"\]'),
    ("num_attention_heads", 3, r"num_attention_heads must divide hidden_size \(128\), got 3"),
    ("num_attention_heads", 2, r"num_key_value_heads must divide num_attention_heads \(2\), got 4"),
    ("num_attention_heads", 128, r"num_key_value_heads|partial_rotary_factor"),
    ("hidden_size", 64, r"embed_tokens\.weight is \[1536, 128\], not \[1536, 64\]|hidden_size"),
    ("vocab_size", 1600, r"embed_tokens\.weight is \[1536, 128\], not \[1600, 128\]"),
    ("vocab_size", 1000, r"vocab_size must be at least 1535, .*, got 1000"),
    ("pad_token_id", 99_999, r"pad_token_id must be null or less than vocab_size \(1536\), got 99999"),
    ("intermediate_size", 256, r"mlp\.fc1\.bias is \[512\], not \[256\]"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "nano", ignore=shutil.ignore_patterns("open_clip", "vae")))


def _change_weights(copy: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = copy / "text_encoder" / "model.safetensors"
    save_file(change(load_file(path)), path)


@pytest.mark.parametrize(("key", "value", "message"), CONFIG)
def test_settings_that_do_not_fit_are_named(copy: Path, key: str, value: Any, message: str) -> None:
    path = copy / "text_encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ModelError, match=message):
        weights.load_words(copy, 96)
    assert weights.verify_model(copy)["text_encoder"]


def test_transposed_weights_are_named(copy: Path) -> None:
    name = "layers.0.mlp.fc1.weight"
    _change_weights(copy, lambda state: {**state, name: state[name].T.contiguous()})
    with pytest.raises(ModelError, match=r"of another shape: layers\.0\.mlp\.fc1\.weight is \[128, 512\], not \[512, 128\]"):
        weights.load_text(copy)


def test_whole_numbers_are_no_weights(copy: Path) -> None:
    name = "layers.0.mlp.fc1.weight"
    _change_weights(copy, lambda state: {**state, name: (state[name] * 100).to(torch.int8)})
    with pytest.raises(ModelError, match=r"layers\.0\.mlp\.fc1\.weight is torch\.int8; weights must be floating-point"):
        weights.load_text(copy)


def test_a_variant_alone_is_read(copy: Path) -> None:
    path = copy / "text_encoder" / "model.safetensors"
    path.rename(path.with_name("model.fp16.safetensors"))
    assert torch.equal(weights.load_text(copy).encode([TEXT])[0], weights.load_text(NANO).encode([TEXT])[0])


def test_a_language_model_gives_its_encoder(copy: Path) -> None:
    """Published with a prefix, a head, and in old files a table of angles."""
    extra = {"lm_head.weight": torch.zeros(1536, 128), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}
    _change_weights(copy, lambda state: {**{f"model.{key}": value for key, value in state.items()}, **extra})
    assert torch.equal(weights.load_text(copy).encode([TEXT])[0], weights.load_text(NANO).encode([TEXT])[0])


def test_switches_that_change_no_number_are_left_out(copy: Path) -> None:
    path = copy / "text_encoder" / "config.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "return_dict": False, "torch_dtype": "float16", "eos_token_id": [0, 7]}))
    assert weights.load_text(copy).model.config.eos_token_id == [0, 7]  # the ids are kept: a pipeline that is saved writes them
    assert torch.equal(weights.load_text(copy).encode([TEXT])[0], weights.load_text(NANO).encode([TEXT])[0])


TOKENIZER = [
    ("tokenizer.json", "{}", r"tokenizer\.json must hold a model with vocab and merges"),
    ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {}, "merges": []}}', r"must hold a list of added_tokens"),
    ("tokenizer_config.json", "{", r"tokenizer_config\.json is not valid JSON"),
    ("tokenizer_config.json", "[]", r"tokenizer_config\.json must hold a table of settings, got a list"),
    ("tokenizer_config.json", '{"tokenizer_class": 5}', "tokenizer is no tokenizer that can be read"),
    ("tokenizer_config.json", '{"eos_token": 5}', r"tokenizer is no tokenizer that can be read \(TypeError: .*eos_token"),
]


@pytest.mark.parametrize(("name", "content", "message"), TOKENIZER)
def test_damage_to_a_tokenizer_is_told(copy: Path, name: str, content: str, message: str) -> None:
    (copy / "tokenizer" / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        weights.load_text(copy)


def test_words_and_merges_belong_together(copy: Path) -> None:
    place = copy / "tokenizer"
    model = json.loads((place / "tokenizer.json").read_text())["model"]
    (place / "tokenizer.json").unlink()
    (place / "vocab.json").write_text(json.dumps(model["vocab"]))
    with pytest.raises(ModelError, match=r"holds vocab\.json but not merges\.txt"):
        weights.load_text(copy)
    (place / "merges.txt").write_text("\n".join(" ".join(pair) for pair in model["merges"]))
    assert weights.load_text(copy).token_ids(TEXT) == weights.load_text(NANO).token_ids(TEXT)


def test_phi_2s_own_config_sets_what_changes_the_numbers(copy: Path) -> None:
    """The keys as microsoft/phi-2 has them, at nano's size: rotary settings at the top level, the language model's class."""
    path = copy / "text_encoder" / "config.json"
    had = json.loads(path.read_text())
    published = {
        "_name_or_path": "microsoft/phi-2", "architectures": ["PhiForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 0,
        "embd_pdrop": 0.0, "eos_token_id": 0, "hidden_act": "gelu_new", "hidden_size": had["hidden_size"],
        "initializer_range": 0.02, "intermediate_size": had["intermediate_size"], "layer_norm_eps": 0.01,
        "max_position_embeddings": 2048, "model_type": "phi",
        "num_attention_heads": had["num_attention_heads"], "num_hidden_layers": had["num_hidden_layers"],
        "num_key_value_heads": had["num_attention_heads"], "partial_rotary_factor": 0.25, "qk_layernorm": False, "resid_pdrop": 0.1,
        "rope_scaling": None, "rope_theta": 5000.0, "tie_word_embeddings": False, "torch_dtype": "float16",
        "transformers_version": "4.37.0", "use_cache": True, "vocab_size": had["vocab_size"],
    }  # fmt: skip
    before = weights.load_words(copy, 96).encode([TEXT])[0]
    path.write_text(json.dumps(published))
    encoder = weights.load_words(copy, 96)
    config: Any = encoder.model.config
    assert (config.rope_parameters["partial_rotary_factor"], config.rope_parameters["rope_theta"]) == (0.25, 5000.0)
    assert config.layer_norm_eps == 0.01
    assert not torch.allclose(encoder.encode([TEXT])[0], before, atol=1e-3)
    index = copy / "model_index.json"
    table = json.loads(index.read_text())
    index.write_text(json.dumps({**table, "text_encoder": ["transformers", "PhiForCausalLM"]}))
    assert torch.equal(weights.load_text(copy).encode([TEXT])[0], encoder.encode([TEXT])[0])


def test_weights_that_are_no_numbers_are_refused(copy: Path) -> None:
    name = "layers.0.mlp.fc1.weight"
    _change_weights(copy, lambda state: {**state, name: state[name] * float("nan")})
    with pytest.raises(ModelError, match=r"1 weights .* not finite numbers \(layers\.0\.mlp\.fc1\.weight\)"):
        weights.load_text(copy)
