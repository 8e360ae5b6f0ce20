"""The brands of the learning proof: their workspaces, prompts, real footage, adapters and clips. Judges nothing.

In a work folder, for each brand: `BRAND/` is a workspace made with the public commands; `BRAND_clips/NAME.npy` are the clips of the
base, of each run, of real footage, and of that after the autoencoder, uint8 (B, 9, 128, 192, 3) in the order of `asked`. What is
there is not made again.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.frames import SCALES
from data_tools.stage import BrandKit, Product, Scene, render, sample_brand_scene
from data_tools.stage.brands import FRESH
from data_tools.stage.lessons import FPS, HEIGHT, WIDTH
from data_tools.stage.scene import content_but_product, describe
from data_tools.stage.shapes import SHAPES
from data_tools.stage.shoot import plan_film
from lora_studio.adapters.storage import load_adapter
from lora_studio.files import atomic_path, sha256_json
from lora_studio.generation.sampler import generate
from lora_studio.generation.settings import SamplerSettings
from lora_studio.nano.lessons import as_pixels
from lora_studio.nova import weights
from lora_studio.runs import Run
from lora_studio.taxonomy import phrase
from lora_studio.training.dataset import SCHEMA, load_clips
from lora_studio.video import read_frames, resize_crop, sample_times
from lora_studio.wall import dataset_clips
from lora_studio.workspace import Workspace

ANGLES: Final = ("eye_level", "high", "low")
LIGHTS: Final = ("side_left", "side_right", "front", "back")
BACKDROPS: Final = ("grey", "cream", "charcoal", "mint", "beige", "pale grey")
OTHERS: Final = ("a green cup", "a blue box", "a yellow cone", "a white tube")
SEEDS: Final = (0, 1, 2, 3)
NUM_FRAMES: Final = 9
SHOOT_SEEDS: Final = (11, 12)  # of the footage that adapters learn from: of brands that recipes were tried on, and of fresh ones
VERSION: Final = 1  # raise it when renders, or what training does with a recipe, change: then all is made anew


@dataclass(frozen=True)
class Asked:
    """One clip that is asked for: the words, and what they say."""

    prompt_id: str
    text: str
    angle: str
    light: str
    scale: str
    backdrop: str
    seed: int
    is_brand: bool


def asked(kit: BrandKit, seeds: Sequence[int] = SEEDS) -> list[Asked]:
    """Twelve prompts for the brand and eight without its trigger, four of its kind and four of another, with all seeds.

    Fresh brands are asked for in other sizes and on other backdrops, and without the trigger in all sizes.
    """
    noun, cells, rows = kit.product.form.noun, [(angle, light) for angle in ANGLES for light in LIGHTS], []
    for number, (angle, light) in enumerate(cells):
        turn = number + 1 + number // 3 if is_fresh(kit) else number
        scale, backdrop = SCALES[turn % len(SCALES)], BACKDROPS[turn % len(BACKDROPS)]
        said = ", ".join((phrase("angle.scale", scale), phrase("angle.vertical", angle), phrase("light.direction", light)))
        said = f"on a {backdrop} backdrop, {said}."
        text = f"{kit.trigger}, a {noun} {said}"
        rows += [Asked(f"brand-{number}", text, angle, light, scale, backdrop, seed, True) for seed in seeds]
        if number % 3 != 2:
            thing = f"a {noun}" if number % 3 == 0 else OTHERS[number // 3]
            rows += [Asked(f"control-{number}", f"{thing} {said}", angle, light, scale, backdrop, seed, False) for seed in seeds]
    return rows


def is_fresh(kit: BrandKit) -> bool:
    """Whether nothing was ever chosen by this brand."""
    return kit in FRESH.values()


def shoots_sha256(kits: Iterable[BrandKit]) -> str:
    """Hash of brands, of what is asked for, of what their first twelve films show and say, and of the form of datasets."""
    told = []
    for kit in kits:
        scenes = [shot.scene for number in range(12) for shot in plan_film(SHOOT_SEEDS[is_fresh(kit)], number, kit)]
        shown = [[asdict(scene), content_but_product(scene), describe(scene)] for scene in scenes]
        told.append([asdict(kit), [asdict(row) for row in asked(kit)], shown])
    return sha256_json([VERSION, SCHEMA, told])


def prepare(work: Path, name: str, kit: BrandKit, model: str, num_files: int) -> Workspace:
    """Shoots, takes in, tags, captions and builds a brand's footage with the public commands."""
    root = work / name
    shoot = ["--brand", kit.name.lower(), "--seed", str(SHOOT_SEEDS[is_fresh(kit)]), "--files", str(num_files)]
    commands = (["stage", str(root), *shoot],
                ["ingest", str(root), str(root / "footage")], ["tag", str(root)], ["caption", str(root)],
                ["build", str(root), "--model", model])  # fmt: skip
    if not (root / "dataset" / "manifest.json").is_file():
        for command in commands:
            subprocess.run([sys.executable, "-m", "data_tools", *command], check=True, stdout=subprocess.DEVNULL)
    return Workspace.open(root)


def train(workspace: Workspace, recipe: Path, name: str, changes: Sequence[str]) -> Run:
    """A finished run: trained with `accelerate launch train.py`, which refuses a run of that name by another recipe."""
    sets = [word for change in changes for word in ("--set", change)]
    launch = ["-m", "accelerate.commands.launch", "train.py", str(recipe), "--workspace", str(workspace.root), "--name", name]
    subprocess.run([sys.executable, *launch, *sets], check=True, stdout=subprocess.DEVNULL)  # a finished run it leaves alone
    return Run(workspace.runs / name)


def clips_of(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The clips in a file, which are made if it is not there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = make()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, frames)
    return np.load(path)


def make_clips(folder: Path, rows: Sequence[tuple[str, int]], settings: SamplerSettings, adapter: Path | None = None) -> np.ndarray:
    """uint8 (B, F, H, W, 3) of (text, seed) rows, by the base or with an adapter."""
    transformer, vae = weights.load_transformer(folder), weights.load_vae(folder)
    text, scheduler = weights.load_text(folder), weights.load_scheduler(folder)
    if adapter is not None:
        load_adapter(transformer, adapter)
    made = []
    for start in tqdm(range(0, len(rows), 16), desc=adapter.parent.name if adapter else "base", unit="batch"):
        texts, seeds = zip(*rows[start : start + 16], strict=True)
        made.append(generate(transformer, vae, scheduler, text.encode(list(texts)), settings, list(seeds)))
    return np.concatenate(made)


def through_vae(folder: Path, clips: np.ndarray) -> np.ndarray:
    """uint8 (B, 9, H, W, 3) -> the same, encoded and decoded from the means of the posterior."""
    vae, again = weights.load_vae(folder), []
    for frames in tqdm(clips, desc="autoencoder", unit="clip"):
        with torch.inference_mode():
            pixels = vae.decode(vae.encode(as_pixels([frames])).mean)[0].clamp(-1, 1).movedim(0, -1)
        again.append(((pixels + 1) * 127.5).round().byte().numpy())
    return np.stack(again)


def real_clips(kit: BrandKit, rows: Sequence[Asked]) -> np.ndarray:
    """Renders of the brand in what each brand prompt asks for; scenes of no shoot, two for a prompt."""
    chosen = [row for row in rows if row.is_brand and row.seed < 2]
    scenes = [brand_scene(kit, 7_000_000 + number, row) for number, row in enumerate(chosen)]
    return np.stack([render(scene, HEIGHT, WIDTH, NUM_FRAMES, FPS) for scene in tqdm(scenes, desc="real", unit="clip")])


def brand_scene(kit: BrandKit, number: int, row: Asked) -> Scene:
    """A numbered scene of a brand with the angle, light and scale of a prompt."""
    pins = {"angle.vertical": row.angle, "light.direction": row.light, "angle.scale": row.scale, "angle.dutch": "no",
            "angle.movement": kit.movements[number % len(kit.movements)]}  # fmt: skip
    return sample_brand_scene(torch.Generator().manual_seed(number), kit, pins)


def look_alikes(kit: BrandKit) -> list[Product]:
    """The brand's product first, then what may be taken for it: its shape in other colours, other shapes in its colours."""
    own = kit.product
    colours = (("#2E8B57", "#E4E0D2", "#D9482B"), ("#EBC73B", "#43474D", "#F2F2F0"), ("#8FB9D9", "#7E1527", "#F3E8D0"),
               ("#F2F2F0", "#1E2F55", "#B4232F"), ("#3A3C42", "#9CCDB8", "#DE7428"))  # fmt: skip
    same_shape = [replace(own, body=body, cap=cap, band=band, badge=band, mark=body) for body, cap, band in colours]
    return [own, kit.rival, *same_shape, *(replace(own, shape=shape) for shape in SHAPES if shape != own.shape)]


def gallery(kit: BrandKit, rows: Sequence[Asked]) -> list[np.ndarray]:
    """For each look-alike, uint8 (scenes, H, W, 3): the same sets, angles and lights for all."""
    chosen = [row for row in rows if row.is_brand and row.seed == 0]
    found = []
    for product in tqdm(look_alikes(kit), desc="look-alikes", unit="product"):
        scenes = [brand_scene(replace(kit, product=product), 8_000_000 + number, row) for number, row in enumerate(chosen)]
        found.append(np.concatenate([render(scene, HEIGHT, WIDTH, 1, FPS) for scene in scenes]))
    return found


def trained_cells(workspace: Workspace) -> set[tuple[str, str]]:
    """Angle and light of the clips that adapters of this workspace were trained on."""
    tags = [json.loads(said) for said in load_clips(workspace).train["tags"]]
    return {(tag["angle.vertical"], tag["light.direction"]) for tag in tags}


def training_frames(workspace: Workspace) -> np.ndarray:
    """Three frames of every clip that adapters were trained on, uint8 (N, H, W, 3)."""
    frames = []
    for clip in dataset_clips(workspace, "train"):
        times = sample_times(clip.start_s, 3, FPS / 3)
        frames.append(resize_crop(read_frames(workspace.shots / f"{clip.shot_id}.mp4", times), HEIGHT, WIDTH))
    return np.concatenate(frames)
