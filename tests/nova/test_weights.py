"""Finding and loading: the shipped set loads whole; damaged or foreign folders are refused in words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio.errors import ModelError
from lora_studio.nova import weights
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler

NANO = weights.find_model("nano")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "nano", ignore=shutil.ignore_patterns("open_clip")))


def _change_config(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_shipped_set_is_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file()) < 24_000_000
    shape = weights.clip_shape(NANO)
    assert (shape.num_frames, shape.fps, shape.height, shape.width, shape.latent) == (9, 12.0, 128, 192, (8, 3, 16, 24))
    model = weights.load_transformer(NANO)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert (model.num_patches, model.num_latents, model.latent_size) == (96, 3, (16, 24))
    assert weights.load_scheduler(NANO) == FlowMatchScheduler(1000, 1.0)


def test_shipped_weights_are_exact_in_float16() -> None:
    for path in NANO.rglob("*.safetensors"):
        assert all(value.dtype in (torch.float16, torch.int64) for value in load_file(path).values()), path.name


def test_precision_is_as_asked() -> None:
    assert weights.load_vae(NANO, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_hash_follows_the_weights(copy: Path) -> None:
    before = weights.model_sha256(copy)
    assert before == weights.model_sha256(NANO)
    _change_config(copy / "transformer" / "config.json", image_stride=9)
    assert weights.model_sha256(copy) != before


def test_missing_and_leftover_keys_are_named(copy: Path) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["video_encoder.mixer.proj.bias"] = state.pop("mask_embed.bos_token")
    save_file(state, path)
    with pytest.raises(ModelError, match="missing: mask_embed.bos_token; not in this model: video_encoder.mixer.proj.bias"):
        weights.load_transformer(copy)


def test_other_shapes_are_named(copy: Path) -> None:
    _change_config(copy / "transformer" / "config.json", text_token_dim=64)
    with pytest.raises(ModelError, match=r"text_embed.proj.weight is \[192, 128\], not \[192, 64\]"):
        weights.load_transformer(copy)


def test_damaged_and_pickled_weights_are_refused(copy: Path) -> None:
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is damaged"):
        weights.load_vae(copy)
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match="may hold code and is not read; convert it once.*torch.load"):
        weights.load_vae(copy)


def test_foreign_classes_are_refused(copy: Path) -> None:
    _change_config(copy / "model_index.json", vae=["somewhere", "AutoencoderDC"])
    with pytest.raises(ModelError, match="AutoencoderDC"):
        weights.load_vae(copy)


def test_published_class_names_are_mapped(copy: Path) -> None:
    _change_config(
        copy / "model_index.json",
        vae=["__vae__", "AutoencoderKLOpenSora"],
        text_encoder=["__text_encoder__", "PhiEncoderModel"],
        transformer=["__transformer__", "NOVATransformer3DModel"],
    )
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler", "clip_sample": False}))
    schedule = weights.load_scheduler(copy)
    assert isinstance(schedule, DDPMSchedule)
    assert schedule.config["clip_sample"] is False
    assert weights.load_text(copy).max_rows == 96
    weights.load_transformer(copy)
    weights.load_vae(copy)


def test_unknown_config_keys_are_errors_that_name_them(copy: Path) -> None:
    _change_config(copy / "transformer" / "config.json", rotary_pos_embeds=True, newer_key=1)
    with pytest.raises(ModelError, match=r"does not know: newer_key, rotary_pos_embeds"):
        weights.load_transformer(copy)
    _change_config(copy / "vae" / "config.json", scaling_faktor=1.0)
    with pytest.raises(ModelError, match="scaling_faktor; did you mean scaling_factor"):
        weights.load_vae(copy)


def test_the_text_encoder_is_held_to_its_config(copy: Path) -> None:
    path = copy / "text_encoder" / "config.json"
    original = path.read_text()
    _change_config(path, num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"do not fit its config\.json; not in this model: .*layers\.1"):
        weights.load_text(copy)
    path.write_text(original)
    _change_config(path, hidden_sizes=3)
    with pytest.raises(ModelError, match="hidden_sizes; did you mean hidden_size"):
        weights.load_text(copy)
    path.write_text(original)
    tokenizer = copy / "tokenizer" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text()[:500])
    with pytest.raises(ModelError, match=r"tokenizer\.json is not valid JSON"):
        weights.load_text(copy)
    tokenizer.unlink()
    with pytest.raises(ModelError, match=r"holds neither tokenizer\.json nor vocab\.json"):
        weights.load_text(copy)


def test_unknown_settings_of_the_scheduler_are_errors(copy: Path) -> None:
    _change_config(copy / "scheduler" / "scheduler_config.json", shiftt=2.0)
    with pytest.raises(ModelError, match="shiftt; did you mean shift"):
        weights.load_scheduler(copy)


def test_a_config_that_is_no_table_is_refused(copy: Path) -> None:
    (copy / "vae" / "config.json").write_text("[1, 2]")
    with pytest.raises(ModelError, match="must hold a table of settings, got a list"):
        weights.load_vae(copy)


def test_older_and_other_spellings_of_a_config_are_read(copy: Path) -> None:
    """As the published image checkpoints have it: an int for the size, no positions, no mixer, no class name."""
    path = copy / "transformer" / "config.json"
    table = json.loads(path.read_text())
    for key in ("rotary_pos_embed", "video_mixer_rank", "_class_name"):
        table.pop(key, None)
    path.write_text(json.dumps({**table, "image_size": 128, "_name_or_path": "somewhere"}))
    model = weights.load_transformer(copy)
    assert (model.config.rotary_pos_embed, model.config.video_mixer_rank) == (False, None)
    _change_config(copy / "vae" / "config.json", latents_mean=None, latents_std=None)
    weights.load_vae(copy)


def _sharded(copy: Path) -> list[Path]:
    """The transformer in two shards with an index, as large checkpoints are published."""
    whole = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(whole)
    whole.unlink()
    names, shards = sorted(state), [whole.with_name(f"{whole.stem}-0000{part}-of-00002.safetensors") for part in (1, 2)]
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    for path, part in zip(shards, parts, strict=True):
        save_file({key: state[key] for key in part}, path)
    index = {key: path.name for path, part in zip(shards, parts, strict=True) for key in part}
    whole.with_suffix(".safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return shards


def test_shards_are_put_together_and_a_missing_one_is_named(copy: Path) -> None:
    shards = _sharded(copy)
    state, want = weights.load_transformer(copy).state_dict(), weights.load_transformer(NANO).state_dict()
    assert state.keys() == want.keys()
    assert all(torch.equal(state[key], want[key]) for key in want)
    shutil.copy(shards[0], shards[0].with_name("diffusion_pytorch_model-extra.safetensors"))
    weights.load_transformer(copy)  # what the index does not name is not read
    shards[1].unlink()
    with pytest.raises(ModelError, match=r"names diffusion_pytorch_model-00002-of-00002\.safetensors, which is missing"):
        weights.load_transformer(copy)


@pytest.mark.parametrize("table", [["a.safetensors"], None, {"a.bias": 5}, {"a.bias": "../a.safetensors"}])
def test_a_damaged_index_is_refused(copy: Path, table: object) -> None:
    (index,) = (shard.with_name("diffusion_pytorch_model.safetensors.index.json") for shard in _sharded(copy)[:1])
    index.write_text(json.dumps({"weight_map": table}))
    with pytest.raises(ModelError, match=r"index\.json: weight_map must be a table that names the file of each weight"):
        weights.load_transformer(copy)


def test_a_variant_in_shards_is_read(copy: Path) -> None:
    for path in _sharded(copy):
        path.rename(path.with_name(path.name.replace("model-0000", "model.fp16-0000")))
    index = copy / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    text = index.read_text().replace("model-0000", "model.fp16-0000")
    index.unlink()
    index.with_name("diffusion_pytorch_model.safetensors.index.fp16.json").write_text(text)
    assert len(weights.weight_files(copy, "transformer")) == 2
    weights.load_transformer(copy)


def test_a_variant_is_read_only_where_nothing_else_is(copy: Path) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    variant = path.with_name("diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(path, variant)
    assert weights.weight_files(copy, "transformer") == [path]
    path.unlink()
    assert weights.weight_files(copy, "transformer") == [variant]
    weights.load_transformer(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copy: Path, value: float) -> None:
    path = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["image_encoder.blocks.0.attn.qkv.weight"].view(-1)[3] = value
    save_file(state, path)
    with pytest.raises(ModelError, match=r"1 weights .* not finite numbers \(image_encoder\.blocks\.0\.attn\.qkv\.weight\)"):
        weights.load_transformer(copy)


def test_every_part_is_verified(copy: Path) -> None:
    assert set(weights.verify_model(copy).values()) == {""}
    path = copy / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    (copy / "scheduler" / "scheduler_config.json").write_text("{")
    faults = weights.verify_model(copy)
    assert "fetch it again" in faults["text_encoder"]
    assert "not valid JSON" in faults["scheduler"]
    assert faults["transformer"] == faults["vae"] == ""


def test_a_written_checkpoint_reads_back(copy: Path, tmp_path: Path) -> None:
    transformer, folder = weights.load_transformer(NANO), tmp_path / "written"
    weights.save_checkpoint(transformer, NANO, folder)
    assert set(weights.verify_model(folder).values()) == {""}
    state, want = weights.load_transformer(folder).state_dict(), transformer.state_dict()
    assert all(torch.equal(state[key], want[key]) for key in want)
    with pytest.raises(ModelError, match="exists: give the name of a folder that does not"):
        weights.save_checkpoint(transformer, NANO, folder)


def test_names_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model 'nana'"):
        weights.find_model("nana")
    with pytest.raises(ModelError, match="has no model_index.json"):
        weights.find_model(str(tmp_path))


def test_open_clip_reads_its_part() -> None:
    import open_clip

    name = f"local-dir:{NANO / 'open_clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name, require_pretrained=True)
    tokens = open_clip.get_tokenizer(name)(["a RED can", "a red can"])
    assert tokens.shape == (2, 48)
    assert torch.equal(tokens[0], tokens[1])
    assert model.encode_text(tokens).shape == (2, 64)
    assert preprocess is not None
