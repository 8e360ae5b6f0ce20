"""What the diffusers pipeline refuses, and in which words: every argument out of range is named before any work is done."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig
from PIL import Image
from piping import PROMPT, QUICK

from lora_studio.errors import ModelError
from lora_studio.generation.pipeline import NovaPipeline

ROWS = torch.zeros(3, 128)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps: .*greater than or equal to 1, got 0"),
        ({"guidance_scale": 0.5}, "guidance_scale: .*greater than or equal to 1, got 0.5"),
        ({"guidance_scale": float("inf")}, "guidance_scale: .*finite"),
        ({"guidance_every": 0, "image_guidance_scale": -1.0}, "image_guidance_scale: .*; guidance_every: "),
        (
            {"min_guidance_scale": 9.0},
            "min_guidance_scale: must not be above guidance_scale, which is 2: .* raise guidance_scale, got 9",
        ),
        ({"spatiotemporal_guidance_scale": "x"}, "spatiotemporal_guidance_scale must be a number of 0 or more .*, got 'x'"),
        ({"max_latent_length": 0}, "max_latent_length must be None, or 1 or more latent frames .*, got 0"),
        ({"max_latent_length": 2.5}, "max_latent_length .* got 2.5"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt must be 1 or more, got 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": 2**70}, r"seed must be a whole number of 64 bits, from -2\*\*63 to 2\*\*63 - 1, got 1180591620717411303424"),
        ({"seed": torch.tensor(4)}, r"seed must be a whole number, or one for each clip, got tensor\(4\)"),
        ({"seed": np.array(4)}, "seed must be a whole number, or one for each clip"),
        ({"seed": [[4]]}, "seed must be a whole number, or one for each clip"),
        ({"seed": [1, 2]}, "give one seed or 1, one per clip; got 2"),
        ({"seed": None, "generator": [torch.Generator()]}, r"generator must be one torch\.Generator, got list: .* seed=\[...\]"),
        ({"callback": 3}, "callback must be a function of sets done and sets in all, got 3"),
        ({"output_type": "mp4"}, "output_type must be np, pt, pil, uint8 or latent, got 'mp4'"),
        ({"prompt": None}, "give either prompt or prompt_embeds"),
        ({"prompt": []}, r"prompt must be a text or a list of texts, got \[\]"),
        ({"prompt": 3}, "prompt must be a text or a list of texts, got 3"),
        ({"prompt": [PROMPT] * 4, "negative_prompt": ["x", "y"]}, "negative_prompt must be one .* for each of the 4, got 2"),
        ({"prompt": [PROMPT] * 2, "negative_prompt": ["x", "y", "z"]}, "negative_prompt must be one .* for each of the 2, got 3"),
        ({"negative_prompt_embeds": [ROWS, ROWS]}, "negative_prompt_embeds must be one .* for each of the 1, got 2"),
        ({"negative_prompt": 3}, "negative_prompt must be a text or a list of texts, got 3"),
        ({"prompt": None, "prompt_embeds": [torch.zeros(3, 7)]}, r"prompt_embeds must be finite rows \(n, 128\) .* \(3, 7\)"),
        ({"prompt": None, "prompt_embeds": [torch.full((3, 128), torch.nan)]}, "must be finite rows"),
        ({"prompt": None, "prompt_embeds": [ROWS.numpy()]}, r"prompt_embeds must hold torch tensors \(n, 128\), got ndarray"),
        ({"prompt": None, "prompt_embeds": ROWS.numpy()}, r"must be a list with a tensor \(n, 128\) for each text, got ndarray"),
        ({"prompt": None, "prompt_embeds": []}, "prompt_embeds must be a list .*, got an empty list"),
        ({"image": np.zeros((128, 192, 3), np.float32)}, r"must be a PIL picture or a uint8 array \(H, W, 3\), got float32"),
        ({"image": "a.png"}, "got str"),
    ],
)
def test_arguments_out_of_range_are_named_before_any_work(
    pipeline: NovaPipeline, monkeypatch: pytest.MonkeyPatch, wrong: dict, message: str
) -> None:
    monkeypatch.setattr(pipeline.text_encoder, "forward", lambda **_: pytest.fail("texts were encoded first"))
    with pytest.raises(ModelError, match=message):
        pipeline(**{"prompt": PROMPT, **QUICK, **wrong})


def test_wrong_arguments_are_refused(pipeline: NovaPipeline, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TypeError, match="vae_batch_size"):
        pipeline(PROMPT, vae_batch_size=2)
    with pytest.raises(ModelError, match="crop them to 128 x 192 pixels"):
        pipeline(PROMPT, image=np.zeros((64, 64, 3), np.uint8), **QUICK)
    with caplog.at_level(logging.WARNING):
        pipeline("a red can and " * 60, max_latent_length=1, **QUICK)
        pipeline(prompt_embeds=[torch.zeros(500, 128)], max_latent_length=1, **QUICK)
    assert "of a prompt; it never sees: " in caplog.text
    assert "rows of a prompt; it never sees " in caplog.text


def test_one_negative_prompt_serves_all_and_several_go_with_their_own(pipeline: NovaPipeline) -> None:
    quick: dict[str, Any] = {**QUICK, "max_latent_length": 1, "output_type": "latent", "seed": [1, 2, 3, 4]}
    both = pipeline([PROMPT, "a box"], ["dark", "blurred"], num_videos_per_prompt=2, **quick).frames
    one = pipeline([PROMPT, "a box"], "dark", num_videos_per_prompt=2, **quick).frames
    alone = pipeline("a box", "blurred", num_videos_per_prompt=2, **{**quick, "seed": [3, 4]}).frames
    assert torch.equal(both[:2], one[:2])
    assert not torch.equal(both[2:], one[2:])
    assert torch.allclose(both[2:], alone, atol=1e-5)


def test_a_picture_with_transparency_is_read_as_colours(pipeline: NovaPipeline) -> None:
    picture = Image.new("RGBA", (192, 128), (200, 30, 40, 128))
    with_alpha = pipeline(PROMPT, image=picture, **{**QUICK, "output_type": "latent"}).frames
    without = pipeline(PROMPT, image=picture.convert("RGB"), **{**QUICK, "output_type": "latent"}).frames
    assert torch.equal(with_alpha, without)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"torch_dtype": torch.int8}, "torch_dtype must be float32, bfloat16 or float16 .* got torch.int8; .*BitsAndBytesConfig"),
        ({"dtype": torch.float8_e5m2}, "dtype must be float32, bfloat16 or float16"),
        ({"torch_dtype": "auto"}, "torch_dtype must be .* got 'auto'"),
        ({"torch_dtype": torch.float16, "dtype": torch.float16}, "two names of one argument"),
        ({"variant": "fp16"}, "variant can only be None, got 'fp16': the files of a variant are found by themselves"),
        ({"low_cpu_mem_usage": False}, "low_cpu_mem_usage can only be True, got False"),
        ({"use_safetensors": False}, "use_safetensors can only be True"),
        ({"trust_remote_code": True}, "trust_remote_code can only be False"),
        ({"device_map": "balanced"}, "device_map must be None or one device .* got 'balanced': .*enable_model_cpu_offload"),
        ({"device_map": {"vae": 0}}, "device_map must be None or one device"),
        ({"revision": "main"}, "from_pretrained has no argument revision: it takes torch_dtype"),
        ({"quantization_config": {"load_in_4bit": True}}, r"must be diffusers' BitsAndBytesConfig, such as .* got dict"),
        ({"quantization_config": BitsAndBytesConfig()}, "must have load_in_4bit=True or load_in_8bit=True"),
        (
            {"quantization_config": PipelineQuantizationConfig(quant_mapping={"vae": BitsAndBytesConfig(load_in_8bit=True)})},
            "quantization_config names vae: only the transformer",
        ),
        (
            {"quantization_config": PipelineQuantizationConfig("bitsandbytes_8bit", {"load_in_8bit": True})},
            'for all parts: add components_to_quantize="transformer"',
        ),
    ],
)
def test_loading_arguments_are_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, wrong: dict, message: str) -> None:
    monkeypatch.setattr("lora_studio.nova.weights.find_model", lambda _: pytest.fail("the model was looked for first"))
    with pytest.raises(ModelError, match=message):
        NovaPipeline.from_pretrained("nano", **wrong)


def test_loading_arguments_that_change_nothing_are_taken(tmp_path: Path) -> None:
    own = NovaPipeline.from_pretrained(
        "nano", torch_dtype="float16", device_map="cpu", local_files_only=True, use_safetensors=True, low_cpu_mem_usage=True,
        variant=None, trust_remote_code=False,
    )  # fmt: skip
    assert own.transformer.dtype == torch.float16
    for name in ("owner/model", "no folder at all"):
        with pytest.raises(ModelError, match="is no folder and not in this machine's Hub cache: leave out local_files_only"):
            NovaPipeline.from_pretrained(name, local_files_only=True)
