"""NOVA as a diffusers pipeline: the same sampler behind the calls that users of diffusers know.

Loads through the strict loader, so that nothing of a folder is executed. Knows no workspace; it stands here, above the
sampler, and not beside the model, because it is made of both. What may be passed to it is in `pipeline_arguments.py`.
B prompts times clips per prompt, F frames, H W pixels.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from diffusers.loaders.lora_base import LoraBaseMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import is_compiled_module
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lora_studio.errors import AdapterError, ModelError
from lora_studio.generation import pipeline_arguments as arguments
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import decode_to_frames, encode_frames, generate_latents
from lora_studio.nova import weights
from lora_studio.nova.layout import read_config
from lora_studio.nova.schedules import Schedule
from lora_studio.nova.text import TextEncoder
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora, pixel_dtype

logger = logging.getLogger(__name__)

_LORA = "pytorch_lora_weights.safetensors"
_PREFIX = "transformer."  # of every tensor in that file
_OTHER_PREFIXES = re.compile(r"^(?:(?:transformer|base_model|diffusion_model|model)\.)*")  # in files of other layouts
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


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
        cls,
        name: str | Path,
        torch_dtype: torch.dtype | str | None = None,
        quantization_config: Any = None,
        *,
        dtype: torch.dtype | str | None = None,
        device_map: str | torch.device | None = None,
        local_files_only: bool = False,
        **given: Any,
    ) -> Self:
        """Loads a model in the published layout.

        Args:
            name: "nano", a folder, or a Hub id.
            torch_dtype: float32 (when not given), bfloat16 or float16; the VAE is kept in float16 where bfloat16 is asked for.
            quantization_config: diffusers' BitsAndBytesConfig for the backbone's Linear layers, or a PipelineQuantizationConfig
                that names one for the transformer; None leaves them as they are.
            dtype: diffusers' newer name of `torch_dtype`.
            device_map: one device for everything; None: the CPU.
            local_files_only: a Hub id is looked for in this machine's cache alone.
            **given: use_safetensors=True, low_cpu_mem_usage=True, trust_remote_code=False, variant=None: as it is done anyway.

        Raises:
            ModelError: a part is missing, damaged, or not what its config says, or an argument asks for what is not done here.
        """
        arguments.check_loading(given)
        if dtype is not None and torch_dtype is not None:
            raise ModelError("dtype and torch_dtype are two names of one argument: give one of them")
        kind = arguments.precision(dtype or torch_dtype or torch.float32, "torch_dtype" if dtype is None else "dtype")
        if device_map is not None:
            arguments.check_device(device_map)
        if quantization_config is not None:
            from lora_studio.nova.quantise import backbone_config

            quantization_config = backbone_config(quantization_config)
        folder = _cached(str(name)) if local_files_only else weights.find_model(str(name))
        pipeline = cls._load(folder, kind, quantization_config)
        return pipeline if device_map is None else pipeline.to(device_map)

    @classmethod
    def _load(cls, folder: Path, dtype: torch.dtype, quantization_config: Any) -> Self:
        words = weights.load_text(folder, dtype=dtype)
        transformer = weights.load_transformer(folder, dtype=dtype)
        if quantization_config is not None:
            from lora_studio.nova.quantise import quantise_

            quantise_(transformer, quantization_config)
        vae, scheduler = weights.load_vae(folder, dtype=pixel_dtype(dtype)), weights.load_scheduler_component(folder)
        pipeline = cls(words.tokenizer, words.model, vae, transformer, scheduler)
        library, *_ = read_config(folder / "model_index.json").get("scheduler") or [""]
        pipeline.register_to_config(scheduler=(library or "diffusers", type(scheduler).__name__))  # it says how steps are spaced
        pipeline._folder = folder
        return pipeline

    @property
    def schedule(self) -> Schedule:
        """The noise schedule; one from the published library, as model_index.json says, spaces its steps in that library's way."""
        is_published = str(self.config["scheduler"][0]).startswith("diffnext")
        return weights.schedule_of(self.scheduler, even_stride=is_published)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves to a device, a precision or both; a precision does what `torch_dtype` does at loading.

        Raises:
            ModelError: the model cannot compute in that precision.
        """
        dtypes = [value for value in args if isinstance(value, torch.dtype)] + list(args[1:2])
        asked = kwargs.pop("dtype", None) or next(iter(dtypes), None)
        dtype = None if asked is None else arguments.precision(asked, "dtype")
        kwargs.setdefault("silence_dtype_warnings", True)  # they say that float16 fails on a CPU: it does not
        super().to(*(value for value in args[:1] if not isinstance(value, torch.dtype)), **kwargs)
        if dtype is not None:
            for part in (self.text_encoder, self.transformer):
                _cast_(part, dtype)
            _cast_(self.vae, pixel_dtype(dtype))
        return self

    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, save_directory: str | Path, safe_serialization: bool = True, **kwargs: Any
    ) -> None:
        """Writes a folder that `from_pretrained` loads again; further arguments are those of diffusers.

        Raises:
            ModelError: there is no such folder for what the transformer carries: an adapter, or quantised layers.
        """
        if any(".lora_" in name for name, _ in self.transformer.named_parameters()):
            raise ModelError(
                "the transformer carries an adapter, which a model folder cannot hold: call unload_lora_weights() first (after "
                "fuse_lora() its effect stays in the weights), or use `lora-studio merge WORKSPACE RUN --to FOLDER`"
            )
        if not all(weight.is_floating_point() for weight in self.transformer.parameters()):
            raise ModelError(
                "the transformer has quantised layers, which the published layout cannot hold: save a pipeline that was loaded "
                "without quantization_config, and pass that again when it is loaded"
            )
        if not safe_serialization:
            raise ModelError("safe_serialization can only be True, got False: only safetensors are loaded again; leave it out")
        super().save_pretrained(save_directory, **kwargs)

    def load_lora_weights(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, source: str | Path, adapter_name: str = "default", weight_name: str = _LORA
    ) -> None:
        """Puts on an adapter that was trained here: its folder, its `diffusers/` folder, or the file in it.

        Raises:
            AdapterError: there is no adapter, it is damaged or not whole, it is for another backbone, or its name will not do.
        """
        arguments.check_adapter_name(adapter_name)
        if not isinstance(source, str | Path):
            raise AdapterError(f"load_lora_weights takes the folder or file of an adapter, got {type(source).__name__}")
        path = Path(source)
        found = [p for p in (path, path / weight_name, path / "diffusers" / weight_name) if p.is_file()]
        if not found:
            raise AdapterError(f"no adapter in {path}: {weight_name} is missing")
        state = self._read_lora(found[0])
        if adapter_name in getattr(self.transformer, "peft_config", {}):
            raise AdapterError(f"an adapter named {adapter_name!r} is on already: give another adapter_name, or unload it first")
        self.transformer.load_lora_adapter(state, prefix="transformer", adapter_name=adapter_name)

    @classmethod
    def save_lora_weights(cls, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Is not offered: adapters come from training, as files.

        Raises:
            AdapterError: always.
        """
        raise AdapterError(
            "save_lora_weights is not offered: an adapter trained here is a folder already, copy the one given to "
            "load_lora_weights; pipeline.transformer.save_lora_adapter(folder, adapter_name=...) writes any other that is on"
        )

    def fuse_lora(self, components: list[str] | None = None, **kwargs: Any) -> None:  # pyright: ignore
        """Adds the adapters into the weights; arguments are those of diffusers, of which `components` may be left out."""
        super().fuse_lora(components or self._lora_loadable_modules, **kwargs)

    def unfuse_lora(self, components: list[str] | None = None, **kwargs: Any) -> None:
        """Takes fused adapters out of the weights again."""
        super().unfuse_lora(components or self._lora_loadable_modules, **kwargs)

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
            _check_matrix(path, key, value)
            bare = _OTHER_PREFIXES.sub("", key)
            name, _, side = bare.rpartition(".lora_")
            is_first = side == "A.weight"
            wanted = getattr(layers.get(name), sides.get(f"lora_{side}", ""), None)  # sizes of a quantised weight do not say
            if wanted is None or wanted != value.shape[1 if is_first else 0]:
                raise AdapterError(f"{path} is for another base: {key} {list(value.shape)} fits no layer of this one")
            if key != f"{_PREFIX}{bare}":
                raise AdapterError(
                    f"{path}: {key} must be named {_PREFIX}{bare}: this loader reads diffusers' layout, where every name is "
                    f"'{_PREFIX}' and the layer; give the adapter's folder, or the {_LORA} in its diffusers/ folder"
                )
            other = state[f"{key.rpartition('.lora_')[0]}.lora_{'B' if is_first else 'A'}.weight"]
            if is_first and value.shape[0] != other.shape[1:2].numel():
                raise AdapterError(
                    f"{path} is damaged: {key} {list(value.shape)} and its lora_B {list(other.shape)} must share one rank, "
                    "[rank, inputs] and [outputs, rank]: copy it again, or train it again"
                )
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
        arguments.check_call(output_type, num_videos_per_prompt, max_latent_length, callback, spatiotemporal_guidance_scale)
        settings = arguments.sampler_settings(
            num_inference_steps=num_inference_steps, num_diffusion_steps=num_diffusion_steps, guidance_scale=guidance_scale,
            min_guidance_scale=min_guidance_scale, guidance_trunc=guidance_trunc, guidance_renorm=guidance_renorm,
            image_guidance_scale=image_guidance_scale, guidance_every=guidance_every, motion_flow=motion_flow,
        )  # fmt: skip
        width = self.transformer.config.text_token_dim
        positive = arguments.prompts(prompt, prompt_embeds, "prompt", width)
        negative = arguments.negatives(negative_prompt, negative_prompt_embeds, len(positive), width)
        noise = SeededNoise(arguments.seeds(seed, generator, len(positive) * num_videos_per_prompt))
        pixels = None if image is None else arguments.picture(image)
        self._check_compiled()

        text, without = self._rows(positive, len(positive), num_videos_per_prompt), None
        if negative is not None:
            without = self._rows(negative, len(positive), num_videos_per_prompt)
        first = None if pixels is None else encode_frames(self.vae, pixels[None, None]).expand(len(text), -1, -1, -1, -1)
        latents = generate_latents(
            cast(Any, self.transformer), self.schedule, text, settings, noise, first, without, callback, max_latent_length
        )
        frames: Any = latents if output_type == "latent" else _as(output_type, decode_to_frames(self.vae, latents))
        self.maybe_free_model_hooks()
        return NovaPipelineOutput(frames=frames) if return_dict else (frames,)

    def _rows(self, asked: list[str] | list[Tensor], num_prompts: int, repeats: int) -> list[Tensor]:
        """Rows (n_i, D_text) for each clip: of one for all prompts or one for each, every one `repeats` times."""
        encoder = TextEncoder(self.tokenizer, self.text_encoder, self.transformer.config.text_token_len)
        rows = []
        for one in asked:
            if isinstance(one, str):
                if lost := encoder.cut_off(one):
                    logger.warning("the model reads the first %d tokens of a prompt; it never sees: %s", encoder.max_rows, lost)
                (one,) = encoder.encode([one])
            elif (lost_rows := len(one) - encoder.max_rows) > 0:
                logger.warning("the model reads the first %d rows of a prompt; it never sees %d", encoder.max_rows, lost_rows)
            rows.append(one[: encoder.max_rows])
        every = rows if len(rows) == num_prompts else rows * num_prompts
        return [row for row in every for _ in range(repeats)]

    def _check_compiled(self) -> None:
        """Refuses what looks compiled but is not: of these parts the sampler calls methods, never the module itself."""
        for name, instead in (("transformer", "transformer.compile()"), ("vae", "vae.decoder.compile()")):
            part = getattr(self, name)
            if is_compiled_module(part) or getattr(part, "_compiled_call_impl", None) is not None:
                raise ModelError(
                    f"pipeline.{name} was compiled in a way that has no effect here: load the pipeline again and call "
                    f"pipeline.{instead}, which compiles in place what is called"
                )


def _check_matrix(path: Path, key: str, value: Tensor) -> None:
    """Refuses a tensor that can be no half of an adapter in any layer."""
    if value.ndim != 2 or not value.numel():
        raise AdapterError(
            f"{path} is damaged: {key} has the shape {list(value.shape)}, and an adapter's must be [rank, inputs] or "
            "[outputs, rank] with a rank of 1 or more: copy it again, or train it again"
        )
    if value.dtype not in _FLOATS:
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in _FLOATS)
        raise AdapterError(
            f"{path}: {key} holds {str(value.dtype).removeprefix('torch.')}, and an adapter's numbers must be one of {kinds}: "
            "copy it again, or train it again"
        )
    if not torch.isfinite(value).all():
        raise AdapterError(f"{path}: {key} holds values that are not finite numbers: train it again, or copy it again")


def _cached(name: str) -> Path:
    """`find_model` that never opens the network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if name == "nano" or Path(name).expanduser().is_dir():
        return weights.find_model(name)
    try:
        index = try_to_load_from_cache(name, "model_index.json")
    except HFValidationError:
        index = None
    if not isinstance(index, str):
        raise ModelError(f"{name} is no folder and not in this machine's Hub cache: leave out local_files_only to fetch it")
    return weights.find_model(str(Path(index).parent))


def _cast_(part: nn.Module, dtype: torch.dtype) -> None:
    """Casts what is stored with a model and is a floating-point number; tables worked out at loading keep their digits."""
    stored = part.state_dict().keys()
    for tensor in (*part.parameters(), *(buffer for name, buffer in part.named_buffers() if name in stored)):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def _as(output_type: str, frames: np.ndarray) -> Any:
    """uint8 (B, F, H, W, 3) -> what was asked for."""
    if output_type == "uint8":
        return frames
    if output_type == "pil":
        return [[Image.fromarray(frame) for frame in clip] for clip in frames]
    values = frames.astype(np.float32) / 255.0
    return values if output_type == "np" else torch.from_numpy(values).movedim(-1, 2)
