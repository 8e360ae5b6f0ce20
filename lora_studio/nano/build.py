"""Builds the nova-nano folder from a seed: `python -m lora_studio.nano.build OUT --seed 0`.

Writes the published layout with untrained weights, exact in float16. Same seed, same bytes.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio import files
from lora_studio.errors import run_command
from lora_studio.nano import sizes

if TYPE_CHECKING:
    import torch
    from transformers import PhiConfig

_INDEX: dict[str, Any] = {
    "_class_name": "NOVAPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "PhiModel"],
    "tokenizer": ["transformers", "CodeGenTokenizerFast"],
    "transformer": ["lora_studio.nova.transformer", "NOVATransformer3DModel"],
    "vae": ["lora_studio.nova.vae", "AutoencoderKLOpenSora"],
}


def build(folder: Path, seed: int) -> None:
    """Writes the whole model set into `folder`, replacing what is there except `card.md`."""
    import torch

    from lora_studio.nova.schedules import FlowMatchScheduler
    from lora_studio.nova.transformer import NOVATransformer3DModel
    from lora_studio.nova.vae import AutoencoderKLOpenSora

    files.write_json(folder / "scheduler" / "scheduler_config.json", FlowMatchScheduler(shift=1.0).config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        write_part(folder / "transformer", sizes.TRANSFORMER, NOVATransformer3DModel(**sizes.TRANSFORMER))
        write_part(folder / "vae", sizes.VAE, AutoencoderKLOpenSora(**sizes.VAE))
        _write_text(folder)
        _write_vision(folder / "open_clip")
    files.write_json(folder / "model_index.json", _INDEX)  # the last: where it is, all is


def write_weights(path: Path, state: "dict[str, torch.Tensor]") -> None:
    """Writes floating tensors as float16, so that what is shipped is exactly what every precision loads."""
    import torch
    from safetensors.torch import save_file

    half = {k: v.detach().to("cpu", torch.float16 if v.is_floating_point() else v.dtype).contiguous() for k, v in state.items()}
    with files.atomic_path(path) as temporary:
        save_file(half, temporary, {"format": "pt"})
        temporary.chmod(0o644)


def write_part(folder: Path, config: dict[str, Any], model: "torch.nn.Module") -> None:
    """Writes `config.json` and the weights of one diffusers part."""
    files.write_json(folder / "config.json", {"_class_name": type(model).__name__, **config})
    write_weights(folder / "diffusion_pytorch_model.safetensors", model.state_dict())


def _write_text(folder: Path) -> None:
    from transformers import PhiModel

    from lora_studio.nano.vocabulary import write_phi_tokenizer

    write_phi_tokenizer(folder / "tokenizer")
    config = phi_config()
    config.architectures = ["PhiModel"]
    files.write_json(folder / "text_encoder" / "config.json", config.to_diff_dict())
    write_weights(folder / "text_encoder" / "model.safetensors", PhiModel(config).state_dict())


def phi_config() -> "PhiConfig":
    """The configuration of nano's text encoder."""
    from transformers import PhiConfig

    settings = {key: value for key, value in sizes.PHI.items() if key != "partial_rotary_factor"}
    rotary = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": sizes.PHI["partial_rotary_factor"]}
    return PhiConfig(vocab_size=sizes.VOCABULARY, bos_token_id=0, eos_token_id=0, rope_parameters=rotary, **settings)


def _write_vision(folder: Path) -> None:
    import open_clip

    from lora_studio.nano.vocabulary import write_clip_tokenizer

    write_clip_tokenizer(folder)
    files.write_json(folder / "open_clip_config.json", sizes.OPEN_CLIP)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    write_weights(folder / "open_clip_model.safetensors", model.state_dict())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lora_studio.nano.build", description=build.__doc__)
    parser.add_argument("folder", type=Path, help="where to write the model set")
    parser.add_argument("--seed", type=int, default=0, help="of all weights (default 0)")
    arguments = parser.parse_args()
    run_command(lambda: build(arguments.folder, arguments.seed))
    total = sum(path.stat().st_size for path in arguments.folder.rglob("*") if path.is_file())
    sys.stdout.write(f"wrote {arguments.folder} ({total / 1e6:.1f} MB)\n")


if __name__ == "__main__":
    main()
