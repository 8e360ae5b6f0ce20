"""The diffusers pipeline: the sampler's own latents, saving and loading, adapters, precision, quantisation, offloading."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload, ModelHook, add_hook_to_module
from diffusers import BitsAndBytesConfig
from parity import SHARED
from PIL import Image
from safetensors.torch import load_file, save_file

from lora_studio.adapters.attach import adapter_parameters, attach_adapter, bare_transformer
from lora_studio.adapters.storage import load_adapter, save_adapter
from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.pipeline import NovaPipeline
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.layers import KVCache
from lora_studio.nova.quantise import stored_bytes
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import pixel_dtype
from lora_studio.recipe import AdapterSection

NANO = weights.find_model("nano")
QUICK = {"num_inference_steps": 3, "num_diffusion_steps": 2, "guidance_scale": 2.0, "seed": 4}
SETTINGS = SamplerSettings(num_steps=3, num_diffusion_steps=2, guidance=2.0)
PROMPT = "a red can on a white table"


@pytest.fixture(scope="module")
def pipeline() -> NovaPipeline:
    return NovaPipeline.from_pretrained("nano")


def latents(pipeline: NovaPipeline, **changes: object) -> torch.Tensor:
    return pipeline(PROMPT, output_type="latent", **{**QUICK, **changes}).frames


def test_gives_the_samplers_latents_and_frames(pipeline: NovaPipeline) -> None:
    text = weights.load_text(NANO).encode([PROMPT])
    want = generate_latents(weights.load_transformer(NANO), weights.load_scheduler(NANO), text, SETTINGS, SeededNoise([4]))
    assert torch.allclose(latents(pipeline), want, atol=1e-5)
    frames = pipeline(PROMPT, **QUICK, num_videos_per_prompt=2).frames
    assert frames.shape == (2, 9, 128, 192, 3)
    assert frames.dtype == np.float32
    assert 0 <= frames.min() <= frames.max() <= 1
    assert not np.array_equal(frames[0], frames[1])
    pictures = pipeline([PROMPT, "a blue box"], negative_prompt="dark", max_latent_length=1, output_type="pil", **QUICK).frames
    assert [len(clip) for clip in pictures] == [1, 1]
    assert pictures[0][0].size == (192, 128)


def test_image_to_video_begins_with_the_picture(pipeline: NovaPipeline) -> None:
    picture = np.full((128, 192, 3), 200, np.uint8)
    made = latents(pipeline, image=picture)
    other = latents(pipeline, image=picture // 4)
    assert not torch.equal(made[:, :, 0], other[:, :, 0])
    assert torch.equal(made[:, :, 0], latents(pipeline, image=picture, seed=9)[:, :, 0])


def test_embeds_replace_prompts(pipeline: NovaPipeline) -> None:
    rows = weights.load_text(NANO).encode([PROMPT])
    made = pipeline(prompt_embeds=rows, output_type="latent", **QUICK).frames
    assert torch.allclose(made, latents(pipeline), atol=1e-5)
    without = pipeline(prompt_embeds=rows, output_type="latent", **{**QUICK, "guidance_scale": 1.0}).frames
    assert without.shape == made.shape


def test_saves_and_loads_the_published_layout(pipeline: NovaPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "saved")
    again = NovaPipeline.from_pretrained(tmp_path / "saved")
    assert torch.equal(latents(again), latents(pipeline))
    assert set(weights.verify_model(tmp_path / "saved").values()) == {""}


def test_recorded_pipeline_folder_runs() -> None:
    folder = SHARED / "e2e" / "pipeline"
    if not folder.is_dir():
        pytest.skip("the recording e2e is not beside the repository (../shared/parity)")
    made = NovaPipeline.from_pretrained(folder)("a red boat", max_latent_length=3, **QUICK).frames
    assert made.shape == (1, 9, 64, 96, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_stays_near_float32(dtype: torch.dtype) -> None:
    """Each part alone: chains of steps would only show how far errors grow."""
    wide, half = weights.load_transformer(NANO), weights.load_transformer(NANO, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    clip, text = torch.randn(1, 4, 3, 16, 24, generator=generator), [torch.randn(8, 128, generator=generator)]
    kept, noisy = torch.arange(20)[None], torch.randn(1, 96, 16, generator=generator)
    flow = torch.tensor([5.0])
    condition = wide.condition(text, flow)
    context = wide.encode_video(clip, condition)
    z = wide.encode_image(clip[:, :, 0], context[:, 0], kept)
    pairs = {
        "condition": (condition, half.condition(text, flow)),
        "video encoder": (context, half.encode_video(clip, condition.to(dtype))),
        "image encoder": (z, half.encode_image(clip[:, :, 0], context[:, 0].to(dtype), kept)),
        "decoder": (wide.denoise(noisy, torch.tensor(400.0), z), half.denoise(noisy, torch.tensor(400.0), z.to(dtype))),
    }
    for vae in ("decode", "encode"):
        given = clip[..., :4, :6] if vae == "decode" else torch.rand(1, 3, 9, 32, 48, generator=generator) * 2 - 1
        outs = []
        for kind in (torch.float32, pixel_dtype(dtype)):
            out = getattr(weights.load_vae(NANO, dtype=kind), vae)(given.to(kind))
            outs.append(out if isinstance(out, torch.Tensor) else out.mean)
        pairs[f"VAE {vae}"] = (outs[0], outs[1])
    for name, (want, got) in pairs.items():
        assert torch.isfinite(got).all(), name
        error = float((got.float() - want).abs().max() / want.abs().max())
        print(f"{name} in {dtype}: {error:.1e}")
        assert error < 2e-2, name


@pytest.mark.parametrize("bits", [4, 8])
@torch.no_grad()
def test_quantised_backbone_is_near_the_plain_one(bits: int) -> None:
    config = BitsAndBytesConfig(load_in_8bit=True) if bits == 8 else BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )  # fmt: skip
    small = NovaPipeline.from_pretrained("nano", quantization_config=config)
    kinds = {type(module).__name__ for module in small.transformer.modules()}
    assert ({4: "Linear4bit", 8: "Linear8bitLt"}[bits]) in kinds
    plain, transformer = weights.load_transformer(NANO), small.transformer
    assert isinstance(transformer, NOVATransformer3DModel)
    generator = torch.Generator().manual_seed(0)
    clip, text = torch.randn(1, 4, 3, 16, 24, generator=generator), [torch.randn(8, 128, generator=generator)]
    outs = [model.encode_video(clip, model.condition(text, torch.tensor([5.0]))).float() for model in (plain, transformer)]
    cosine = float(torch.nn.functional.cosine_similarity(outs[0].flatten(), outs[1].flatten(), dim=0))
    share = stored_bytes(transformer) / stored_bytes(plain)
    print(f"{bits} bits: cosine {cosine:.4f}, {share:.0%} of the bytes")
    assert share < {4: 0.3, 8: 0.4}[bits]
    assert cosine > {4: 0.95, 8: 0.99}[bits]
    assert torch.isfinite(latents(small)).all()


def test_adapters_of_this_house_load_and_come_off(tmp_path: Path) -> None:
    attached = attach_adapter(
        weights.load_transformer(NANO), AdapterSection.model_validate({"preset": "look", "rank": 4, "alpha": 6.0}), seed=1
    )
    with torch.no_grad():
        for name, parameter in adapter_parameters(attached.model).items():
            if ".lora_B." in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(2))
    save_adapter(attached.model, tmp_path / "adapter", {})
    pipeline = NovaPipeline.from_pretrained("nano")
    base = latents(pipeline)
    pipeline.load_lora_weights(tmp_path / "adapter", adapter_name="brand")
    text = weights.load_text(NANO).encode([PROMPT])
    worn = bare_transformer(load_adapter(weights.load_transformer(NANO), tmp_path / "adapter"))
    assert isinstance(worn, NOVATransformer3DModel)
    want = generate_latents(worn, weights.load_scheduler(NANO), text, SETTINGS, SeededNoise([4]))
    assert torch.allclose(latents(pipeline), want, atol=1e-4)
    assert float((want - base).abs().max()) > 1e-2
    pipeline.set_adapters("brand", 0.0)
    assert torch.allclose(latents(pipeline), base, atol=1e-4)
    pipeline.set_adapters("brand", 1.0)
    pipeline.fuse_lora(components=["transformer"])
    assert torch.allclose(latents(pipeline), want, atol=1e-4)
    pipeline.unfuse_lora(components=["transformer"])
    pipeline.unload_lora_weights()
    assert torch.allclose(latents(pipeline), base, atol=1e-4)

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    small = NovaPipeline.from_pretrained("nano", quantization_config=config)
    bare = latents(small)  # four-bit weights are packed: an adapter is held to the layers' sizes, not to the weights'
    small.load_lora_weights(tmp_path / "adapter")
    change, wanted = latents(small) - bare, want - base
    cosine = float(torch.nn.functional.cosine_similarity(change.flatten(), wanted.flatten(), dim=0))
    print(f"what the adapter changes on NF4, against float32: cosine {cosine:.3f}")
    assert cosine > 0.8


def test_adapters_for_another_base_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = NOVATransformer3DModel(arch=("vit_d2w64", "vit_d4w64", "mlp_d2w64"), text_token_dim=16, text_token_len=6)
    section = AdapterSection.model_validate({"preset": "look", "rank": 4, "alpha": 6.0})
    save_adapter(attach_adapter(other, section, seed=1).model, tmp_path / "adapter", {})
    with pytest.raises(AdapterError, match=r"is for another base: transformer\..* fits no layer of this one"):
        NovaPipeline.from_pretrained("nano").load_lora_weights(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="no adapter in"):
        NovaPipeline.from_pretrained("nano").load_lora_weights(tmp_path)


def test_an_adapter_says_which_base_it_is_for_and_must_be_whole(tmp_path: Path) -> None:
    pipeline = NovaPipeline.from_pretrained("nano")
    section = AdapterSection.model_validate({"preset": "look", "rank": 4, "alpha": 6.0})
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


def test_offloading_sees_every_call(pipeline: NovaPipeline) -> None:
    """`enable_model_cpu_offload` puts a hook before `forward`; NOVA is called by other names."""
    seen: list[str] = []

    class Noting(ModelHook):
        def pre_forward(self, module: torch.nn.Module, *args: object, **kwargs: object):
            seen.append(type(module).__name__)
            return args, kwargs

    fresh = NovaPipeline.from_pretrained("nano")
    for part in (fresh.transformer, fresh.vae, fresh.text_encoder):
        add_hook_to_module(part, Noting())
    fresh(PROMPT, **QUICK)
    order = [name for index, name in enumerate(seen) if index == 0 or seen[index - 1] != name]
    assert order == ["PhiModel", "NOVATransformer3DModel", "AutoencoderKLOpenSora"]
    assert issubclass(CpuOffload, ModelHook)  # the hook that enable_model_cpu_offload puts there is called the same way
    assert pipeline.model_cpu_offload_seq.split("->") == ["text_encoder", "transformer", "vae"]


@pytest.mark.gpu
def test_offloaded_to_a_gpu_gives_the_same(pipeline: NovaPipeline) -> None:
    offloaded = NovaPipeline.from_pretrained("nano")
    offloaded.enable_model_cpu_offload()
    assert torch.allclose(latents(offloaded).cpu(), latents(pipeline), atol=1e-2)


@pytest.mark.slow
@torch.no_grad()
def test_compiled_parts_give_the_same() -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler (g++)")
    model = weights.load_transformer(NANO)
    generator = torch.Generator().manual_seed(0)
    canvas, kept = torch.randn(1, 4, 16, 24, generator=generator), torch.arange(20)[None]
    context, _ = model.encode_video_frame(None, model.condition([torch.randn(8, 128, generator=generator)], None), 0, 3, KVCache())
    want = model.encode_image(canvas, context, kept)
    model.image_encoder.compile()
    model.image_decoder.compile()
    assert torch.allclose(model.encode_image(canvas, context, kept), want, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: .*greater than or equal to 1, got 0"),
        ({"guidance_scale": 0.5}, "guidance_scale: .*greater than or equal to 1, got 0.5"),
        ({"guidance_scale": float("inf")}, "guidance_scale: .*finite"),
        ({"guidance_every": 0, "image_guidance_scale": -1.0}, "image_guidance_scale: .*; guidance_every: "),
        ({"max_latent_length": 0}, "1 or more latent frames .*, got 0"),
        ({"max_latent_length": 2.5}, "got 2.5"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt must be 1 or more, got 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"prompt": []}, r"prompt must be a text or a list of texts, got \[\]"),
        ({"prompt": None, "prompt_embeds": [torch.zeros(3, 7)]}, r"prompt_embeds must be finite rows \(n, 128\) .* got \(3, 7\)"),
        ({"prompt": None, "prompt_embeds": [torch.full((3, 128), torch.nan)]}, "must be finite rows"),
        ({"image": np.zeros((128, 192, 3), np.float32)}, r"must be a PIL picture or a uint8 array \(H, W, 3\), got float32"),
        ({"image": "a.png"}, "got str"),
    ],
)
def test_arguments_out_of_range_are_named_as_they_were_given(pipeline: NovaPipeline, wrong: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pipeline(**{"prompt": PROMPT, **QUICK, **wrong})


def test_a_picture_with_transparency_is_read_as_colours(pipeline: NovaPipeline) -> None:
    picture = Image.new("RGBA", (192, 128), (200, 30, 40, 128))
    with_alpha = pipeline(PROMPT, image=picture, **{**QUICK, "output_type": "latent"}).frames
    without = pipeline(PROMPT, image=picture.convert("RGB"), **{**QUICK, "output_type": "latent"}).frames
    assert torch.equal(with_alpha, without)


def test_wrong_arguments_are_refused(pipeline: NovaPipeline, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match="give either prompt or prompt_embeds"):
        pipeline(**QUICK)
    with pytest.raises(ModelError, match="output_type must be"):
        pipeline(PROMPT, output_type="mp4")
    with pytest.raises(ModelError, match="give one seed or 1"):
        pipeline(PROMPT, **{**QUICK, "seed": [1, 2]})
    with pytest.raises(TypeError, match="vae_batch_size"):
        pipeline(PROMPT, vae_batch_size=2)
    with pytest.raises(ModelError, match="crop them to 128 x 192 pixels"):
        pipeline(PROMPT, image=np.zeros((64, 64, 3), np.uint8), **QUICK)
    with caplog.at_level(logging.WARNING):
        pipeline("a red can and " * 60, max_latent_length=1, **QUICK)
    assert "never sees" in caplog.text
