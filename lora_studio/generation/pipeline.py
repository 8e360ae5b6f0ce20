"""NOVA as a diffusers pipeline: the same sampler behind the calls that users of diffusers know.

Loads through the strict loader, so that nothing of a folder is executed. Knows no workspace; it stands here, above the
sampler, and not beside the model, because it is made of both. B prompts times clips per prompt, F frames, H W pixels.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from diffusers.loaders.lora_base import LoraBaseMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import decode_to_frames, encode_frames, generate_latents
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nova import weights
from lora_studio.nova.text import TextEncoder
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora, pixel_dtype

logger = logging.getLogger(__name__)

_LORA = "pytorch_lora_weights.safetensors"
_ARGUMENTS = {  # of the pipeline -> of SamplerSettings
    "num_inference_steps": "num_steps", "num_diffusion_steps": "num_diffusion_steps", "guidance_scale": "guidance",
    "min_guidance_scale": "min_guidance", "guidance_trunc": "guidance_trunc", "guidance_renorm": "guidance_renorm",
    "image_guidance_scale": "image_guidance", "guidance_every": "guidance_every", "motion_flow": "motion_flow",
}  # fmt: skip


@dataclass
class NovaPipelineOutput(BaseOutput):
    """`frames`: what `output_type` asked for; see `NovaPipeline.__call__`."""

    frames: Any


class NovaPipeline(LoraBaseMixin, DiffusionPipeline):
    """Text to image, text to video and image to video with NOVA (arXiv 2412.14169).

    Arguments of a call:
        prompt: one or several; or `prompt_embeds`, rows (n_i, D_text) of each.
        negative_prompt: one for all or one each; the null prompt when not given.
        image: first frame of every clip, at the model's size: a picture, or (H, W, 3) uint8.
        num_inference_steps: sets of patches per frame.
        num_diffusion_steps: per set.
        guidance_scale: 1 is off; this and the next five as in `SamplerSettings`.
        min_guidance_scale: at the first set.
        guidance_trunc: timestep (0 to 1000) below which nothing is guided.
        guidance_renorm: how far a guided prediction may be shortened.
        image_guidance_scale: how strictly the frames before are followed.
        guidance_every: the unguided rows look at the picture before every so many sets; more than 1 is an approximation.
        spatiotemporal_guidance_scale: has no effect in this model (its perturbed pass equals the plain one) and costs nothing.
        motion_flow: mean optical flow asked for.
        max_latent_length: latent frames; 1 makes a picture; None: the checkpoint's own.
        num_videos_per_prompt: repetitions, each with a seed of its own.
        seed: one (counted up over the clips), or one per clip.
        generator: draws the seeds where none are given; None: 0.
        prompt_embeds: instead of `prompt`.
        negative_prompt_embeds: instead of `negative_prompt`.
        callback: called with sets done and sets in all; raise from it to cancel.
        output_type: "np" float32 (B, F, H, W, 3) in 0 to 1; "pt" the same as (B, F, 3, H, W); "pil" lists of pictures;
            "uint8" (B, F, H, W, 3); "latent" scaled (B, C, T, h, w).
        return_dict: False gives a tuple.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _lora_loadable_modules: ClassVar[list[str]] = ["transformer"]
    _folder: Path | None = None  # where it was loaded from; adapters name the base they were trained on

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        vae: AutoencoderKLOpenSora | AutoencoderKLImage,
        transformer: NOVATransformer3DModel,
        scheduler: DDPMScheduler | FlowMatchEulerDiscreteScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler
        )

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, name: str | Path, torch_dtype: torch.dtype = torch.float32, quantization_config: Any = None
    ) -> "NovaPipeline":
        """Loads a model in the published layout.

        Args:
            name: "nano", a folder, or a Hub id.
            torch_dtype: float32, bfloat16 or float16; the VAE is kept in float16 where bfloat16 is asked for.
            quantization_config: diffusers' BitsAndBytesConfig for the backbone's Linear layers; None leaves them as they are.

        Raises:
            ModelError: a part is missing, damaged, or not what its config says.
        """
        folder = weights.find_model(str(name))
        words = weights.load_text(folder, dtype=torch_dtype)
        transformer = weights.load_transformer(folder, dtype=torch_dtype)
        if quantization_config is not None:
            from lora_studio.nova.quantise import quantise_

            quantise_(transformer, quantization_config)
        vae = weights.load_vae(folder, dtype=pixel_dtype(torch_dtype))
        scheduler = weights.load_scheduler_component(folder)
        pipeline = cls(words.tokenizer, words.model, vae, transformer, scheduler)
        pipeline._folder = folder
        return pipeline

    def load_lora_weights(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, source: str | Path, adapter_name: str = "default"
    ) -> None:
        """Puts on an adapter that was trained here: its folder, its `diffusers/` folder, or that file.

        Raises:
            AdapterError: there is no adapter, it is damaged or not whole, or it is for another backbone.
        """
        path = Path(source)
        found = [p for p in (path, path / _LORA, path / "diffusers" / _LORA) if p.is_file()]
        if not found:
            raise AdapterError(f"no adapter in {path}: {_LORA} is missing")
        state = self._read_lora(found[0])
        if adapter_name in getattr(self.transformer, "peft_config", {}):
            raise AdapterError(f"an adapter named {adapter_name!r} is on already: give another adapter_name, or unload it first")
        self.transformer.load_lora_adapter(state, prefix="transformer", adapter_name=adapter_name)

    def _read_lora(self, path: Path) -> dict[str, Tensor]:
        """An adapter's tensors, each of them checked against this backbone."""
        try:
            with safe_open(path, framework="pt") as file:
                state, header = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except SafetensorError as fault:
            raise AdapterError(f"{path} is damaged ({fault}): copy it again") from None
        trained_on = header.get("lora_studio.base_sha256")
        if trained_on and self._folder is not None and trained_on != (ours := weights.model_sha256(self._folder)):
            raise AdapterError(f"{path} is for another base: it was trained on {trained_on[:12]}, this one is {ours[:12]}")
        layers, sides = dict(self.transformer.named_modules()), {"lora_A.weight": "in_features", "lora_B.weight": "out_features"}
        names = {key.rpartition(".lora_")[0] for key in state}
        missing = sorted({f"{name}.{side}" for name in names for side in sides} - set(state))
        if missing or not state:
            raise AdapterError(f"{path} is no whole adapter: it lacks {', '.join(missing[:3]) or 'every weight'}")
        for key, value in state.items():
            name, _, side = key.removeprefix("transformer.").removeprefix("base_model.model.").rpartition(".lora_")
            wanted = getattr(layers.get(name), sides.get(f"lora_{side}", ""), None)  # sizes of a quantised weight do not say
            if not key.startswith("transformer.") or wanted != value.shape[1 if side == "A.weight" else 0]:
                raise AdapterError(f"{path} is for another base: {key} {list(value.shape)} fits no layer of this one")
            if not torch.isfinite(value).all():
                raise AdapterError(f"{path}: {key} holds values that are not finite numbers: train it again, or copy it again")
        return state

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        image: Image.Image | np.ndarray | None = None,
        num_inference_steps: int = 64,
        num_diffusion_steps: int = 25,
        guidance_scale: float = 5.0,
        min_guidance_scale: float | None = None,
        guidance_trunc: float = 0.0,
        guidance_renorm: float = 1.0,
        image_guidance_scale: float = 0.0,
        guidance_every: int = 1,
        spatiotemporal_guidance_scale: float = 0.0,
        motion_flow: float = 5.0,
        max_latent_length: int | None = None,
        num_videos_per_prompt: int = 1,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        prompt_embeds: Sequence[Tensor] | None = None,
        negative_prompt_embeds: Sequence[Tensor] | None = None,
        callback: Callable[[int, int], None] | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> NovaPipelineOutput | tuple[Any]:
        """Makes one clip (or picture) per prompt and repetition; the arguments are told above.

        Raises:
            ModelError: arguments that do not go together, or an image of another size.
            TypeError: an argument of another name.
        """
        _check_output(output_type)
        if not isinstance(num_videos_per_prompt, int) or num_videos_per_prompt < 1:
            raise ModelError(f"num_videos_per_prompt must be 1 or more, got {num_videos_per_prompt!r}")
        text = self._rows(prompt, prompt_embeds, "prompt")
        text = [row for row in text for _ in range(num_videos_per_prompt)]
        negative = None
        if negative_prompt is not None or negative_prompt_embeds is not None:
            negative = self._rows(negative_prompt, negative_prompt_embeds, "negative_prompt")
            negative = [row for row in negative for _ in range(len(text) // len(negative))]
        settings = _settings(
            num_inference_steps=num_inference_steps, num_diffusion_steps=num_diffusion_steps, guidance_scale=guidance_scale,
            min_guidance_scale=min_guidance_scale, guidance_trunc=guidance_trunc, guidance_renorm=guidance_renorm,
            image_guidance_scale=image_guidance_scale, guidance_every=guidance_every, motion_flow=motion_flow,
        )  # fmt: skip
        first = None
        if image is not None:
            first = encode_frames(self.vae, _picture(image)[None, None]).expand(len(text), -1, -1, -1, -1)
        latents = generate_latents(
            cast(Any, self.transformer), weights.schedule_of(self.scheduler), text, settings,
            SeededNoise(_seeds(seed, generator, len(text))), first, negative, callback, max_latent_length,
        )  # fmt: skip
        frames: Any = latents if output_type == "latent" else _as(output_type, decode_to_frames(self.vae, latents))
        self.maybe_free_model_hooks()
        return NovaPipelineOutput(frames=frames) if return_dict else (frames,)

    def _rows(self, texts: str | Sequence[str] | None, embeds: Sequence[Tensor] | None, name: str) -> list[Tensor]:
        if (texts is None) == (embeds is None):
            raise ModelError(f"give either {name} or {name}_embeds")
        if embeds is not None:
            return [self._checked(row, name) for row in embeds]
        assert texts is not None
        if (not texts and not isinstance(texts, str)) or not all(isinstance(text, str) for text in texts):
            raise ModelError(f"{name} must be a text or a list of texts, got {texts!r}")
        encoder = TextEncoder(self.tokenizer, self.text_encoder, self.transformer.config.text_token_len)
        every = [texts] if isinstance(texts, str) else list(texts)
        for text in every:
            if lost := encoder.cut_off(text):
                logger.warning("the model reads the first %d tokens of a prompt; it never sees: %s", encoder.max_rows, lost)
        return encoder.encode(every)


    def _checked(self, row: Tensor, name: str) -> Tensor:
        width, most = self.transformer.config.text_token_dim, self.transformer.config.text_token_len
        if row.ndim != 2 or row.shape[1] != width or not torch.isfinite(row).all():
            raise ModelError(f"{name}_embeds must be finite rows (n, {width}) for each text, got {tuple(row.shape)}")
        if len(row) > most:
            logger.warning("the model reads the first %d rows of %s_embeds; %d are never seen", most, name, len(row) - most)
        return row


def _settings(**given: Any) -> SamplerSettings:
    """The sampler's settings out of this pipeline's arguments; faults name the arguments."""
    table = {ours: given[theirs] for theirs, ours in _ARGUMENTS.items()}
    try:
        return SamplerSettings.model_validate(table)
    except ValidationError as fault:
        theirs = {ours: name for name, ours in _ARGUMENTS.items()}
        lines = [f"{theirs[str(entry['loc'][0])]}: {entry['msg']}, got {entry['input']!r}" for entry in fault.errors()]
        raise ModelError("; ".join(lines)) from None


def _picture(image: Image.Image | np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3)."""
    if isinstance(image, Image.Image):
        return np.array(image.convert("RGB"))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ModelError(f"image must be a PIL picture or a uint8 array (H, W, 3), got {what}")
    return image.copy()


def _check_output(output_type: str) -> None:
    if output_type not in ("np", "pt", "pil", "uint8", "latent"):
        raise ModelError(f"output_type must be np, pt, pil, uint8 or latent, got {output_type!r}")


def _seeds(seed: int | Sequence[int] | None, generator: torch.Generator | None, count: int) -> list[int]:
    if isinstance(seed, int | np.integer):
        return [int(seed) + index for index in range(count)]
    if seed is not None:
        if isinstance(seed, str | float) or not all(isinstance(one, int | np.integer) for one in seed):
            raise ModelError(f"seed must be a whole number, or one for each clip, got {seed!r}")
        if len(seed) != count:
            raise ModelError(f"give one seed or {count}, one per clip; got {len(seed)}")
        return [int(one) for one in seed]
    if generator is None:
        return list(range(count))
    return torch.randint(2**62, (count,), generator=generator, device=generator.device).tolist()


def _as(output_type: str, frames: np.ndarray) -> Any:
    """uint8 (B, F, H, W, 3) -> what was asked for."""
    if output_type == "uint8":
        return frames
    if output_type == "pil":
        return [[Image.fromarray(frame) for frame in clip] for clip in frames]
    values = frames.astype(np.float32) / 255.0
    return values if output_type == "np" else torch.from_numpy(values).movedim(-1, 2)
