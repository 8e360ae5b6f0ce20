"""The transformer: equal to the published one, cached equals whole, nothing changed behind the caller's back."""

import json

import pytest
import torch
from parity import SETS, SHARED, Recording

from lora_studio.errors import ModelError
from lora_studio.nova.layers import KVCache, gather_patches, patchify, unpatchify
from lora_studio.nova.transformer import NOVATransformer3DModel


@pytest.fixture(params=SETS)
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(request.param)


def _inputs(recording: Recording) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    return [recording["in.text0"], recording["in.text1"]], torch.tensor([5.0, 3.0]), recording["in.x"]


@torch.no_grad()
def test_condition_and_video_encoder_equal_the_recording(recording: Recording) -> None:
    model, (text, flow, latents) = recording.transformer(), _inputs(recording)
    recording.close("cond.text_padded", model.text_embed.pad(text))
    recording.close("cond.text_tokens", model.text_embed(text))
    condition = model.condition(text, flow)
    recording.close("cond.c", condition)
    recording.close("venc.mixed", model.encode_video(latents, condition))


@torch.no_grad()
def test_cached_frames_equal_the_whole_clip(recording: Recording) -> None:
    model, (text, flow, latents) = recording.transformer(), _inputs(recording)
    condition, cache, outputs = model.condition(text, flow), KVCache(), []
    for frame in range(3):
        before = latents[:, :, frame - 1] if frame else None
        out, cache = model.encode_video_frame(before, None if frame else condition, frame, 3, cache)
        outputs.append(out)
    recording.close("venc.mixed", torch.stack(outputs, dim=1))
    assert cache.length == condition.shape[1] + 3 * 6


@torch.no_grad()
def test_image_encoder_equals_the_recording(recording: Recording) -> None:
    model = recording.transformer()
    latents, condition = recording["in.x"].transpose(1, 2).flatten(0, 1), recording["venc.mixed"].flatten(0, 1)
    recording.close("ienc.out", model.encode_image(latents, condition, recording["ienc.prev_ids"][..., 0]))
    recording.close("ienc.out0", model.encode_image(latents, condition, torch.zeros(6, 0, dtype=torch.long)))
    recording.close("ienc.outall", model.encode_image(latents, condition, torch.arange(24).expand(6, -1)))


@torch.no_grad()
def test_asking_for_some_patches_gives_the_same_as_asking_for_all(recording: Recording) -> None:
    model, order = recording.transformer(), torch.stack([torch.randperm(24) for _ in range(6)])
    latents, condition = recording["in.x"].transpose(1, 2).flatten(0, 1), recording["venc.mixed"].flatten(0, 1)
    every = model.encode_image(latents, condition, order[:, :9])
    some = model.encode_image(latents, condition, order[:, :9], order[:, 9:14])
    assert torch.allclose(some, gather_patches(every, order[:, 9:14]), atol=1e-5)


@torch.no_grad()
def test_decoder_equals_the_recording(recording: Recording) -> None:
    model, patches, z = recording.transformer(), recording["ienc.patchify"], recording["mlp.z"]
    recording.close("mlp.out_token", model.denoise(patches, recording["mlp.t_token"], z))
    ids = recording["mlp.ids"][..., 0]
    some = model.denoise(gather_patches(patches, ids), torch.tensor(437.5), gather_patches(z, ids))
    want = gather_patches(recording["mlp.out_ids"], ids)
    assert torch.allclose(some, want, atol=1e-4)


def test_patches_are_cut_as_recorded_and_put_back(recording: Recording) -> None:
    latents = recording["in.x"].transpose(1, 2)
    patches = patchify(latents, 2)
    recording.close("ienc.patchify", patches.flatten(0, 1), 0.0)
    assert torch.equal(unpatchify(patches, 2, 8, 12), latents)


@torch.no_grad()
def test_inputs_stay_as_they_were() -> None:
    recording = Recording("abs_nomix")
    model, (text, flow, latents) = recording.transformer(), _inputs(recording)
    kept = [tensor.clone() for tensor in (*text, flow, latents)]
    condition = model.condition(text, flow)
    state = condition.clone()
    model.encode_video(latents, condition)
    model.encode_image(latents[:, :, 0], recording["venc.mixed"][:, 0], torch.zeros(2, 3, dtype=torch.long))
    assert all(torch.equal(a, b) for a, b in zip(kept, (*text, flow, latents), strict=True))
    assert torch.equal(state, condition)


@torch.no_grad()
def test_later_calls_may_have_another_length() -> None:
    """The published code keeps its first attention mask for ever."""
    recording = Recording("abs_nomix")
    model, (text, flow, latents) = recording.transformer(), _inputs(recording)
    before = model.encode_video(latents, model.condition(text, flow))
    assert model.encode_video(latents[:, :, :2], model.condition(text, None)).shape == (2, 2, 6, 64)
    assert torch.equal(before, model.encode_video(latents, model.condition(text, flow)))


def test_a_frame_never_sees_later_ones() -> None:
    recording = Recording("abs_nomix")
    model, (text, flow, latents) = recording.transformer(), _inputs(recording)
    latents = latents.clone().requires_grad_()
    model.encode_video(latents, model.condition(text, flow))[:, 1].sum().backward()
    assert latents.grad is not None
    assert latents.grad[:, :, 0].abs().sum() > 0
    assert latents.grad[:, :, 1:].abs().sum() == 0


def test_portrait_latents_are_refused() -> None:
    model = Recording("abs_nomix").transformer()
    with pytest.raises(ModelError, match="positions for 8 x 12"):
        model.encode_video(torch.zeros(1, 4, 2, 12, 8), model.condition([torch.zeros(0, 32)], None))


def test_latents_of_another_vae_are_refused() -> None:
    model = Recording("abs_nomix").transformer()
    condition = model.condition([torch.zeros(0, 32)], None)
    with pytest.raises(ModelError, match="have 4 channels, got 8: encode the clip with the VAE of the same model folder"):
        model.encode_video(torch.zeros(1, 8, 2, 8, 12), condition)
    with pytest.raises(ModelError, match="have 4 channels, got 16"):
        model.encode_image(torch.zeros(1, 16, 8, 12), condition, torch.zeros(1, 0, dtype=torch.long))


@pytest.mark.parametrize("name", ["osp480", "osp480_mixer24", "sdxl1024"])
def test_published_keys_and_shapes(name: str) -> None:
    path = SHARED / f"manifest_d48w1024_{name}.json"
    if not path.is_file():
        pytest.skip("the manifests are not beside the repository (../shared/parity)")
    manifest = json.loads(path.read_text())
    with torch.device("meta"):
        model = NOVATransformer3DModel(**manifest["config"])
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == manifest["keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) == manifest["parameters"]


def test_gradient_checkpointing_changes_nothing() -> None:
    recording = Recording("abs_nomix")
    (text, flow, latents), gradients = _inputs(recording), []
    for checkpointing in (False, True):
        model = recording.transformer().train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        z = model.encode_image(
            latents[:, :, 0], model.encode_video(latents, model.condition(text, flow))[:, 2], torch.arange(5).expand(2, -1)
        )
        z.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
