"""A shoot on the virtual stage: a workspace of a virtual brand with footage, rights, camera report, prompts, and the truth.

The camera report is what a camera assistant would log (what is shown where, framing, and where the key stood); key, contrast,
temperature and movement are left for the pixels to tell, and what the product looks like for the trigger to learn.
`truth.json` holds everything and is for measuring taggers: no tool of the pipeline reads it.
"""

import csv
import io
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from data_tools.stage.brands import ACME, BrandKit
from data_tools.stage.render import render
from data_tools.stage.sample import Draw, sample_brand_scene
from data_tools.stage.scene import Scene, content, content_but_product, describe
from lora_studio import brand, files, settings, video
from lora_studio.errors import FootageError
from lora_studio.records import Prompt, PromptSheet, Rights
from lora_studio.taxonomy import phrase
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

HEIGHT: Final = 256
WIDTH: Final = 384
FPS: Final = 24
LOGGED_AXES: Final = ("angle.scale", "angle.vertical", "angle.view", "light.direction", "light.quality")

# (angle.vertical, light.direction) of the shots in turn. Not all cells: a coverage table must have holes to show.
CELLS: Final = (
    ("eye_level", "side_left"), ("high", "front"), ("low", "side_left"), ("eye_level", "back"), ("overhead", "side_right"),
    ("eye_level", "front"), ("high", "side_left"), ("eye_level", "side_right"), ("high", "top"), ("low", "front"),
)  # fmt: skip
MISSING_CELL: Final = ("low", "back")  # one prompt asks for it
SCALES: Final = ("medium", "medium_close_up", "medium_wide", "close_up", "medium", "wide", "extreme_close_up")
VIEWS: Final = ("front", "three_quarter", "front", "three_quarter", "profile", "back", "front", "three_quarter",
                "front", "profile", "three_quarter")  # fmt: skip
KEYS: Final = ("mid", "mid", "low", "high", "high", "low", "mid", "high")


@dataclass(frozen=True)
class PlannedShot:
    """One shot of a file: what to render, and for how many frames."""

    scene: Scene
    num_frames: int


def render_stage(
    workspace: Workspace, num_files: int = 12, seed: int = 0, height: int = HEIGHT, width: int = WIDTH, kit: BrandKit = ACME
) -> None:
    """Shoots a brand's footage into a workspace; what is there already is kept, so a killed shoot goes on.

    Args:
        num_files: how many films of one or two shots, 2.5 to 4 seconds each.
        seed: decides every scene; files are drawn one by one, so more files never change the first ones.
        height, width: size of the footage in pixels, even.
        kit: the brand.

    Raises:
        FootageError: the workspace holds a shoot with another seed, or of another brand.
    """
    _check_shoot(workspace, seed, kit)
    films = {f"{kit.name.lower()}_{index:03d}.mp4": plan_film(seed, index, kit) for index in range(num_files)}
    _write_brand(workspace, kit)
    _write_papers(workspace, films, seed, kit)
    missing = [name for name in films if not (workspace.footage / name).is_file()]
    for name in tqdm(missing, desc="virtual stage", unit="film", disable=not missing):
        video.write_video(workspace.footage / name, shoot_film(films[name], height, width), FPS)
    logger.info("virtual stage: %d of %d films rendered", len(missing), num_files)


def plan_film(seed: int, index: int, kit: BrandKit = ACME) -> list[PlannedShot]:
    """The shots of one film; the same for equal arguments."""
    generator = torch.Generator().manual_seed(seed * 100_003 + index)
    draw = Draw(generator)
    lengths = (draw.between(2.5, 3.2),) if index % 3 == 2 else (draw.between(1.4, 2.0), draw.between(1.4, 2.0))
    first = (index // 3) * 5 + (0, 2, 4)[index % 3]  # films hold 2, 2, 1, 2, 2, 1, ... shots
    return [
        PlannedShot(sample_brand_scene(generator, kit, _pins(first + number, kit)), round(length * FPS))
        for number, length in enumerate(lengths)
    ]


def _pins(turn: int, kit: BrandKit) -> dict[str, str]:
    vertical, where = CELLS[turn % len(CELLS)]
    pins = {"angle.vertical": vertical, "light.direction": where, "angle.scale": SCALES[turn % len(SCALES)],
            "angle.view": VIEWS[turn % len(VIEWS)], "angle.movement": kit.movements[turn % len(kit.movements)], "angle.dutch": "no",
            "light.key": KEYS[turn % len(KEYS)]}
    if vertical == "overhead" and pins["angle.movement"] == "static":
        pins["angle.movement"] = "arc"
    return pins


def shoot_film(film: list[PlannedShot], height: int, width: int) -> Iterator[np.ndarray]:
    """The frames of a film in order, each uint8 (H, W, 3)."""
    for shot in film:
        yield from render(shot.scene, height, width, shot.num_frames, FPS)


def _check_shoot(workspace: Workspace, seed: int, kit: BrandKit) -> None:
    path = workspace.root / "truth.json"
    if not path.is_file():
        return
    truth = files.read_json(path)
    if (was := truth["seed"]) != seed:
        raise FootageError(f"{path} belongs to a shoot with seed {was}, got seed {seed}: use --seed {was}, or another workspace")
    if (was := truth["brand"]) != kit.name:
        raise FootageError(f"{path} belongs to a shoot of {was}, got {kit.name}: use --brand {was.lower()}, or another workspace")


def _write_brand(workspace: Workspace, kit: BrandKit) -> None:
    rights = Rights(owner=f"{kit.name} Studios", licence="owned", ai_training=True, releases="no people or third-party marks shown")
    if not workspace.brand_file.is_file():
        told = {"subject": f"a {kit.product.form.noun}", "palette": kit.palette, "rights": rights}
        brand.save_brand(workspace, brand.Brand(name=kit.name, trigger=kit.trigger, **told))
    if not workspace.prompts_file.is_file():
        brand.save_prompts(workspace, prompt_sheet(kit))
    rights_file = workspace.footage / "rights.toml"
    if not rights_file.is_file():
        files.write_text(rights_file, settings.to_toml(rights.model_dump(mode="json", exclude_none=True, exclude={"withdrawn"})))


def prompt_sheet(kit: BrandKit = ACME) -> PromptSheet:
    """Three prompts with the trigger, one of them for a cell that the footage lacks, and one control without it."""
    noun = kit.product.form.noun
    asked = {
        "hero": (f"{kit.trigger}, a {noun} on a cream backdrop", "medium", "eye_level", "side_left"),
        "from-above": (f"{kit.trigger}, a {noun} on a grey backdrop", "medium_close_up", "high", "front"),
        "low-backlit": (f"{kit.trigger}, a {noun} on a charcoal backdrop", "medium", *MISSING_CELL),
        "control": ("a green cup on a grey backdrop", "medium", "eye_level", "side_left"),
    }
    axes = ("angle.scale", "angle.vertical", "light.direction")
    prompts = [
        Prompt(id=name, kind="control" if name == "control" else "brand",
               text=", ".join([words[0], *(phrase(axis, value) for axis, value in zip(axes, words[1:], strict=True))]))
        for name, words in asked.items()
    ]  # fmt: skip
    return PromptSheet(seeds=(0, 1), prompts=tuple(prompts))


def _write_papers(workspace: Workspace, films: dict[str, list[PlannedShot]], seed: int, kit: BrandKit) -> None:
    """The camera report and the truth; both follow from the plan. A report that somebody has changed since is left alone."""
    truth = {name: _truth(film) for name, film in films.items()}
    path, report_path = workspace.root / "truth.json", workspace.footage / "camera_report.csv"
    before = files.read_json(path) if path.is_file() else {"files": {}}
    truth = before["files"] | truth
    table = io.StringIO()
    report = csv.writer(table, lineterminator="\n")
    report.writerow(("file", "start_s", "content", *LOGGED_AXES))
    for name, entry in sorted(truth.items()):
        for shot in entry["shots"]:
            report.writerow((name, f"{shot['start_s']:.3f}", shot["logged"], *(shot["tags"][axis] for axis in LOGGED_AXES)))
    written = before.get("report_sha256")  # none before this was noted
    is_there = report_path.is_file() and report_path.read_bytes() != table.getvalue().encode()
    if written and is_there and files.sha256_file(report_path) != written:
        logger.warning("%s was changed by hand and is kept; films that it does not name stay without a report", report_path)
    else:
        files.write_text(report_path, table.getvalue())
        written = files.sha256_file(report_path)
    files.write_json(path, {"schema": 1, "brand": kit.name, "seed": seed, "report_sha256": written, "files": truth})


def _truth(film: list[PlannedShot]) -> dict[str, Any]:
    shots, start = [], 0
    for shot in film:
        end = start + shot.num_frames
        shots.append(
            {"start_frame": start, "end_frame": end, "start_s": start / FPS, "end_s": end / FPS, "content": content(shot.scene),
             "logged": content_but_product(shot.scene), "tags": describe(shot.scene), "scene": asdict(shot.scene)}
        )  # fmt: skip
        start = end
    return {"fps": FPS, "num_frames": start, "cuts_s": [shot["start_s"] for shot in shots[1:]], "shots": shots}
