"""One picture or one video from one prompt, written where the person says: for trying things, not for the wall.

Knows the sampler and the looks of a workspace; keeps no record of what it made.
"""

from pathlib import Path
from typing import Final

from PIL import Image
from tqdm import tqdm

from lora_studio import files
from lora_studio.errors import MediaError, TrainingError
from lora_studio.generation.plan import Base
from lora_studio.generation.sampler import SamplerSettings, generate
from lora_studio.generation.takes import open_studio, read_image, wearing
from lora_studio.nova import weights
from lora_studio.runs import Run, finished_runs
from lora_studio.video import write_video
from lora_studio.wall import read_manifest
from lora_studio.workspace import Workspace

BASE: Final = "base"


def make_one(
    workspace: Workspace, prompt: str, to: Path, look: str, settings: SamplerSettings, seed: int, image: Path | None = None
) -> None:
    """Makes one video (`to` ends in .mp4) or one still (.png).

    Args:
        workspace: with a dataset: it names the base model.
        prompt: what to show; write the trigger into it for a trained look.
        to: the file to write; an existing one is replaced.
        look: `base`, or the name of a finished run.
        settings: of the sampler.
        seed: same seed, same bytes.
        image: a picture the video begins with.

    Raises:
        MediaError: the suffix is neither .mp4 nor .png, or a still is asked to begin with a picture.
        TrainingError: there is no such finished run.
        FootageError: the image cannot be read.
    """
    is_still = to.suffix.lower() == ".png"
    if not is_still and to.suffix.lower() != ".mp4":
        raise MediaError(f"--to must end in .mp4 (video) or .png (still), got {to}")
    if is_still and image is not None:
        raise MediaError(f"--from-image begins a video, and {to} is a still: end --to in .mp4")
    run = _run(workspace, look)
    name = read_manifest(workspace)["model"]
    folder = weights.find_model(name)
    base = Base(name, weights.model_sha256(folder), weights.clip_shape(folder))
    first = read_image(image, base) if image is not None else None
    studio = open_studio(folder, [prompt])
    with wearing(studio.transformer, run) as transformer, tqdm(desc=look, unit="set", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        frames = generate(
            transformer, studio.vae, studio.scheduler, [studio.text[prompt]], settings, seed, first,
            progress=show, num_latents=1 if is_still else None,
        )[0]  # (F, H, W, 3)  # fmt: skip
    if not is_still:
        write_video(to, frames, base.shape.fps)
        return
    with files.atomic_path(to) as temporary:
        Image.fromarray(frames[0]).save(temporary, format="PNG")


def _run(workspace: Workspace, look: str) -> Run | None:
    if look == BASE:
        return None
    runs = {run.name: run for run in finished_runs(workspace)}
    if look not in runs:
        raise TrainingError(f"--look must be {BASE} or a finished run ({', '.join(runs) or 'there is none yet'}), got {look}")
    return runs[look]
