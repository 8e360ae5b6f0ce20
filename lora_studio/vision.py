"""Images and texts as vectors of one open_clip model, read from a local folder; the only door to open_clip.

Knows no footage, no taxonomy and no network: a folder holds the model or loading is an error. Frames are looked at
whole (longest side fitted, padded); open_clip's usual centre crop throws away 44 % of the width of a 16:9 frame.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lora_studio import files
from lora_studio.errors import ModelError

CONFIG_NAME: Final = "open_clip_config.json"
WEIGHTS_NAME: Final = "open_clip_model.safetensors"

# The colour-card check: plain cards that any trained image-text model names correctly (sRGB).
COLOUR_CARDS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (210, 30, 35),
    "green": (35, 150, 60),
    "blue": (35, 70, 200),
    "yellow": (245, 215, 40),
    "orange": (240, 130, 30),
    "purple": (120, 50, 160),
    "white": (248, 248, 248),
    "black": (8, 8, 8),
}
COLOUR_CARDS_NEEDED: Final = 7


class Vision:
    """One image-text model in evaluation mode.

    Attributes:
        folder: where it was read from.
        sha256: of its configuration and weights; part of every cache key made with it.
        logit_scale: factor on cosines before a softmax, as trained.
    """

    def __init__(self, folder: Path, model: nn.Module, preprocess: Any, tokenizer: Any, device: torch.device) -> None:
        """Takes the parts that `load_vision` has read and checked."""
        self.folder = folder
        self.device = device
        self.logit_scale = float(model.logit_scale.detach().exp().item())  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        self._model = model
        self._preprocess = preprocess
        self._tokenizer = tokenizer

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the names and hashes of the configuration and the weights."""
        parts = [f"{name} {files.sha256_file(self.folder / name)}" for name in (CONFIG_NAME, WEIGHTS_NAME)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @torch.inference_mode()
    def embed_images(self, frames: np.ndarray | Tensor, batch_size: int = 64) -> Tensor:
        """Embeds whole frames.

        Args:
            frames: (F, H, W, 3) uint8 RGB.
            batch_size: frames per forward pass.

        Returns:
            (F, D) float32 on the CPU, each row of length 1.
        """
        array = frames.cpu().numpy() if isinstance(frames, Tensor) else frames
        assert array.dtype == np.uint8, array.dtype
        assert array.shape[3:] == (3,), array.shape
        rows = [self._encode_frames(array[start : start + batch_size]) for start in range(0, len(array), batch_size)]
        return torch.cat(rows)  # (F, D)

    def _encode_frames(self, frames: np.ndarray) -> Tensor:
        pixels = torch.stack([self._preprocess(Image.fromarray(frame)) for frame in frames])  # (F, 3, S, S)
        return self._model.encode_image(pixels.to(self.device), normalize=True).float().cpu()  # pyright: ignore[reportCallIssue]

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Embeds texts; what lies past the model's context (77 tokens as a rule) is cut off.

        Returns:
            (N, D) float32 on the CPU, each row of length 1.
        """
        tokens = self._tokenizer(list(texts)).to(self.device)  # (N, L)
        rows = [self._model.encode_text(part, normalize=True).float().cpu() for part in tokens.split(batch_size)]  # pyright: ignore[reportCallIssue]
        return torch.cat(rows)  # (N, D)

    @cached_property
    def colour_cards_right(self) -> int:
        """How many of the eight plain colour cards the model names correctly (zero-shot, "a red image")."""
        names = list(COLOUR_CARDS)
        cards = np.stack([np.full((64, 64, 3), colour, dtype=np.uint8) for colour in COLOUR_CARDS.values()])
        cosines = self.embed_images(cards) @ self.embed_texts([f"a {name} image" for name in names]).T  # (8, 8)
        return int((cosines.argmax(dim=1) == torch.arange(len(names))).sum())

    @property
    def knows_colours(self) -> bool:
        """Whether at least seven of the eight cards are right: an untrained model gets about one."""
        return self.colour_cards_right >= COLOUR_CARDS_NEEDED


def load_vision(folder: str | Path, device: str | torch.device = "cpu") -> Vision:
    """Reads an open_clip model from a local folder; never touches the network.

    Args:
        folder: holds `open_clip_config.json` (keys `model_cfg`, `preprocess_cfg`), `open_clip_model.safetensors`, and
            the tokenizer's files if the configuration names one.
        device: where it computes.

    Raises:
        ModelError: the folder or one of its files is missing, needs a download, or the weights do not fit.
    """
    folder = Path(folder).absolute()
    _check_folder(folder)
    import open_clip  # its import alone takes seconds, and a missing folder should be an error at once

    name = f"local-dir:{folder}"
    try:
        loaded = open_clip.create_model_from_pretrained(name, device=device, image_resize_mode="longest", pretrained_text=False)
    except (RuntimeError, ValueError) as fault:
        raise ModelError(f"{folder}: the weights do not fit the configuration: {str(fault).splitlines()[0]}") from fault
    assert isinstance(loaded, tuple)
    model, preprocess = loaded
    return Vision(folder, model.eval(), preprocess, open_clip.get_tokenizer(name), torch.device(device))


def _check_folder(folder: Path) -> None:
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder / name} is missing: an open_clip model is a folder with {CONFIG_NAME} and {WEIGHTS_NAME} "
                "(pickled weights are refused)"
            )
    try:
        text = files.read_json(folder / CONFIG_NAME).get("model_cfg", {}).get("text_cfg", {})
    except (json.JSONDecodeError, AttributeError) as fault:
        raise ModelError(f"{folder / CONFIG_NAME}: not an open_clip configuration: {fault}") from None
    if "hf_model_name" in text:
        raise ModelError(
            f"{folder / CONFIG_NAME}: model_cfg.text_cfg.hf_model_name would be fetched from the network: "
            "use a model with its own text tower"
        )
