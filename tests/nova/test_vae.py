"""The autoencoder: equal to the published one where recorded; every frame comes back; refusals."""

import pytest
import torch
from parity import Recording

from lora_studio.errors import ModelError
from lora_studio.nova import vae_layers
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora, sample_moments


@pytest.fixture(scope="module")
def tiny() -> AutoencoderKLOpenSora:
    torch.manual_seed(0)
    return AutoencoderKLOpenSora(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, shift_factor=0.5).eval()


@torch.no_grad()
def test_equals_the_recording() -> None:
    recording = Recording("vae")
    config = {key: value for key, value in recording.config.items() if key not in ("latents_mean", "latents_std")}
    vae = AutoencoderKLOpenSora(**config).eval()
    vae.load_state_dict(recording.weights)
    moments = vae.encode(recording["osp.x9"]).parameters
    recording.close("osp.moments9", moments)
    latents = sample_moments(moments, recording.draws("osp.sample9")[0])
    recording.close("osp.sample9", latents)
    recording.close("osp.scaled9", vae.scale(latents))
    recording.close("osp.moments33", vae.encode(recording["osp.x33"]).parameters)
    recording.close("osp.image_moments", vae.encode(recording["osp.image"].unsqueeze(2)).parameters[:, :, 0])
    for length in (1, 3, 5, 9):
        recording.close(f"osp.dec{length}", vae.decode(recording[f"osp.z{length}"]))


@torch.no_grad()
def test_image_autoencoder_equals_the_recording() -> None:
    recording = Recording("vae_kl")
    vae = AutoencoderKLImage.from_config(recording.config)
    assert isinstance(vae, AutoencoderKLImage)
    vae.load_state_dict(recording.weights)
    keys = sorted(key for key in recording.tensors if not key.startswith("rng"))
    image, moments = (next(key for key in keys if key.endswith(end)) for end in ("x", "moments"))
    recording.close(moments, vae.encode(recording[image].unsqueeze(2)).parameters[:, :, 0])


@pytest.mark.parametrize("frames", [1, 5, 9, 17, 21, 25, 33, 37])
@torch.no_grad()
def test_no_frame_is_dropped(tiny: AutoencoderKLOpenSora, frames: int) -> None:
    moments = tiny.encode(torch.zeros(1, 3, frames, 8, 16)).parameters
    assert moments.shape == (1, 8, (frames - 1) // 4 + 1, 1, 2)
    assert tiny.decode(moments[:, :4]).shape == (1, 3, frames, 8, 16)


@pytest.mark.parametrize("numbers", [1, 5000, 40_000])
@pytest.mark.parametrize("frames", [1, 5, 17])
@torch.no_grad()
def test_a_clip_in_parts_is_the_whole_clip(monkeypatch: pytest.MonkeyPatch, frames: int, numbers: int) -> None:
    """Pixels and moments of two clips at a time, however finely they are cut."""
    torch.manual_seed(0)
    vae = AutoencoderKLOpenSora(block_out_channels=(8, 16, 16, 24), norm_num_groups=4)
    clips = torch.rand(2, 3, frames, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    want = vae.encode(clips).parameters
    pixels = vae.decode(want[:, :4])
    monkeypatch.setattr(vae_layers, "PART_NUMBERS", numbers)
    assert len(list(vae_layers.cut([clips], 8))) == {1: frames, 5000: frames, 40_000: -(-frames // 6)}[numbers]
    with torch.enable_grad():
        assert len(list(vae_layers.cut([clips], 8))) == 1
    for whole, parts in ((want, vae.encode(clips).parameters), (pixels, vae.decode(want[:, :4]))):
        error = float((whole - parts).abs().max() / whole.abs().max())
        print(f"{frames} frames, parts of {numbers} numbers: {error:.1e} of the largest")
        assert error < 1e-4


@torch.no_grad()
def test_the_first_frame_does_not_depend_on_later_ones(tiny: AutoencoderKLOpenSora) -> None:
    """Convolutions are causal; only the norms' statistics look at all frames, so they are taken out here."""
    latents = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    changed = torch.cat([latents[:, :, :1], latents[:, :, 1:].flip(2)], dim=2)
    ours, other = (next(tiny.decoder.conv_in.over([clip])) for clip in (latents, changed))
    assert torch.equal(ours[:, :, 0], other[:, :, 0])
    assert not torch.equal(ours[:, :, 2], other[:, :, 2])


@pytest.mark.parametrize(("shape", "message"), [((6, 16, 16), "4k \\+ 1"), ((5, 12, 16), "multiples of 8")])
def test_other_clips_are_refused(tiny: AutoencoderKLOpenSora, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tiny.encode(torch.zeros(1, 3, *shape))


def test_a_clip_without_frames_has_none_to_drop(tiny: AutoencoderKLOpenSora) -> None:
    with pytest.raises(ModelError, match=r"got 0$"):
        tiny.encode(torch.zeros(1, 3, 0, 16, 16))


def test_scaling_gives_new_values_and_back(tiny: AutoencoderKLOpenSora) -> None:
    latents = torch.linspace(-2, 2, 8)
    kept = latents.clone()
    scaled = tiny.scale(latents)
    assert torch.equal(latents, kept)
    assert torch.allclose(scaled, (kept - 0.5) * 0.18215)
    assert torch.allclose(tiny.unscale(scaled), kept, atol=1e-6)


def test_a_certain_posterior_has_no_noise() -> None:
    moments = torch.cat([torch.full((1, 4, 1, 1, 1), 2.0), torch.full((1, 4, 1, 1, 1), -1000.0)], dim=1)
    assert torch.allclose(sample_moments(moments, torch.ones(1, 4, 1, 1, 1)), torch.tensor(2.0), atol=1e-5)


def test_other_channel_counts_are_refused(tiny: AutoencoderKLOpenSora) -> None:
    with pytest.raises(ModelError, match=r"a clip must be \(B, 3, F, H, W\), got \(1, 4, 5, 16, 16\)"):
        tiny.encode(torch.zeros(1, 4, 5, 16, 16))
    with pytest.raises(ModelError, match=r"latents must be \(B, 4, T, h, w\), got \(1, 8, 2, 2, 2\)"):
        tiny.decode(torch.zeros(1, 8, 2, 2, 2))
