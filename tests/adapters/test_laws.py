"""The laws every adapter obeys, checked on the outputs of a tiny backbone."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_studio import files
from lora_studio.adapters import storage
from lora_studio.adapters.attach import PATTERNS, adapter_parameters, attach_adapter, matched_layers
from lora_studio.errors import AdapterError
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.recipe import AdapterSection

PRESETS = {"video_encoder": 2 * 4, "image_encoder": 4 * 4, "image_decoder": 2 * 2, "full": 2 * 4 + 4 * 4 + 2 * 2}
METADATA = {"lora_studio.base_model": "tiny", "lora_studio.preset": "image_encoder", "modelspec.trigger_phrase": "acmelook"}


def tiny_transformer(seed: int = 0) -> NOVATransformer3DModel:
    torch.manual_seed(seed)
    return NOVATransformer3DModel(
        image_base_size=(2, 4),
        video_base_size=(3, 1, 2),
        text_token_dim=16,
        text_token_len=6,
        video_mixer_rank=4,
        arch=("vit_d2w64", "vit_d4w64", "mlp_d2w64"),
    ).eval()


def output_of(transformer: NOVATransformer3DModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(2, 4, 3, 4, 8, generator=generator)
    text = [torch.randn(3, 16, generator=generator), torch.zeros(0, 16)]
    ids = torch.arange(8).expand(2, 3, 8)
    noisy = torch.randn(1, 2, 3, 5, 16, generator=generator)
    steps = torch.full((1, 2, 3, 5), 300.0)
    with torch.no_grad():
        return transformer(latents, text, torch.tensor([5.0, 1.0]), ids[..., :3], ids[..., 3:], noisy, steps)


def section(preset: str = "full", **changes: object) -> AdapterSection:
    return AdapterSection.model_validate({"preset": preset, "rank": 4, "alpha": 6.0, **changes})


def trained(transformer: NOVATransformer3DModel, preset: str = "full"):
    """An adapter that does something: lora_B is no longer zero."""
    attached = attach_adapter(transformer, section(preset), seed=1)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in adapter_parameters(attached.model).items():
            if ".lora_B." in name:
                parameter.normal_(0, 0.05, generator=generator)
    return attached


@pytest.mark.parametrize("preset", PRESETS)
def test_a_fresh_adapter_changes_nothing_and_matches_every_layer(preset: str):
    transformer = tiny_transformer()
    before = output_of(transformer)
    attached = attach_adapter(transformer, section(preset), seed=1)
    assert attached.num_modules == PRESETS[preset]
    assert attached.num_parameters == sum(p.numel() for p in attached.model.parameters() if p.requires_grad)
    assert torch.equal(output_of(transformer), before)


def test_only_adapter_weights_get_gradients():
    transformer = tiny_transformer()
    attached = attach_adapter(transformer, section(), seed=1)
    trainable = {name for name, p in attached.model.named_parameters() if p.requires_grad}
    assert trainable == set(adapter_parameters(attached.model))
    assert not any("mixer" in name for name in trainable)  # the mixer's own `lora` layer is no adapter


def test_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = storage.adapter_tensors(attach_adapter(tiny_transformer(), section(), seed=7).model)
    torch.manual_seed(123)
    transformer = tiny_transformer()
    torch.manual_seed(456)
    second = storage.adapter_tensors(attach_adapter(transformer, section(), seed=7).model)
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(123)
    assert torch.equal(torch.get_rng_state(), state)
    other = storage.adapter_tensors(attach_adapter(tiny_transformer(), section(), seed=8).model)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_disabling_gives_the_base_back_and_merging_changes_nothing():
    transformer = tiny_transformer()
    base = output_of(transformer)
    attached = trained(transformer)
    adapted = output_of(transformer)
    assert (adapted - base).abs().max() > 1e-2
    with attached.model.disable_adapter():
        assert torch.equal(output_of(transformer), base)
    assert torch.equal(output_of(transformer), adapted)
    merged = storage.merge_adapter(attached.model)
    assert torch.allclose(output_of(merged), adapted, atol=1e-5)
    assert not adapter_parameters(merged)


def test_weight_scales_between_base_and_adapter():
    transformer = tiny_transformer()
    base = output_of(transformer)
    attached = trained(transformer)
    adapted = output_of(transformer)
    storage.set_weight_(attached.model, 0.0)
    assert torch.equal(output_of(transformer), base)
    storage.set_weight_(attached.model, 1.0)
    assert torch.equal(output_of(transformer), adapted)


@pytest.mark.parametrize("preset", PRESETS)
def test_saving_and_loading_is_bit_equal(tmp_path, preset: str):
    transformer = tiny_transformer()
    attached = trained(transformer, preset)
    digest = storage.save_adapter(attached.model, tmp_path / "adapter", METADATA)
    assert digest == storage.adapter_sha256(tmp_path / "adapter")
    assert digest == storage.save_adapter(attached.model, tmp_path / "again", METADATA)
    other = tiny_transformer()
    storage.load_adapter(other, tmp_path / "adapter")
    assert torch.equal(output_of(other), output_of(transformer))
    storage.load_adapter(weak := tiny_transformer(), tmp_path / "adapter", weight=0.5)
    assert not torch.equal(output_of(weak), output_of(other))


def test_other_readers_get_the_same_outputs(tmp_path):
    """peft alone, and diffusers' own loader, each on a fresh backbone."""
    from peft import PeftModel

    transformer = tiny_transformer()
    storage.save_adapter(trained(transformer).model, tmp_path / "adapter", METADATA)
    by_peft, by_diffusers = tiny_transformer(), tiny_transformer()
    PeftModel.from_pretrained(by_peft, str(tmp_path / "adapter"))
    assert torch.equal(output_of(by_peft), output_of(transformer))
    by_diffusers.load_lora_adapter(str(tmp_path / "adapter" / "diffusers"), weight_name=storage.DIFFUSERS.name)
    assert torch.allclose(output_of(by_diffusers), output_of(transformer), atol=1e-5)
    assert (output_of(tiny_transformer()) - output_of(transformer)).abs().max() > 1e-2


@pytest.mark.slow
def test_a_fresh_process_reads_what_was_saved(tmp_path):
    transformer = tiny_transformer()
    storage.save_adapter(trained(transformer).model, tmp_path / "adapter", METADATA)
    save_file({"out": output_of(transformer)}, tmp_path / "expected.safetensors")
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from safetensors.torch import load_file\n"
        "from test_laws import tiny_transformer, output_of, storage\n"
        "folder = Path(sys.argv[2]); t = tiny_transformer(); storage.load_adapter(t, folder / 'adapter')\n"
        "assert torch.equal(output_of(t), load_file(folder / 'expected.safetensors')['out'])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(files.Path(__file__).parent), str(tmp_path)], check=True)


def test_headers_tell_nothing_but_the_whitelist(tmp_path):
    attached = trained(tiny_transformer())
    storage.save_adapter(attached.model, tmp_path / "client_codename", METADATA)
    assert set(storage.adapter_metadata(tmp_path / "client_codename")) <= storage.METADATA_KEYS
    written = b"".join(p.read_bytes() for p in (tmp_path / "client_codename").rglob("*.*") if p.is_file())
    assert b"client_codename" not in written
    assert str(tmp_path).encode() not in written
    with pytest.raises(AdapterError, match="whitelisted keys only, got ss_dataset_dirs"):
        storage.save_adapter(attached.model, tmp_path / "b", {**METADATA, "ss_dataset_dirs": "secret"})
    with pytest.raises(AdapterError, match="no paths"):
        storage.save_adapter(attached.model, tmp_path / "b", {"lora_studio.base_model": "/data/client"})
    assert not (tmp_path / "b").exists()


def test_an_adapter_that_is_not_finite_is_never_written(tmp_path):
    attached = trained(tiny_transformer())
    with torch.no_grad():
        next(iter(adapter_parameters(attached.model).values())).fill_(float("nan"))
    with pytest.raises(AdapterError, match="1 adapter weights are not finite"):
        storage.save_adapter(attached.model, tmp_path / "adapter", METADATA)
    assert not (tmp_path / "adapter").exists()


def test_a_missing_or_unexpected_module_is_an_error(tmp_path):
    attached = trained(tiny_transformer(), "image_encoder")
    storage.save_adapter(attached.model, tmp_path / "adapter", METADATA)
    path = tmp_path / "adapter" / storage.WEIGHTS
    tensors = load_file(path)
    first = sorted(tensors)[0]
    save_file({name: t for name, t in tensors.items() if name != first}, path)
    with pytest.raises(AdapterError, match="1 missing and 0 unexpected keys"):
        storage.load_adapter(tiny_transformer(), tmp_path / "adapter")
    with pytest.raises(AdapterError, match="missing"):
        storage.prove_adapter(attached.model, tmp_path / "adapter")
    save_file({**tensors, first: tensors[first] + 1}, path)
    with pytest.raises(AdapterError, match="do not read back"):
        storage.prove_adapter(attached.model, tmp_path / "adapter")
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(AdapterError, match="damaged"):
        storage.load_adapter(tiny_transformer(), tmp_path / "adapter")
    with pytest.raises(AdapterError, match="no adapter in"):
        storage.load_adapter(tiny_transformer(), tmp_path / "nowhere")


def test_an_adapter_for_another_backbone_is_refused(tmp_path):
    storage.save_adapter(trained(tiny_transformer(), "image_encoder").model, tmp_path / "adapter", METADATA)
    deeper = NOVATransformer3DModel(
        image_base_size=(2, 4), video_base_size=(3, 1, 2), text_token_dim=16, arch=("vit_d2w64", "vit_d6w64", "mlp_d2w64")
    )
    with pytest.raises(AdapterError, match="does not fit this backbone"):
        storage.load_adapter(deeper, tmp_path / "adapter")
    wider = NOVATransformer3DModel(
        image_base_size=(2, 4), video_base_size=(3, 1, 2), text_token_dim=16, arch=("vit_d2w128", "vit_d4w128", "mlp_d2w64")
    )
    with pytest.raises(AdapterError, match="another width"):
        storage.load_adapter(wider, tmp_path / "adapter")


def test_a_pattern_that_matches_nothing_lists_the_layers():
    with pytest.raises(AdapterError, match=r"matches no layer; the layers that exist are: .*image_encoder\.blocks\.\*\.attn\.qkv"):
        matched_layers(tiny_transformer(), r"image_encoder\.attention")
    with pytest.raises(AdapterError, match="no Linear layer"):
        matched_layers(tiny_transformer(), r"image_encoder\.blocks\.0\.attn")


def test_presets_do_not_touch_embeddings_or_projectors():
    names = matched_layers(tiny_transformer(), PATTERNS["full"])
    assert not [name for name in names if "embed" in name or "head" in name or "time_cond" in name or "norm" in name]
