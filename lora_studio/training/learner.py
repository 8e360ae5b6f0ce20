"""What learns: the frozen backbone, its adapter and the loss they are asked for. Knows no optimizer and no run.

The VAE and the text encoder are never loaded: their work is in the dataset already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lora_studio import files
from lora_studio.adapters.attach import Attached, adapter_parameters, attach_adapter
from lora_studio.errors import ModelError, TrainingError
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.weights import clip_shape, load_scheduler, load_transformer, model_sha256
from lora_studio.recipe import Recipe
from lora_studio.training.dataset import Manifest, require_same_encoders
from lora_studio.training.objective import Draws, Losses, draw, training_loss
from lora_studio.training.samples import Batch, posterior_samples


@dataclass(frozen=True)
class Learner:
    """A backbone with an adapter on it, and how a batch becomes a loss.

    Attributes:
        transformer: the backbone, adapter layers in place.
        attached: the adapter on it.
        scheduler: the checkpoint's noise schedule.
        scale_latents: from the VAE's latents to those the backbone was trained on.
        num_frames: latent frames of a clip.
    """

    transformer: NOVATransformer3DModel
    attached: Attached
    scheduler: Any
    scale_latents: Callable[[Tensor], Tensor]
    num_frames: int

    @property
    def model(self) -> nn.Module:
        """peft's wrapper: for train and eval mode."""
        return self.attached.model

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's parameters by name: all that is trained."""
        return adapter_parameters(self.attached.model)

    def loss(self, batch: Batch, seed: int, step: int, loss_repeat: int) -> Losses:
        """The loss of a batch; its draws are a pure function of seed, step and sample ids."""
        latents, draws = self._posed(batch, seed, step, loss_repeat)
        return training_loss(self.transformer, self.scheduler, latents, batch.text, batch.motion_flow, draws)

    def prior_loss(self, batch: Batch, seed: int, step: int, loss_repeat: int) -> Losses:
        """How far the answers without the trigger are from the base's own, for the same clips and draws.

        Of every other sample all that differs between the two losses is the trigger; see `Batch.plain_text` for the others.
        """
        latents, draws = self._posed(batch, seed, step, loss_repeat)
        asked = (self.transformer, self.scheduler, latents, batch.plain_text, batch.motion_flow, draws)
        return training_loss(*asked, teacher=self._base_prediction)

    def _posed(self, batch: Batch, seed: int, step: int, loss_repeat: int) -> tuple[Tensor, Draws]:
        with torch.no_grad():
            latents = self.scale_latents(posterior_samples(batch.moments, seed, batch.sample_ids))
        return latents, draw(seed, step, batch.sample_ids, tuple(latents.shape), self.transformer.num_patches, loss_repeat)

    def _base_prediction(self, *question: Any) -> Tensor:
        """What the backbone answers without its adapter."""
        with torch.no_grad(), self.attached.model.disable_adapter():
            return self.transformer(*question)


def _scaling(folder: Path) -> Callable[[Tensor], Tensor]:
    path = folder / "vae" / "config.json"
    config = files.read_json(path)
    if "scaling_factor" not in config:
        raise ModelError(f"{path} must say scaling_factor: latents of the wrong scale would train without any complaint")
    shift, factor = config.get("shift_factor") or 0.0, config["scaling_factor"]
    return lambda latents: (latents - shift) * factor


def build_learner(folder: Path, recipe: Recipe, manifest: Manifest, accelerator: Accelerator) -> Learner:
    """Loads the backbone onto the device and puts a fresh adapter on it.

    Raises:
        TrainingError: the dataset was made for another model, or for clips of another shape.
        ModelError: the model's folder is incomplete or damaged.
    """
    require_same_encoders(manifest, recipe.model.base, model_sha256(folder, "vae"), model_sha256(folder, "text_encoder"))
    shape = clip_shape(folder)
    if manifest.latent_shape != shape.latent:
        raise TrainingError(f"the dataset holds latents {manifest.latent_shape}, this base needs {shape.latent}: build it again")
    in_bf16 = accelerator.mixed_precision == "bf16" and accelerator.device.type == "cuda"
    transformer = load_transformer(folder, accelerator.device, torch.bfloat16 if in_bf16 else torch.float32)
    if recipe.train.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    attached = attach_adapter(transformer, recipe.adapter, recipe.train.seed)
    return Learner(transformer, attached, load_scheduler(folder), _scaling(folder), shape.latent[1])
