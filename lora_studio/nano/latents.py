"""The lessons as latents of a trained VAE, so that the backbone need not look at pixels again.

On disk, for each file of lessons: `latents/clips_000256.safetensors` with the posterior's `means`, (L, C, T, h, w) float16, scaled.
A file made with another VAE is made again. Lessons are not mirrored here as they are for the other networks: to encode a lesson
twice costs more than half of what another one costs, and another one shows more.
"""

from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from lora_studio import files
from lora_studio.nano.lessons import LESSONS_A_FILE, Lessons, as_pixels
from lora_studio.nano.progress import autocast, training_device
from lora_studio.nova.weights import load_vae

_BATCH = {"clips": 4, "stills": 16}


def encode_lessons(lessons: Lessons, vae_folder: Path, folder: Path) -> None:
    """Encodes every file of lessons that has no latents of this VAE yet."""
    made_with = files.sha256_file(vae_folder / "vae" / "diffusion_pytorch_model.safetensors")
    todo = [number for number, path in enumerate(lessons.paths) if _made_with(_latent_file(folder, path)) != made_with]
    vae = load_vae(vae_folder, training_device())
    for number in tqdm(todo, desc=f"latents: {lessons.kind}", unit="file", disable=not todo):
        means = []
        first = number * LESSONS_A_FILE
        for start in range(first, first + LESSONS_A_FILE, _BATCH[lessons.kind]):
            pixels = as_pixels([lessons.frames(index) for index in range(start, start + _BATCH[lessons.kind])]).to(vae.device)
            with torch.inference_mode(), autocast():
                means.append(vae.scale(vae.encode(pixels).mean.float()).half().cpu())
        with files.atomic_path(_latent_file(folder, lessons.paths[number])) as temporary:
            save_file({"means": torch.cat(means)}, temporary, {"vae": made_with})


def _latent_file(folder: Path, lesson_file: Path) -> Path:
    return folder / lesson_file.with_suffix(".safetensors").name


def _made_with(path: Path) -> str:
    if not path.is_file():
        return ""
    with safe_open(path, "pt") as file:
        return file.metadata()["vae"]


class Latents:
    """The latents of all lessons of one kind, in memory."""

    def __init__(self, lessons: Lessons, folder: Path) -> None:
        self.lessons = lessons
        self._files = [_latent_file(folder, path) for path in lessons.paths]

    @cached_property
    def _all(self) -> Tensor:
        return torch.cat([load_file(path)["means"] for path in self._files])

    def rows(self, indices: list[int]) -> Tensor:
        """(B, C, T, h, w) float32."""
        return self._all[indices].float()
