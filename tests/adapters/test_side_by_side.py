"""Several adapters in one batch: each sample as if it were alone, the base untouched afterwards."""

from pathlib import Path

import pytest
import torch
from test_laws import METADATA, tiny_transformer, trained

from lora_studio.adapters import storage
from lora_studio.adapters.attach import bare_transformer
from lora_studio.adapters.side_by_side import wear_side_by_side
from lora_studio.errors import AdapterError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel

SETTINGS = SamplerSettings(num_steps=3, num_diffusion_steps=2, guidance=2.0, image_guidance=1.2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = []
    for preset in ("image_encoder", "video_encoder", "full"):
        folder = tmp_path_factory.mktemp("adapters") / preset
        storage.save_adapter(trained(tiny_transformer(), preset).model, folder, METADATA)
        made.append(folder)
    return made


def sample(transformer: torch.nn.Module, count: int) -> torch.Tensor:
    assert isinstance(transformer, NOVATransformer3DModel)
    text = [torch.randn(4, 16, generator=torch.Generator().manual_seed(0))] * count
    noise = SeededNoise([7] * count)
    return generate_latents(transformer, FlowMatchScheduler(), text, SETTINGS, noise, num_latents=3)


def test_each_sample_wears_its_own(folders: list[Path]) -> None:
    transformer = tiny_transformer()
    looks = [None, *folders, folders[0]]
    with wear_side_by_side(transformer, looks) as dressed:
        together = sample(dressed, len(looks))
    for index, folder in enumerate(looks):
        if folder is None:
            alone = sample(tiny_transformer(), 1)
        else:
            alone = sample(bare_transformer(storage.load_adapter(tiny_transformer(), folder)), 1)
        assert torch.allclose(together[index : index + 1], alone, atol=1e-4), folder
    gaps = [float((together[0] - together[index]).abs().max()) for index in (1, 2, 3)]
    print("furthest from the base:", gaps)
    assert min(gaps) > 1e-2


def test_the_base_is_bare_again(folders: list[Path]) -> None:
    transformer = tiny_transformer()
    before = sample(transformer, 1)
    with wear_side_by_side(transformer, [folders[2]]) as dressed:
        assert not torch.equal(sample(dressed, 1), before)
    assert torch.allclose(sample(transformer, 1), before, atol=1e-5)
    assert not any("lora_" in name for name, _ in transformer.named_modules())


def test_rows_that_cannot_be_shared_out_are_refused(folders: list[Path]) -> None:
    with (
        wear_side_by_side(tiny_transformer(), [None, folders[0]]) as dressed,
        pytest.raises(AdapterError, match="9 rows cannot be shared out among 2 samples"),
    ):
        sample(dressed, 3)
