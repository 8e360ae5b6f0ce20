"""Beyond the trained length: what the window shows, and that the beginning is as it always was."""

import pytest
import torch
from parity import Recording

from lora_studio.errors import ModelError
from lora_studio.generation.guidance import Guidance
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.sequence import Story
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel

QUICK = SamplerSettings(num_steps=2, num_diffusion_steps=2, guidance=2.0)
TRAINED = 5


@pytest.fixture
def transformer() -> NOVATransformer3DModel:
    return Recording("abs_nomix").transformer(TRAINED)


def _text() -> list[torch.Tensor]:
    return [torch.randn(4, 32, generator=torch.Generator().manual_seed(1))]


def _frames(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(1, 4, 8, 12, generator=generator) for _ in range(count)]


@torch.no_grad()
def test_within_the_trained_length_nothing_is_windowed(transformer: NOVATransformer3DModel) -> None:
    condition, frames = transformer.condition(_text(), torch.tensor([5.0])), _frames(TRAINED)
    want = transformer.encode_video(torch.stack(frames, dim=2), condition)
    story = Story(transformer, condition, Guidance(), 1, TRAINED)
    for index, frame in enumerate(frames):
        assert torch.allclose(story.context(), want[:, index], atol=1e-5)
        story.add(frame)


@torch.no_grad()
@pytest.mark.parametrize("count", [5, 6, 13])
@pytest.mark.parametrize("asks_early", [True, False])
def test_the_window_is_a_clip_of_first_and_latest_frames(
    transformer: NOVATransformer3DModel, count: int, asks_early: bool
) -> None:
    condition, frames = transformer.condition(_text(), torch.tensor([5.0])), _frames(count)
    story = Story(transformer, condition, Guidance(), 1, count + 1)
    for frame in frames:
        if asks_early:
            story.context()
        story.add(frame)
    shown = torch.stack([frames[0], frames[0], *frames[-(TRAINED - 2) :]], dim=2)[:, :, 1:]
    clip = torch.cat([shown, torch.zeros_like(shown[:, :, :1])], dim=2)  # its last frame is the one to be painted
    want = transformer.encode_video(clip, condition)[:, -1]
    assert torch.allclose(story.context(), want, atol=1e-5)
    assert torch.allclose(story.context(), want, atol=1e-5)


def test_a_long_clip_begins_like_a_short_one_and_never_ends(transformer: NOVATransformer3DModel) -> None:
    short = generate_latents(transformer, FlowMatchScheduler(), _text(), QUICK, SeededNoise([3]))
    long = generate_latents(transformer, FlowMatchScheduler(), _text(), QUICK, SeededNoise([3]), num_latents=8 * TRAINED)
    assert long.shape[2] == 8 * TRAINED
    assert torch.equal(long[:, :, :TRAINED], short)
    assert bool(long.isfinite().all())


def test_a_clip_goes_on_from_where_another_was_cut(transformer: NOVATransformer3DModel) -> None:
    """With a noise source that is as far, the second half of a cut clip comes out as if it had never been cut."""
    whole = generate_latents(transformer, FlowMatchScheduler(), _text(), QUICK, SeededNoise([3]), num_latents=9)

    class Late(SeededNoise):
        def order(self, num_patches: int) -> torch.Tensor:
            order = super().order(num_patches)
            for _ in range(6 * 2):  # frames given times sets of patches
                self.grid(4, 8, 12)
            return order

    rest = generate_latents(transformer, FlowMatchScheduler(), _text(), QUICK, Late([3]), whole[:, :, :6], num_latents=9)
    assert torch.allclose(rest, whole, atol=1e-4)


def test_checkpoints_too_short_to_go_on_say_so() -> None:
    transformer = Recording("abs_nomix").transformer(2)
    with pytest.raises(ModelError, match="clips of 2 latent frames and cannot go on beyond them, got 3: ask for at most 5"):
        generate_latents(transformer, FlowMatchScheduler(), _text(), QUICK, SeededNoise([3]), num_latents=3)
