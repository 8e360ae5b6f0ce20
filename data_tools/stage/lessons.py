"""What nova-nano learns from: numbered scenes of any product on any set, as pixels and the truth in words.

Lesson n of a kind is the same whoever renders it and however the lessons are spread over files. Combinations of shape and
body colour that belong to the brands of the learning proof never occur. Knows no model and no caption.

On disk, in one folder: `clips_000256.npy` (L, 9, H, W, 3) or `stills_000256.npy` (L, 1, H, W, 3), uint8 sRGB, lessons 256 and
on of that kind; beside it `.jsonl`, a line for each: `{"content", "shape", "body", "tags"}`, and `cover_clips_000256.npy`: how much
of each 16-pixel cell the product covers in every fourth frame, (L, 3 or 1, 8, 12) uint8 where 255 is all of it. `seed.json` is the
seed of them all.
"""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from data_tools.stage.brands import HELD_OUT
from data_tools.stage.colours import colour_name
from data_tools.stage.render import product_cover, render
from data_tools.stage.sample import Draw, sample_scene
from data_tools.stage.scene import Scene, content, describe
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.nano.lessons import LESSONS_A_FILE
from lora_studio.threads import usable_cores

HEIGHT: Final = 128
WIDTH: Final = 192
FPS: Final = 12
FRAMES: Final = {"clips": 9, "stills": 1}
CELL: Final = 16  # pixels a side: a patch of the backbone
_RAYS: Final = 4  # a side, for the share of a cell
# shot sizes in 100 lessons: the sizes in which a product can be told get most
SCALES: Final = (("extreme_wide", 2), ("wide", 10), ("medium_wide", 21), ("medium", 28), ("medium_close_up", 23), ("close_up", 12),
                 ("extreme_close_up", 4))  # fmt: skip
SEED_FILE: Final = "seed.json"
_JITTER: Final = 9  # how far each channel of a named colour strays, of 255
_PAINTED: Final = ("body", "cap", "band", "badge", "mark")
_AROUND: Final = ("backdrop", "floor", "accent", "plinth")


@dataclass(frozen=True)
class Lesson:
    """One numbered scene."""

    kind: str
    number: int
    scene: Scene

    @property
    def truth(self) -> dict[str, Any]:
        """What is said of it beside its pixels."""
        product, tags = self.scene.product, describe(self.scene)
        return {"content": content(self.scene), "shape": product.shape, "body": colour_name(product.body), "tags": tags}


def lesson(kind: str, number: int, seed: int = 0) -> Lesson:
    """Draws one lesson: `kind` is `clips` or `stills`."""
    digest = hashlib.sha256(f"{seed}/{kind}/{number}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    draw = Draw(generator)
    while True:
        scale = draw.one([name for name, share in SCALES for _ in range(share)])
        scene = _strayed(draw, sample_scene(generator, {"angle.scale": scale}))
        if (scene.product.shape, colour_name(scene.product.body)) not in HELD_OUT:
            return Lesson(kind, number, scene)


def render_lessons(folder: Path, kind: str, first: int, count: int, seed: int = 0) -> None:
    """Renders lessons `first` to `first + count` (multiples of 256); files that are there already are kept.

    Raises:
        FootageError: the folder holds lessons of another seed.
    """
    assert first % LESSONS_A_FILE == 0, first
    was = files.read_json(folder / SEED_FILE)["seed"] if (folder / SEED_FILE).is_file() else seed
    if was != seed:
        raise FootageError(f"{folder} holds lessons of seed {was}, got {seed}: use --seed {was}, or another folder")
    files.write_json(folder / SEED_FILE, {"seed": seed})
    every = range(first, first + count, LESSONS_A_FILE)
    starts = [start for start in every if not all(file(folder, kind, start).is_file() for file in (lesson_file, cover_file))]
    with ProcessPoolExecutor(usable_cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        done = pool.map(_render_file, *zip(*((folder, kind, start, seed) for start in starts), strict=True)) if starts else iter(())
        for _ in tqdm(done, total=len(starts), desc=f"lessons: {kind}", unit="file", disable=not starts):
            pass


def lesson_file(folder: Path, kind: str, start: int) -> Path:
    """Where the pixels of lessons `start` and on are."""
    return folder / f"{kind}_{start:06d}.npy"


def cover_file(folder: Path, kind: str, start: int) -> Path:
    """Where it is said what the product covers in lessons `start` and on."""
    return folder / f"cover_{kind}_{start:06d}.npy"


def _render_file(folder: Path, kind: str, start: int, seed: int) -> None:
    lessons = [lesson(kind, number, seed) for number in range(start, start + LESSONS_A_FILE)]
    _save(cover_file(folder, kind, start), np.stack([_cover_of(item) for item in lessons]))
    path = lesson_file(folder, kind, start)
    if not path.is_file():
        pixels = np.stack(list(_rendered(lessons)))
        files.write_text(path.with_suffix(".jsonl"), "".join(json.dumps(item.truth) + "\n" for item in lessons))
        _save(path, pixels)


def _save(path: Path, values: np.ndarray) -> None:
    with files.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)


def _cover_of(item: Lesson) -> np.ndarray:
    """(T, rows, columns) uint8."""
    rows, columns, frames = HEIGHT // CELL, WIDTH // CELL, (FRAMES[item.kind] + 3) // 4
    shares = product_cover(item.scene, rows * _RAYS, columns * _RAYS, frames, FPS / 4)
    return np.rint(shares.reshape(frames, rows, _RAYS, columns, _RAYS).mean((2, 4)) * 255).astype(np.uint8)


def _rendered(lessons: list[Lesson]) -> Iterator[np.ndarray]:
    for item in lessons:
        yield render(item.scene, HEIGHT, WIDTH, FRAMES[item.kind], FPS)


def _strayed(draw: Draw, scene: Scene) -> Scene:
    """The scene in colours a little off the named ones, still of the same name: a brand's colours are never the named ones."""
    product, stage = scene.product, scene.stage
    parts = {key: value for key in _PAINTED if (value := getattr(product, key)) is not None}
    around = {key: getattr(stage, key) for key in _AROUND}
    moved = {colour: _stray(draw, colour) for colour in sorted({*parts.values(), *around.values()})}  # equal colours stay equal
    return replace(scene, product=replace(product, **{key: moved[colour] for key, colour in parts.items()}),
                   stage=replace(stage, **{key: moved[colour] for key, colour in around.items()}))


def _stray(draw: Draw, colour: str) -> str:
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    strayed = "#" + "".join(f"{round(min(max(c + draw.between(-_JITTER, _JITTER), 0), 255)):02X}" for c in channels)
    return strayed if colour_name(strayed) == colour_name(colour) else colour
