"""The lessons as latents of a trained VAE, so that the backbone need not look at pixels again.

On disk, for each file of lessons: `latents/clips_000256.safetensors` with the posterior's `means`, (L, C, T, h, w) float16, scaled;
`held_000256.safetensors` are the same of stills held for a clip's length: what a camera sees that does not move.
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

_BATCH = {"clips": 4, "stills": 16, "held": 4}
_HELD_FRAMES = 9


def encode_lessons(lessons: Lessons, vae_folder: Path, folder: Path, held: int = 0) -> None:
    """Encodes every file of lessons without latents of this VAE; with `held`, the first so many stills for a clip's length."""
    made_with = files.sha256_file(vae_folder / "vae" / "diffusion_pytorch_model.safetensors")
    paths = _latent_files(lessons, folder, held)
    todo = [number for number, path in enumerate(paths) if _made_with(path) != made_with]
    vae = load_vae(vae_folder, training_device())
    kind, repeats = ("held", _HELD_FRAMES) if held else (lessons.kind, 1)
    for number in tqdm(todo, desc=f"latents: {kind}", unit="file", disable=not todo):
        means = []
        first = number * LESSONS_A_FILE
        for start in range(first, first + LESSONS_A_FILE, _BATCH[kind]):
            frames = [lessons.frames(index) for index in range(start, start + _BATCH[kind])]
            pixels = as_pixels(frames).repeat(1, 1, repeats, 1, 1).to(vae.device)  # (B, 3, F, H, W)
            with torch.inference_mode(), autocast():
                means.append(vae.scale(vae.encode(pixels).mean.float()).half().cpu())
        with files.atomic_path(paths[number]) as temporary:
            save_file({"means": torch.cat(means)}, temporary, {"vae": made_with})


def _latent_files(lessons: Lessons, folder: Path, held: int) -> list[Path]:
    """Of all lessons, or of as many files as hold the first `held`."""
    names = [path.with_suffix(".safetensors").name for path in lessons.paths]
    if held:
        names = [name.replace(lessons.kind, "held", 1) for name in names[: -(-held // LESSONS_A_FILE)]]
    return [folder / name for name in names]


def _made_with(path: Path) -> str:
    if not path.is_file():
        return ""
    with safe_open(path, "pt") as file:
        return file.metadata()["vae"]


class Latents:
    """The latents of all lessons of one kind, or of the first `held` stills, held; in memory."""

    def __init__(self, lessons: Lessons, folder: Path, held: int = 0) -> None:
        self.lessons = lessons
        self._files = _latent_files(lessons, folder, held)

    @cached_property
    def _all(self) -> Tensor:
        return torch.cat([load_file(path)["means"] for path in self._files])

    def __len__(self) -> int:
        return len(self._files) * LESSONS_A_FILE

    def rows(self, indices: list[int]) -> Tensor:
        """(B, C, T, h, w) float32."""
        return self._all[indices].float()
