"""An adapter trained here and merged into a checkpoint of the published layout gives the latents that it gave as an adapter."""

import shutil
import stat
from pathlib import Path

import pytest
import torch
from drawn import draw_workspace, finish_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from lora_studio.adapters.attach import adapter_parameters, attach_adapter, bare_transformer
from lora_studio.adapters.storage import adapter_sha256, load_adapter, merge_adapter, save_adapter, save_merged_
from lora_studio.cli import app
from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.schedules import FlowMatchScheduler
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.recipe import AdapterSection
from lora_studio.runs import run_named
from lora_studio.training.objective import draw, training_loss
from lora_studio.workspace import Workspace

NANO = weights.find_model("nano")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real steps on nova-nano, large enough to be seen."""
    folder, transformer = tmp_path_factory.mktemp("run") / "adapter", weights.load_transformer(NANO)
    section = AdapterSection.model_validate({"preset": "full", "rank": 4, "alpha": 8.0})
    model = attach_adapter(transformer, section, seed=1).model
    optimizer = torch.optim.AdamW(adapter_parameters(model).values(), lr=0.02)
    channels = transformer.config.image_dim
    latents = torch.randn(2, channels, 3, 16, 24, generator=torch.Generator().manual_seed(0))
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


def stored(folder: Path) -> set[str]:
    """Precisions of the backbone's files."""
    with safe_open(weights.weight_files(folder, "transformer")[0], framework="pt") as file:
        return {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118


@pytest.fixture
def workspace(adapter: Path, tmp_path: Path) -> Workspace:
    """A brand whose run `look` is finished, with the adapter."""
    drawn = draw_workspace(tmp_path / "brand")
    run, state = run_named(drawn, "look"), finish_run(drawn, "look")
    shutil.copytree(adapter, run.adapter)
    fit = {"adapter_sha256": adapter_sha256(adapter), "model_sha256": weights.model_sha256(NANO)}
    run.save_state(state.model_copy(update=fit))
    return drawn


def merge(workspace: Workspace, run: str, to: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["merge", str(workspace.root), run, "--to", str(to), *options])


def test_the_command_writes_a_model_that_is_the_adapter(workspace: Workspace, adapter: Path, tmp_path: Path) -> None:
    """At the base's precision: float16 for nano, whose rounding is far below what the adapter does."""
    result = merge(workspace, "look", tmp_path / "merged")
    assert result.exit_code == 0, result.output
    assert f"wrote {tmp_path / 'merged'}" in result.stdout
    base = latents_of(weights.load_transformer(NANO))
    worn = latents_of(bare_transformer(load_adapter(weights.load_transformer(NANO), adapter)))
    merged = latents_of(weights.load_transformer(tmp_path / "merged"))
    effect, error = float((worn - base).abs().mean()), float((merged - worn).abs().mean())
    print(f"the adapter changes latents by {effect:.3f} in the mean, rounding to float16 by {error:.1e}")
    assert error < 5e-3 * effect
    assert stored(tmp_path / "merged") == stored(NANO) == {"F16"}
    files, ours = (weights.weight_files(folder, "transformer") for folder in (NANO, tmp_path / "merged"))
    assert sum(path.stat().st_size for path in ours) < 1.1 * sum(path.stat().st_size for path in files)
    verified = CliRunner().invoke(app, ["model", "verify", str(tmp_path / "merged")])
    assert verified.exit_code == 0, verified.output


def test_the_command_takes_the_strength(workspace: Workspace, tmp_path: Path) -> None:
    assert merge(workspace, "look", tmp_path / "none", "--strength", "0").exit_code == 0
    assert torch.equal(latents_of(weights.load_transformer(tmp_path / "none")), latents_of(weights.load_transformer(NANO)))


def test_a_merged_model_follows_the_umask(workspace: Workspace, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert merge(workspace, "look", tmp_path / "merged").exit_code == 0
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "merged" / "transformer").iterdir()}
    assert modes == {stat.S_IMODE(plain.stat().st_mode)}


def test_the_command_refuses_in_one_line(workspace: Workspace, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    for result, words in (
        (merge(workspace, "nosuch", tmp_path / "merged"), "no finished run 'nosuch' in"),
        (merge(workspace, "look", taken), f"{taken} exists: give the name of a folder that does not"),
    ):
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "merged").exists()
    assert not list(taken.iterdir())


def test_other_precisions_are_kept_in_float32(adapter: Path, tmp_path: Path) -> None:
    """bfloat16 has no room for the small change that an adapter makes in a weight."""
    base = Path(shutil.copytree(NANO, tmp_path / "base"))
    (path,) = weights.weight_files(base, "transformer")
    save_file({key: tensor.bfloat16() for key, tensor in load_file(path).items()}, path)
    merged = merge_adapter(load_adapter(weights.load_transformer(base), adapter))
    assert isinstance(merged, NOVATransformer3DModel)
    before = latents_of(merged)
    save_merged_(merged, base, tmp_path / "merged")
    assert stored(tmp_path / "merged") == {"F32"}
    assert torch.equal(latents_of(weights.load_transformer(tmp_path / "merged")), before)


def test_weights_beyond_float16_are_not_written(adapter: Path, tmp_path: Path) -> None:
    merged = merge_adapter(load_adapter(weights.load_transformer(NANO), adapter))
    assert isinstance(merged, NOVATransformer3DModel)
    merged.mask_embed.mask_token.data[0, 0] = 1e6
    with pytest.raises(AdapterError, match=r"1 merged weights are too large for float16 \(first: mask_embed.mask_token\)"):
        save_merged_(merged, NANO, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


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
