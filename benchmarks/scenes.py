"""How many takes of a set-up that were framed anew are found to be one scene, and how many strangers are taken for takes.

    python benchmarks/scenes.py

Sixteen set-ups of each of three brands are filmed three times on the virtual stage: once as set up, once from a little further
left and nearer, once from a little higher, further right and wider; three frames of each, 128 x 192. Pairs are told by hashes
alone, and by hashes and the shipped vision model's vectors together (data_tools/scenes.py). Each brand is a library of its own.
Writes benchmarks/results/scenes.json: of the pairs of takes and of the pairs of strangers, how many are put into one scene.
"""

import itertools
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.frames import RESULTS
from data_tools import scenes
from data_tools.stage.brands import KITS
from data_tools.stage.render import render
from data_tools.stage.sample import sample_brand_scene
from data_tools.stage.scene import Scene
from data_tools.zero_shot import ImageTextModel, embed_shot
from lora_studio.files import write_json
from lora_studio.records import Shot
from lora_studio.vision import load_vision

VISION = Path(__file__).parents[1] / "lora_studio" / "assets" / "nova_nano" / "open_clip"
NUM_SET_UPS, FPS = 16, 2.0


def takes_of(scene: Scene) -> list[Scene]:
    """A set-up and two other framings of it."""
    camera = scene.camera
    left = replace(camera, azimuth_deg=camera.azimuth_deg - 8, distance_dm=camera.distance_dm * 0.88, shift_x=camera.shift_x + 0.05)
    high = replace(
        camera, azimuth_deg=camera.azimuth_deg + 6, elevation_deg=camera.elevation_deg + 4, distance_dm=camera.distance_dm * 1.1,
        shift_x=camera.shift_x - 0.04,
    )  # fmt: skip
    return [replace(scene, camera=one) for one in (camera, left, high)]


def library_of(brand: str, model: ImageTextModel) -> tuple[list[Shot], dict[str, np.ndarray]]:
    """The shots of a brand in the order they were filmed, and their vectors by id; three in a row are takes of one set-up."""
    generator, shots, vectors = torch.Generator().manual_seed(29), [], {}
    for number in tqdm(range(NUM_SET_UPS), desc=brand):
        for take, scene in enumerate(takes_of(sample_brand_scene(generator, KITS[brand]))):
            frames, name = render(scene, 128, 192, 3, FPS), f"{number:02}{take}"
            shots.append(Shot.model_construct(shot_id=name, hashes=tuple(scenes.hash_frame(frame) for frame in frames)))
            vectors[name] = embed_shot(model, frames)
    return shots, vectors


def count(shots: list[Shot], vectors: dict[str, np.ndarray]) -> Counter:
    """Pairs of takes and of strangers, and how many of each are one scene."""
    scene_of, counts = scenes.group_scenes(shots, vectors), Counter()
    for first, second in itertools.combinations(shots, 2):
        kind = "takes" if first.shot_id[:2] == second.shot_id[:2] else "strangers"
        counts[kind] += 1
        counts[kind, "one scene"] += scene_of[first.shot_id] == scene_of[second.shot_id]
    return counts


def main() -> None:
    """Counts over three brands."""
    model, ways = load_vision(VISION), {"hashes": Counter(), "hashes and vectors": Counter()}
    for brand in ("acme", "lumen", "north"):
        shots, vectors = library_of(brand, model)
        ways["hashes"] += count(shots, {})
        ways["hashes and vectors"] += count(shots, vectors)
    table = {
        way: {kind: {"pairs": counts[kind], "one scene": counts[kind, "one scene"]} for kind in ("takes", "strangers")}
        for way, counts in ways.items()
    }
    for way, kinds in table.items():
        shares = [f"{kind} {found['one scene'] / found['pairs']:.4f} of {found['pairs']}" for kind, found in kinds.items()]
        print(way, *shares, sep="; ")
    write_json(RESULTS / "scenes.json", table)


if __name__ == "__main__":
    main()
