"""What the tests of the diffusers pipeline ask it for: one prompt, few steps, latents."""

import torch

from lora_studio.generation.pipeline import NovaPipeline
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights

NANO = weights.find_model("nano")
QUICK = {"num_inference_steps": 3, "num_diffusion_steps": 2, "guidance_scale": 2.0, "seed": 4}
SETTINGS = SamplerSettings(num_steps=3, num_diffusion_steps=2, guidance=2.0)
PROMPT = "a red can on a white table"


def latents(pipeline: NovaPipeline, **changes: object) -> torch.Tensor:
    """What the pipeline samples before it decodes."""
    return pipeline(PROMPT, output_type="latent", **{**QUICK, **changes}).frames
