"""Finds, checks and loads models in the published folder layout. Reads safetensors only; never runs code from a folder.

    FOLDER/
      model_index.json     which class each part is
      transformer/  vae/  text_encoder/      config.json and *.safetensors
      tokenizer/           tokenizer.json or vocab.json and merges.txt
      scheduler/           scheduler_config.json
"""

import inspect
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file

from lora_studio import files
from lora_studio.errors import ModelError
from lora_studio.nova.config import ClipShape, image_patch
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler
from lora_studio.nova.text import TextEncoder
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.nova.vae import AutoencoderKLImage, AutoencoderKLOpenSora

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=torch.nn.Module)

_FPS = 12.0  # of every NOVA checkpoint
_DOWNLOADED = ["*.json", "*.txt", "*.safetensors"]


def find_model(name: str) -> Path:
    """The folder of a model.

    Args:
        name: "nano" for the model set shipped in this package, a folder, or a Hub id such as `owner/model`. Only a Hub id
            may open the network, and only for what is not in the local cache yet.

    Raises:
        ModelError: there is no such model, or its folder has no model_index.json.
    """
    if name == "nano":
        folder = Path(__file__).parents[1] / "assets" / "nova_nano"
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        folder = _download(name)
    else:
        raise ModelError(f'no model {name!r}: give "nano", a folder with a model_index.json, or a Hub id such as owner/model')
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{folder} has no model_index.json: it must be a folder in the published NOVA layout")
    return folder


def model_sha256(folder: Path, part: str = "transformer") -> str:
    """Hash of a part's weight files and config, 64 hexadecimal digits.

    Raises:
        ModelError: the part has no weights.
    """
    paths = [*_weight_files(folder, part), folder / part / "config.json"]
    return files.sha256_json({path.name: files.sha256_file(path) for path in paths})


def load_transformer(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> NOVATransformer3DModel:
    """Loads the backbone for inference; see `load_vae` for what is raised."""
    _class_of(folder, "transformer", ("NOVATransformer3DModel",))
    return _load(NOVATransformer3DModel, folder, "transformer", device, dtype)


def load_vae(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> AutoencoderKLOpenSora | AutoencoderKLImage:
    """Loads the autoencoder for inference.

    Raises:
        ModelError: a file is missing or damaged, the class is unknown, or any key or shape differs from the config.
    """
    name = _class_of(folder, "vae", ("AutoencoderKLOpenSora", "AutoencoderKL"))
    return _load(AutoencoderKLOpenSora if name == "AutoencoderKLOpenSora" else AutoencoderKLImage, folder, "vae", device, dtype)


def load_text(folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> TextEncoder:
    """Loads tokenizer and text encoder for inference; see `load_vae` for what is raised."""
    _class_of(folder, "text_encoder", ("PhiEncoderModel", "PhiModel"))
    _class_of(folder, "tokenizer", ("CodeGenTokenizerFast", "CodeGenTokenizer"))
    return load_words(folder, _transformer_config(folder)["text_token_len"], device, dtype)


def load_words(
    folder: Path, max_rows: int, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> TextEncoder:
    """`load_text` from a folder that need not hold anything but `tokenizer/` and `text_encoder/`."""
    from transformers import AutoTokenizer, PhiModel

    _weight_files(folder, "text_encoder")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    with _quiet_transformers():
        model, report = PhiModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            folder / "text_encoder", dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    if wrong := sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"])):
        raise ModelError(f"{folder / 'text_encoder'} does not fit its config.json: missing or misshapen are {_some(wrong)}")
    return TextEncoder(tokenizer, model.eval().requires_grad_(False).to(device), max_rows)


def load_scheduler(folder: Path) -> FlowMatchScheduler | DDPMSchedule:
    """Reads the noise schedule.

    Raises:
        ModelError: the file is missing or names a schedule that is not supported.
    """
    config = _read(folder / "scheduler" / "scheduler_config.json")
    name = config.get("_class_name", _read(folder / "model_index.json").get("scheduler", ["", ""])[1])
    if name == "DDPMScheduler":
        return DDPMSchedule(DDPMScheduler.from_config(config))  # pyright: ignore[reportArgumentType]
    if name != "FlowMatchEulerDiscreteScheduler":
        raise ModelError(f"{folder}: the scheduler is {name!r}; known are FlowMatchEulerDiscreteScheduler and DDPMScheduler")
    if config.get("use_dynamic_shifting"):
        raise ModelError(f"{folder / 'scheduler'}: use_dynamic_shifting is not supported, NOVA's checkpoints have a fixed shift")
    return FlowMatchScheduler(config.get("num_train_timesteps", 1000), config.get("shift", 1.0))


def clip_shape(folder: Path) -> ClipShape:
    """What one clip of this model looks like, from its configs alone."""
    config = _transformer_config(folder)
    stride, patch = config["image_stride"], image_patch(config["image_stride"])
    height, width = (side * patch for side in config["image_base_size"])
    num_latents = config["clip_latents"] if config["video_base_size"][0] > 1 else 1
    return ClipShape(
        num_frames=4 * (num_latents - 1) + 1,
        fps=_FPS,
        height=height * stride,
        width=width * stride,
        latent=(config["image_dim"], num_latents, height, width),
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_DOWNLOADED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise ModelError(
            f"no folder {name!r} here, and it could not be fetched from the Hub either ({type(fault).__name__}): "
            "download the model elsewhere and give the folder"
        ) from fault


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    was_on, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # it reports every key it leaves out, such as the language head's
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if was_on:
            transformers_logging.enable_progress_bar()


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path} is missing: the model folder is incomplete")
    try:
        return files.read_json(path)
    except ValueError as fault:
        raise ModelError(f"{path} is not valid JSON: {fault}") from None


def _class_of(folder: Path, part: str, known: tuple[str, ...]) -> str:
    entry = _read(folder / "model_index.json").get(part)
    name = entry[-1] if isinstance(entry, list) and entry else entry
    if name not in known:
        raise ModelError(f"{folder / 'model_index.json'}: {part} is {name!r}; known are {', '.join(known)}")
    return name


def _transformer_config(folder: Path) -> dict[str, Any]:
    parameters = inspect.signature(NOVATransformer3DModel.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return {**defaults, **_read(folder / "transformer" / "config.json")}


def _weight_files(folder: Path, part: str) -> list[Path]:
    paths = sorted(path for path in (folder / part).glob("*.safetensors"))
    if not paths:
        other = sorted(path.name for path in (folder / part).glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        hint = f": {other[0]} may hold code and is not read; convert it to safetensors first" if other else ""
        raise ModelError(f"{folder / part} has no .safetensors weights{hint}")
    return paths


def _load(network: type[Network], folder: Path, part: str, device: str | torch.device, dtype: torch.dtype) -> Network:
    table = {key: value for key, value in _read(folder / part / "config.json").items() if not key.startswith("_")}
    known = inspect.signature(network.__init__).parameters
    if unknown := sorted(set(table) - set(known)):
        logger.warning("%s: keys this version does not know are left out: %s", folder / part / "config.json", ", ".join(unknown))
    with torch.device("meta"):
        model = network(**{key: value for key, value in table.items() if key in known})
    state: dict[str, torch.Tensor] = {}
    for path in _weight_files(folder, part):
        try:
            state.update({key: value.to(dtype) for key, value in load_file(path).items()})
        except SafetensorError as fault:
            raise ModelError(f"{path} is damaged ({fault}): fetch it again") from None
    _check_state(model.state_dict(), state, folder / part)
    model.load_state_dict(state, assign=True)
    return model.to(device).eval().requires_grad_(False)


def _check_state(want: dict[str, torch.Tensor], have: dict[str, torch.Tensor], place: Path) -> None:
    faults = []
    if missing := sorted(want.keys() - have.keys()):
        faults.append(f"missing: {_some(missing)}")
    if leftover := sorted(have.keys() - want.keys()):
        faults.append(f"not in this model: {_some(leftover)}")
    differing = [key for key in want.keys() & have.keys() if want[key].shape != have[key].shape]
    if shapes := [f"{key} is {list(have[key].shape)}, not {list(want[key].shape)}" for key in sorted(differing)]:
        faults.append(f"of another shape: {_some(shapes)}")
    if faults:
        raise ModelError(f"the weights in {place} do not fit its config.json; {'; '.join(faults)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
