"""What a model sees of a clip: VAE moments and text rows, computed once and kept by content key. Knows no table and no split.

A key is the hash of everything the numbers depend on, so a kept file is right for as long as it is found; changing a caption
costs that caption only. Files are never deleted unasked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from data_tools.clips import ClipFormat, PlannedClip
from lora_studio import files, video
from lora_studio.records import Shot
from lora_studio.workspace import Workspace

_FLOW_SHORT_SIDE = 240


@dataclass(frozen=True)
class Encoders:
    """The frozen parts of a base model that make features, by the hash of their weights; loaded when first needed."""

    vae_sha256: str
    text_sha256: str
    load_vae: Callable[[], Any]
    load_text: Callable[[], Any]


class FeatureStore:
    """The folder of kept features of one workspace."""

    def __init__(self, workspace: Workspace, encoders: Encoders, form: ClipFormat) -> None:
        self._workspace, self._encoders, self._form = workspace, encoders, form

    def clip_key(self, clip: PlannedClip) -> str:
        """Of a clip's moments."""
        return files.sha256_json(["clip", clip.clip_id, self._encoders.vae_sha256])[:32]

    def text_key(self, text: str) -> str:
        """Of a caption's rows."""
        return files.sha256_json(["text", text, self._encoders.text_sha256])[:32]

    def clip(self, clip: PlannedClip) -> tuple[np.ndarray, float]:
        """A kept clip's moments (2C, T, H, W) float16 and its mean flow in pixels per frame."""
        kept = load_file(self._path(self.clip_key(clip)))
        return kept["moments"], float(kept["flow"][0])

    def text(self, text: str) -> np.ndarray:
        """A kept caption's rows (rows, D_text) float16."""
        return load_file(self._path(self.text_key(text)))["rows"]

    def cut_off(self, text: str) -> str:
        """The end of a kept caption that the model never reads, because it is too long; "" where it reads all."""
        with safe_open(self._path(self.text_key(text)), "np") as file:
            return (file.metadata() or {}).get("cut_off", "")

    def encode_clips(self, clips: Sequence[PlannedClip]) -> int:
        """Makes what is missing. Returns how many clips were encoded.

        Raises:
            MediaError: a normalised shot cannot be read.
            ModelError: the VAE cannot be loaded.
        """
        missing = [clip for clip in clips if not self._path(self.clip_key(clip)).is_file()]
        vae = self._encoders.load_vae() if missing else None
        for clip in tqdm(missing, desc="encode clips", unit="clip", disable=not missing):
            frames = clip_frames(self._workspace, clip.shot, clip.start_s, self._form)
            arrays = {"moments": _moments(vae, frames), "flow": np.array([mean_flow(frames)], dtype=np.float32)}
            self._keep(self.clip_key(clip), arrays)
        return len(missing)

    def encode_texts(self, texts: Sequence[str]) -> int:
        """Makes what is missing. Returns how many texts were encoded.

        Raises:
            ModelError: the text encoder cannot be loaded.
        """
        missing = [text for text in dict.fromkeys(texts) if not self._path(self.text_key(text)).is_file()]
        encoder = self._encoders.load_text() if missing else None
        for text in tqdm(missing, desc="encode captions", unit="text", disable=not missing):
            (rows,) = encoder.encode([text])  # type: ignore[union-attr]
            kept = {"rows": rows.float().cpu().numpy().astype(np.float16)}
            self._keep(self.text_key(text), kept, {"cut_off": encoder.cut_off(text)})  # type: ignore[union-attr]
        return len(missing)

    def _path(self, key: str) -> Path:
        return self._workspace.dataset / "features" / f"{key}.safetensors"

    def _keep(self, key: str, arrays: dict[str, np.ndarray], words: dict[str, str] | None = None) -> None:
        with files.atomic_path(self._path(key)) as temporary:
            save_file(arrays, temporary, words)


def clip_frames(workspace: Workspace, shot: Shot, start_s: float, form: ClipFormat) -> np.ndarray:
    """Exactly the frames a model sees of a clip, (F, H, W, 3) uint8.

    Raises:
        MediaError: the normalised shot cannot be read.
    """
    last_s = (shot.num_frames - 1) / shot.fps
    times = [min(time_s, last_s) for time_s in video.sample_times(start_s, form.num_frames, form.fps)]
    return video.FITS[form.fit](video.read_frames(workspace.absolute(shot.path), times), form.height, form.width)


def _moments(vae: Any, frames: np.ndarray) -> np.ndarray:
    import torch

    weight = next(vae.parameters())
    pixels = torch.from_numpy(frames).to(weight.device, weight.dtype) / 127.5 - 1  # (F, H, W, 3)
    with torch.inference_mode():
        posterior = vae.encode(pixels.movedim(-1, 0).unsqueeze(0))  # pixels (1, 3, F, H, W)
    return posterior.parameters[0].float().cpu().numpy().astype(np.float16)  # (2C, T, H, W)


def mean_flow(frames: np.ndarray) -> float:
    """Mean length of the dense optical flow (DIS) between neighbouring frames, in pixels per frame at the frames' own size.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    scale = min(1.0, _FLOW_SHORT_SIDE / min(frames.shape[1:3]))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    small = [cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for one in grey]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    empty = np.zeros((*small[0].shape, 2), dtype=np.float32)
    lengths = [np.linalg.norm(finder.calc(a, b, empty.copy()), axis=2).mean() for a, b in pairwise(small)]
    return float(np.mean(lengths) / scale) if lengths else 0.0
