"""The diffusers pipeline: the sampler's own latents, saving and loading, adapters, precision, quantisation, offloading."""

import inspect
import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import BitsAndBytesConfig, DDPMScheduler, PipelineQuantizationConfig
from parity import SHARED
from piping import NANO, PROMPT, QUICK, SETTINGS, latents

from lora_studio.errors import ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.pipeline import NovaPipeline
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.quantise import stored_bytes
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import pixel_dtype


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
    clip = torch.randn(1, wide.config.image_dim, 3, 16, 24, generator=generator)
    text = [torch.randn(8, 128, generator=generator)]
    kept, noisy = torch.arange(20)[None], torch.randn(1, 96, wide.patch_values, generator=generator)
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
    clip = torch.randn(1, plain.config.image_dim, 3, 16, 24, generator=generator)
    text = [torch.randn(8, 128, generator=generator)]
    outs = [model.encode_video(clip, model.condition(text, torch.tensor([5.0]))).float() for model in (plain, transformer)]
    cosine = float(torch.nn.functional.cosine_similarity(outs[0].flatten(), outs[1].flatten(), dim=0))
    share = stored_bytes(transformer) / stored_bytes(plain)
    print(f"{bits} bits: cosine {cosine:.4f}, {share:.0%} of the bytes")
    assert share < {4: 0.3, 8: 0.4}[bits]
    assert cosine > {4: 0.95, 8: 0.99}[bits]
    assert torch.isfinite(latents(small)).all()


def test_offloading_sees_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """`enable_model_cpu_offload` puts a hook before `forward`; NOVA is called by other names, each of which must wake it."""
    woken: dict[str, int] = defaultdict(int)
    calls: dict[str, list[int]] = defaultdict(list)
    inside: list[str] = []

    class Hook(ModelHook):  # stands in for the one that brings a part to the GPU; diffusers calls it with the module alone
        def pre_forward(self, module: torch.nn.Module, *args: object, **kwargs: object):
            woken[type(module).__name__] += 1
            return args, kwargs

    def watched(part: torch.nn.Module, name: str) -> Callable[..., object]:
        method, kind = getattr(part, name), type(part).__name__

        def call(*args: object, **kwargs: object) -> object:
            if inside:  # one method of a part calls another: the hook was woken already
                return method(*args, **kwargs)
            inside.append(name)
            before = woken[kind]
            result = method(*args, **kwargs)
            calls[name].append(woken[kind] - before)
            inside.remove(name)
            return result

        return call

    own = NovaPipeline.from_pretrained("nano")
    for part in (own.text_encoder, own.transformer, own.vae):
        add_hook_to_module(part, Hook())
    for part in (own.transformer, own.vae):
        for name, _ in inspect.getmembers(type(part), inspect.isfunction):
            if name in vars(type(part)) and not name.startswith("_"):
                monkeypatch.setattr(part, name, watched(part, name))
    own(PROMPT, image=np.zeros((128, 192, 3), np.uint8), **{**QUICK, "output_type": "np"})
    assert set(calls) == {"condition", "encode_video_frame", "encode_image", "encode", "decode"}
    assert all(count >= 1 for counts in calls.values() for count in counts), dict(calls)
    assert woken["PhiModel"] == 1
    assert NovaPipeline.model_cpu_offload_seq.split("->") == ["text_encoder", "transformer", "vae"]


@pytest.mark.gpu
def test_offloaded_to_a_gpu_gives_the_same(pipeline: NovaPipeline) -> None:
    offloaded = NovaPipeline.from_pretrained("nano")
    offloaded.enable_model_cpu_offload()
    assert torch.allclose(latents(offloaded).cpu(), latents(pipeline), atol=1e-2)


def test_compiling_the_transformer_compiles_what_a_call_runs(pipeline: NovaPipeline) -> None:
    compiled: set[str] = set()

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        """Notes whose layers it is given, and runs them as they are."""
        stacks = [node.meta.get("nn_module_stack", {}) for node in graph.graph.nodes]
        compiled.update(getattr(kind, "__name__", str(kind)) for stack in stacks for _, kind in stack.values())
        return graph.forward

    own = NovaPipeline.from_pretrained("nano")
    own.transformer.compile(backend=backend)
    made = latents(own)
    assert {"Attention", "_DecoderBlock"} <= compiled  # of the image encoder and of the decoder
    assert torch.allclose(made, latents(pipeline), atol=1e-4)


@pytest.mark.slow
def test_compiled_parts_give_the_same(pipeline: NovaPipeline) -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler (g++)")
    own = NovaPipeline.from_pretrained("nano")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    own.transformer.compile()
    made = latents(own)
    counters = torch._dynamo.utils.counters
    print(dict(counters["frames"]), dict(counters["stats"]))
    assert counters["frames"]["ok"] >= 2
    assert counters["frames"]["ok"] == counters["frames"]["total"]
    assert torch.allclose(made, latents(pipeline), atol=1e-4)


def test_compiling_without_effect_is_refused() -> None:
    own = NovaPipeline.from_pretrained("nano")
    own.vae.compile()
    with pytest.raises(ModelError, match=r"pipeline\.vae was compiled in a way that has no effect.*vae\.decoder\.compile\(\)"):
        own(PROMPT, **QUICK)
    own = NovaPipeline.from_pretrained("nano")
    own.transformer = torch.compile(own.transformer)
    with pytest.raises(ModelError, match=r"pipeline\.transformer was compiled .* call pipeline\.transformer\.compile\(\)"):
        own(PROMPT, **QUICK)


def test_steps_are_spaced_as_the_model_index_says(tmp_path: Path) -> None:
    """DDPM with linspace: the published library steps evenly, diffusers' own from entry to entry."""
    settings = SamplerSettings(num_steps=2, num_diffusion_steps=7, guidance=1.0)
    made = {}
    for library in ("diffnext.schedulers.scheduling_ddpm", "diffusers"):
        folder = tmp_path / library
        shutil.copytree(NANO, folder)
        DDPMScheduler(timestep_spacing="linspace", clip_sample=False).save_pretrained(folder / "scheduler")
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps({**index, "scheduler": [library, "DDPMScheduler"]}))
        text = weights.load_text(folder).encode([PROMPT])
        transformer, scheduler = weights.load_transformer(folder), weights.load_scheduler(folder)
        want = generate_latents(transformer, scheduler, text, settings, SeededNoise([4]), num_latents=1)
        own = NovaPipeline.from_pretrained(folder)
        asked = {"num_inference_steps": 2, "num_diffusion_steps": 7, "guidance_scale": 1.0, "max_latent_length": 1}
        made[library] = latents(own, **asked)
        assert torch.allclose(made[library], want, atol=1e-4), library
        own.save_pretrained(tmp_path / "saved" / library)
        assert torch.equal(latents(NovaPipeline.from_pretrained(tmp_path / "saved" / library), **asked), made[library])
    assert float((made["diffusers"] - made["diffnext.schedulers.scheduling_ddpm"]).abs().max()) > 1e-2


def test_precision_after_loading_is_precision_at_loading() -> None:
    own = NovaPipeline.from_pretrained("nano")
    assert own.to("cpu") is own
    moved, loaded = own.to("cpu", torch.bfloat16), NovaPipeline.from_pretrained("nano", dtype="bfloat16")
    assert (moved.transformer.dtype, moved.vae.dtype, moved.text_encoder.dtype) == (torch.bfloat16, torch.float16, torch.bfloat16)
    for name in ("transformer", "vae", "text_encoder"):
        ours, theirs = getattr(moved, name), getattr(loaded, name)
        for mine, other in zip((*ours.parameters(), *ours.buffers()), (*theirs.parameters(), *theirs.buffers()), strict=True):
            assert mine.dtype == other.dtype
            assert torch.equal(mine, other)
    assert torch.equal(latents(moved), latents(loaded))
    assert own.to(dtype=torch.float32).vae.dtype == torch.float32
    for dtype in (torch.int8, torch.float8_e4m3fn, torch.float64):
        with pytest.raises(ModelError, match="dtype must be float32, bfloat16 or float16 .*BitsAndBytesConfig"):
            own.to(dtype)


def test_a_call_is_cancelled_from_its_callback(pipeline: NovaPipeline) -> None:
    seen: list[tuple[int, int]] = []

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise Enough

    before = latents(pipeline)
    with pytest.raises(Enough):
        latents(pipeline, callback=stop)
    assert seen == [(1, 9), (2, 9)]  # three frames of three sets
    assert torch.equal(latents(pipeline), before)


@pytest.mark.parametrize(
    "config",
    [
        PipelineQuantizationConfig(quant_mapping={"transformer": BitsAndBytesConfig(load_in_8bit=True)}),
        PipelineQuantizationConfig(
            quant_backend="bitsandbytes_8bit", quant_kwargs={"load_in_8bit": True}, components_to_quantize="transformer"
        ),
    ],
)
def test_a_config_for_pipelines_quantises_the_transformer(config: PipelineQuantizationConfig) -> None:
    small = NovaPipeline.from_pretrained("nano", quantization_config=config)
    assert "Linear8bitLt" in {type(module).__name__ for module in small.transformer.modules()}
