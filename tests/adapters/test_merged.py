"""An adapter trained here and merged into a checkpoint of the published layout gives the latents that it gave as an adapter."""

from pathlib import Path

import pytest
import torch

from lora_studio.adapters.attach import adapter_parameters, attach_adapter, bare_transformer
from lora_studio.adapters.storage import load_adapter, merge_adapter, save_adapter
from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.recipe import AdapterSection
from lora_studio.training.objective import draw, training_loss

NANO = weights.find_model("nano")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real steps on nova-nano, large enough to be seen."""
    folder, transformer = tmp_path_factory.mktemp("run") / "adapter", weights.load_transformer(NANO)
    section = AdapterSection.model_validate({"preset": "full", "rank": 4, "alpha": 8.0})
    model = attach_adapter(transformer, section, seed=1).model
    optimizer = torch.optim.AdamW(adapter_parameters(model).values(), lr=0.02)
    latents = torch.randn(2, 4, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    text = [torch.randn(6, 128, generator=torch.Generator().manual_seed(1))] * 2
    for step in range(3):
        draws = draw(0, step, [0, 1], tuple(latents.shape), transformer.num_patches, 1)
        loss = training_loss(bare_transformer(model), FlowMatchScheduler(), latents, text, torch.full((2,), 5.0), draws).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_adapter(model, folder, {"lora_studio.preset": "full"})
    return folder


def latents_of(transformer: torch.nn.Module) -> torch.Tensor:
    assert isinstance(transformer, NOVATransformer3DModel)
    text = [torch.randn(6, 128, generator=torch.Generator().manual_seed(2))]
    settings = SamplerSettings(num_steps=4, num_diffusion_steps=4, guidance=3.0)
    return generate_latents(transformer, FlowMatchScheduler(), text, settings, SeededNoise([5]))


def test_merged_written_and_loaded_is_the_adapter(adapter: Path, tmp_path: Path) -> None:
    base = latents_of(weights.load_transformer(NANO))
    worn = latents_of(bare_transformer(load_adapter(weights.load_transformer(NANO), adapter)))
    merged = merge_adapter(load_adapter(weights.load_transformer(NANO), adapter))
    assert isinstance(merged, NOVATransformer3DModel)
    weights.save_checkpoint(merged, NANO, tmp_path / "merged")
    loaded = latents_of(weights.load_transformer(tmp_path / "merged"))
    largest = float(worn.abs().max())
    error = float((loaded - worn).abs().max())
    print(f"adapter against base {float((worn - base).abs().max()):.3f}, merged against adapter {error:.2e} of {largest:.2f}")
    assert float((worn - base).abs().max()) > 0.01 * largest
    assert error < 1e-5 * largest
    assert set(weights.verify_model(tmp_path / "merged").values()) == {""}


def test_a_transformer_with_an_adapter_on_is_not_written_as_a_checkpoint(adapter: Path, tmp_path: Path) -> None:
    worn = bare_transformer(load_adapter(weights.load_transformer(NANO), adapter))
    assert isinstance(worn, NOVATransformer3DModel)
    with pytest.raises(ModelError, match="still carries an adapter"):
        weights.save_checkpoint(worn, NANO, tmp_path / "merged")
    assert not list(tmp_path.iterdir())


def test_an_adapter_for_another_base_is_refused(adapter: Path) -> None:
    narrow = NOVATransformer3DModel(arch=("vit_d2w64", "vit_d4w64", "mlp_d2w64"), text_token_dim=16, text_token_len=6)
    with pytest.raises(AdapterError, match="does not fit this backbone|another width"):
        load_adapter(narrow, adapter)
