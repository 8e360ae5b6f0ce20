"""Adapters on the pipeline: those of this house load, come off, are refused in words; what carries one is not saved."""

from pathlib import Path

import pytest
import torch
from diffusers import BitsAndBytesConfig
from piping import NANO, PROMPT, SETTINGS, latents
from safetensors.torch import load_file, save_file

from lora_studio.adapters.attach import adapter_parameters, attach_adapter, bare_transformer
from lora_studio.adapters.storage import load_adapter, save_adapter
from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.pipeline import NovaPipeline
from lora_studio.generation.sampler import generate_latents
from lora_studio.nova import weights
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.recipe import AdapterSection


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter folder as training leaves it, with weights that change what is made."""
    section = AdapterSection.model_validate({"preset": "image_encoder", "rank": 4, "alpha": 6.0})
    attached = attach_adapter(weights.load_transformer(NANO), section, seed=1)
    with torch.no_grad():
        for name, parameter in adapter_parameters(attached.model).items():
            if ".lora_B." in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(2))
    save_adapter(attached.model, folder := tmp_path_factory.mktemp("adapters") / "adapter", {})
    return folder


@pytest.fixture(scope="module")
def worn(adapter: Path) -> torch.Tensor:
    """What the sampler makes with that adapter."""
    text = weights.load_text(NANO).encode([PROMPT])
    transformer = bare_transformer(load_adapter(weights.load_transformer(NANO), adapter))
    assert isinstance(transformer, NOVATransformer3DModel)
    return generate_latents(transformer, weights.load_scheduler(NANO), text, SETTINGS, SeededNoise([4]))


def test_adapters_of_this_house_load_and_come_off(pipeline: NovaPipeline, adapter: Path, worn: torch.Tensor) -> None:
    base, own = latents(pipeline), NovaPipeline.from_pretrained("nano")
    own.load_lora_weights(adapter, adapter_name="brand")
    assert torch.allclose(latents(own), worn, atol=1e-4)
    assert float((worn - base).abs().max()) > 1e-2
    own.set_adapters("brand", 0.0)
    assert torch.allclose(latents(own), base, atol=1e-4)
    own.set_adapters("brand", 1.0)
    own.fuse_lora()
    assert torch.allclose(latents(own), worn, atol=1e-4)
    own.unfuse_lora()
    own.unload_lora_weights()
    assert torch.allclose(latents(own), base, atol=1e-4)
    own.transformer.load_lora_adapter(adapter / "diffusers", use_safetensors=True)  # the model's own call, as diffusers has it
    assert torch.allclose(latents(own), worn, atol=1e-4)


@torch.no_grad()
def _answer(transformer: NOVATransformer3DModel) -> torch.Tensor:
    """One prediction, always of the same question: a chain of steps would only show how far errors grow."""
    generator = torch.Generator().manual_seed(0)
    clip, noisy = torch.randn(1, 8, 3, 16, 24, generator=generator), torch.randn(1, 1, 3, 66, 32, generator=generator)
    order = torch.rand(1, 3, 96, generator=generator).argsort(-1)
    text = [torch.randn(8, 128, generator=generator)]
    return transformer(clip, text, torch.tensor([5.0]), order[..., :30], order[..., 30:], noisy, torch.full((1, 1, 3, 66), 500.0))


def test_an_adapter_goes_on_quantised_layers(pipeline: NovaPipeline, adapter: Path) -> None:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    small = NovaPipeline.from_pretrained("nano", quantization_config=config)
    bare = _answer(small.transformer)  # four-bit weights are packed: an adapter is held to the layers' sizes, not to the weights'
    small.load_lora_weights(adapter)
    worn = bare_transformer(load_adapter(weights.load_transformer(NANO), adapter))
    assert isinstance(worn, NOVATransformer3DModel)
    change, wanted = _answer(small.transformer) - bare, _answer(worn) - _answer(pipeline.transformer)
    cosine = float(torch.nn.functional.cosine_similarity(change.flatten(), wanted.flatten(), dim=0))
    print(f"what the adapter changes on NF4, against float32: cosine {cosine:.3f}")
    assert cosine > 0.75


def test_only_what_loads_again_is_saved(adapter: Path, worn: torch.Tensor, tmp_path: Path) -> None:
    own = NovaPipeline.from_pretrained("nano")
    with pytest.raises(ModelError, match="safe_serialization can only be True, got False"):
        own.save_pretrained(tmp_path / "merged", safe_serialization=False)
    own.load_lora_weights(adapter)
    with pytest.raises(ModelError, match=r"carries an adapter.*unload_lora_weights\(\) first.*lora-studio merge"):
        own.save_pretrained(tmp_path / "merged")
    own.fuse_lora()
    with pytest.raises(ModelError, match="carries an adapter"):
        own.save_pretrained(tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    own.unload_lora_weights()  # the effect of a fused adapter stays in the weights
    own.save_pretrained(tmp_path / "merged")
    assert set(weights.verify_model(tmp_path / "merged").values()) == {""}
    assert torch.allclose(latents(NovaPipeline.from_pretrained(tmp_path / "merged")), worn, atol=1e-4)
    small = NovaPipeline.from_pretrained("nano", quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    with pytest.raises(ModelError, match="has quantised layers.*loaded without quantization_config"):
        small.save_pretrained(tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_diffusers_words_for_adapters_are_answered(pipeline: NovaPipeline, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="save_lora_weights is not offered: .* copy the one given to load_lora_weights"):
        pipeline.save_lora_weights(tmp_path)
    with pytest.raises(AdapterError, match="takes the folder or file of an adapter, got dict"):
        pipeline.load_lora_weights({})  # pyright: ignore[reportArgumentType]
    with pytest.raises(AdapterError, match=r"brand\.safetensors is missing"):
        pipeline.load_lora_weights(tmp_path, weight_name="brand.safetensors")


def test_adapters_for_another_base_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = NOVATransformer3DModel(arch=("vit_d2w64", "vit_d4w64", "mlp_d2w64"), text_token_dim=16, text_token_len=6)
    section = AdapterSection.model_validate({"preset": "image_encoder", "rank": 4, "alpha": 6.0})
    save_adapter(attach_adapter(other, section, seed=1).model, tmp_path / "adapter", {})
    with pytest.raises(AdapterError, match=r"is for another base: transformer\..* fits no layer of this one"):
        NovaPipeline.from_pretrained("nano").load_lora_weights(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="no adapter in"):
        NovaPipeline.from_pretrained("nano").load_lora_weights(tmp_path)


def test_an_adapter_says_which_base_it_is_for_and_must_be_whole(tmp_path: Path) -> None:
    pipeline = NovaPipeline.from_pretrained("nano")
    section = AdapterSection.model_validate({"preset": "image_encoder", "rank": 4, "alpha": 6.0})
    model = attach_adapter(weights.load_transformer(NANO), section, seed=1).model
    save_adapter(model, tmp_path / "other", {"lora_studio.base_sha256": "0" * 64})
    with pytest.raises(AdapterError, match="is for another base: it was trained on 000000000000, this one is"):
        pipeline.load_lora_weights(tmp_path / "other")
    save_adapter(model, tmp_path / "ours", {"lora_studio.base_sha256": weights.model_sha256(NANO)})
    path = tmp_path / "ours" / "diffusers" / "pytorch_lora_weights.safetensors"
    whole = load_file(path)
    first = next(iter(whole))
    for changed, message in (
        ({}, "is no whole adapter: it lacks every weight"),
        ({key: value for key, value in whole.items() if key != first}, "is no whole adapter: it lacks transformer"),
        ({**whole, first: whole[first] * torch.nan}, "holds values that are not finite"),
    ):
        save_file(changed, path)
        with pytest.raises(AdapterError, match=message):
            pipeline.load_lora_weights(tmp_path / "ours")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AdapterError, match="is damaged"):
        pipeline.load_lora_weights(tmp_path / "ours")
    save_file(whole, path)
    pipeline.load_lora_weights(tmp_path / "ours")
    with pytest.raises(AdapterError, match="an adapter named 'default' is on already"):
        pipeline.load_lora_weights(tmp_path / "ours")


def test_damaged_adapters_are_refused_in_words(adapter: Path, tmp_path: Path) -> None:
    pipeline = NovaPipeline.from_pretrained("nano")
    path = tmp_path / "pytorch_lora_weights.safetensors"
    whole = load_file(adapter / "diffusers" / path.name)
    first = next(key for key in whole if key.endswith(".lora_A.weight"))
    second = first.replace("lora_A", "lora_B")
    wrapped = {key.replace("transformer.", "transformer.base_model.model."): value for key, value in whole.items()}
    bare = {key.removeprefix("transformer."): value for key, value in whole.items()}
    for changed, message in (
        ({**whole, first: whole[first][0]}, r"is damaged: .* has the shape \[\d+\], .* must be \[rank, inputs\]"),
        ({**whole, first: torch.tensor(1.0)}, r"is damaged: .* has the shape \[\]"),
        ({**whole, first: whole[first][None]}, r"is damaged: .* has the shape \[1, 4, \d+\]"),
        ({**whole, second: whole[second][..., None]}, "is damaged: .* has the shape"),
        ({**whole, first: whole[first][:0]}, "is damaged: .* a rank of 1 or more"),
        ({**whole, second: torch.cat([whole[second]] * 2, 1)}, r"is damaged: .* its lora_B \[\d+, 8\] must share one rank"),
        ({**whole, first: whole[first].int()}, "holds int32, and an adapter's numbers must be one of float32, bfloat16"),
        (wrapped, r"transformer\.base_model\.model\.\S* must be named transformer\.\w"),
        (bare, r"must be named transformer\.\S*: .* every name is 'transformer\.' and the layer; give the adapter's folder"),
    ):
        save_file({key: value.contiguous() for key, value in changed.items()}, path)
        with pytest.raises(AdapterError, match=message):
            pipeline.load_lora_weights(tmp_path)
    save_file(whole, path)
    for name in ("a.b", "", "keys"):
        with pytest.raises(AdapterError, match=f"adapter_name must be a text without dots.*, got '{name}': choose another"):
            pipeline.load_lora_weights(tmp_path, adapter_name=name)
    pipeline.load_lora_weights(tmp_path, adapter_name="brand")
