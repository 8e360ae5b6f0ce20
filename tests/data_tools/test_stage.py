"""The virtual stage tells the truth: what `describe` says is what the pixels show."""

import csv
import math
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_tools.stage import ACME, KITS, Camera, Light, Product, Scene, StageSet, content, describe, render
from data_tools.stage.colours import lab
from data_tools.stage.field import build_field
from data_tools.stage.lighting import bake_key_shadow
from data_tools.stage.render import rays
from data_tools.stage.sample import sample_brand_scene, sample_scene
from data_tools.stage.scene import content_but_product, distance_for, frame_share
from data_tools.stage.shapes import SHAPES
from data_tools.stage.shoot import CELLS, LOGGED_AXES, MISSING_CELL, PlannedShot, plan_film, render_stage, shoot_film
from lora_studio import brand, files, records, settings, taxonomy, video
from lora_studio.errors import BrandError, FootageError
from lora_studio.workspace import Workspace

BOX = Product("box", body="#C0C0C0", cap="#C0C0C0", gloss=0.0)
CAN = Product("can", body="#B4232F", cap="#B4232F", gloss=0.0)
GREY = StageSet(backdrop="#8B9097", floor="#8B9097")


def scene_of(product: Product, share: float = 0.6, elevation_deg: float = 4.0, light: Light | None = None, **camera: Any) -> Scene:
    distance = distance_for(product, share, 24, elevation_deg)
    return Scene(product, Camera(distance, elevation_deg=elevation_deg, **camera), light or Light(), GREY)


def still(scene: Scene, height: int = 96, width: int = 144) -> np.ndarray:
    return render(scene, height, width, 1, 24)[0].astype(np.float32)


def product_mask(scene: Scene, height: int = 96, width: int = 144) -> np.ndarray:
    """Where the product is: rays whose closest approach to it, sampled finely, is inside."""
    field = build_field(scene, 0.0, "cpu")
    origin, heading, _ = rays(scene, height, width, 0.0, "cpu")
    reach = torch.linspace(-1.2, 1.2, 120) + scene.camera.distance_dm
    nearest = torch.stack([field.product_distance(origin + heading * float(r)) for r in reach]).amin(0)
    return (nearest < 0).reshape(height, width).numpy()


def grey(frame: np.ndarray) -> np.ndarray:
    return frame @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


def horizontal_shift(first: np.ndarray, second: np.ndarray) -> float:
    """Pixels that the picture moved to the right, by phase correlation of row profiles."""
    a, b = (grey(f).mean(0) - grey(f).mean() for f in (first, second))
    scores = [float((np.roll(a, s)[20:-20] * b[20:-20]).sum()) for s in range(-20, 21)]
    return float(np.argmax(scores) - 20)


def test_equal_seeds_give_equal_bytes() -> None:
    scenes = [sample_scene(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert scenes[0] == scenes[1]
    assert np.array_equal(render(scenes[0], 48, 72, 2, 24), render(scenes[1], 48, 72, 2, 24))
    assert sample_scene(torch.Generator().manual_seed(8)) != scenes[0]


def test_every_value_can_be_asked_for() -> None:
    for axis in taxonomy.AXES_V1:
        for value in taxonomy.AXES_V1[axis]:
            for seed in range(6):
                drawn = sample_scene(torch.Generator().manual_seed(seed), {axis: value})
                assert describe(drawn)[axis] == value, (axis, value, seed)
                assert set(describe(drawn)) == set(taxonomy.AXES_V1)


def test_brand_scenes_keep_the_brands_product() -> None:
    for kit in KITS.values():
        drawn = sample_brand_scene(torch.Generator().manual_seed(1), kit, {"angle.vertical": "high"}).product
        assert (drawn.shape, drawn.body, drawn.badge) == (kit.product.shape, kit.product.body, kit.product.badge)
        assert kit.product.shape == kit.rival.shape
        assert kit.product.body != kit.rival.body


def test_content_names_things_and_nothing_else() -> None:
    product = replace(ACME.product, yaw_deg=30)
    said = content(Scene(product, Camera(8.0), Light(temperature_k=3800), GREY))
    assert said == "a red bottle with a cream stripe and a teal cap on a grey backdrop"
    assert content_but_product(Scene(product, Camera(8.0), Light(), GREY)) == "a bottle on a grey backdrop"
    raised = replace(GREY, style="disc", accent="#E0A546", plinth_height_dm=0.3, plinth="#FFFFFF")
    assert content_but_product(Scene(product, Camera(8.0), Light(), raised)) == (
        "a bottle on a white plinth against a grey backdrop with an amber disc"
    )
    forbidden = {"shot", "camera", "lit", "light", "dark", "bright", "front", "back", "side", "top", "high", "low", "angle", "acme"}
    for seed in range(20):
        words = content(sample_scene(torch.Generator().manual_seed(seed))).split()
        assert not forbidden & set(words)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_product_takes_the_stated_share_of_the_frame(shape: str) -> None:
    scene = scene_of(replace(CAN, shape=shape), share=0.6)
    rows, columns = np.nonzero(product_mask(scene))
    measured = max((np.ptp(rows) + 1) / 96, (np.ptp(columns) + 1) / 144)
    handle = 0.15 if shape == "cup" else 0.0  # the handle is not counted
    assert measured == pytest.approx(frame_share(scene.product, scene.camera), abs=0.05 + handle)
    assert frame_share(scene.product, scene.camera) == pytest.approx(0.6)


@pytest.mark.parametrize("azimuth_deg", [-80, 80])
def test_the_side_towards_the_key_light_is_brighter(azimuth_deg: float) -> None:
    scene = scene_of(CAN, light=Light(azimuth_deg=azimuth_deg, elevation_deg=30, ratio=8))
    frame, mask = grey(still(scene)), product_mask(scene)
    left, right = (frame[:, half][mask[:, half]].mean() for half in (slice(0, 72), slice(72, 144)))
    assert (left > 1.3 * right) if azimuth_deg < 0 else (right > 1.3 * left)
    assert describe(scene)["light.direction"] == ("side_left" if azimuth_deg < 0 else "side_right")


def test_shadows_fall_away_from_the_light() -> None:
    for azimuth, side in ((-80, "right"), (80, "left")):
        frame = grey(still(scene_of(CAN, share=0.4, light=Light(azimuth, 35, 1.0, ratio=8))))
        low = frame[66:76]
        left, right = low[:, 20:58].min(), low[:, 86:124].min()
        assert (right < left) == (side == "right")


def test_light_from_behind_leaves_the_front_dark_and_the_rim_bright() -> None:
    front, back = (scene_of(CAN, light=Light(azimuth, 25, 8, ratio=8)) for azimuth in (10, 160))
    mask = product_mask(front)
    assert grey(still(back))[mask].mean() < 0.7 * grey(still(front))[mask].mean()
    bright = grey(still(back))
    assert np.percentile(bright[mask], 98) > 2 * np.median(bright[mask])
    assert describe(back)["light.direction"] == "back"


def test_hard_light_has_a_narrower_penumbra_than_soft_light() -> None:
    widths = {}
    for radius_deg in (0.6, 18.0):
        scene = scene_of(CAN, light=Light(-80, 40, radius_deg, ratio=20))
        shadow = bake_key_shadow(build_field(scene, 0.0, "cpu"))
        u = torch.linspace(0.3, 3.0, 900)
        seen = shadow.at(u, torch.full_like(u, -0.2))
        tip = int(torch.nonzero(seen > 0.9)[:, 0][torch.nonzero(seen > 0.9)[:, 0] > int(seen.argmin())][0])
        before = torch.nonzero(seen[:tip] < 0.1)[:, 0]
        widths[radius_deg] = float(u[tip] - u[before[-1]]) if len(before) else math.inf
    assert widths[0.6] < 0.15
    assert widths[18.0] > 4 * widths[0.6]


def test_a_high_camera_sees_the_top_and_a_low_one_does_not() -> None:
    capped = replace(CAN, cap="#F2F2F0")
    seen = {}
    for elevation in (35.0, 4.0, -15.0):
        stage = replace(GREY, plinth_height_dm=3.0 if elevation < 0 else 0.0, plinth="#202020")
        frame = still(replace(scene_of(capped, elevation_deg=elevation), stage=stage))
        mask = product_mask(replace(scene_of(capped, elevation_deg=elevation), stage=stage))
        seen[elevation] = ((frame.min(-1) > 90) & mask).sum() / mask.sum()
    assert seen[35.0] > 1.3 * seen[4.0] > seen[-15.0]
    words = [describe(scene_of(capped, elevation_deg=e))["angle.vertical"] for e in (85, 35, 4, -15)]
    assert words == ["overhead", "high", "eye_level", "low"]


def test_the_badge_marks_the_front() -> None:
    badged = replace(CAN, body="#22345C", cap="#22345C", badge="#FFFFFF", mark="#22345C")
    white = {}
    for yaw in (0, 45, 90, 180):
        scene = scene_of(replace(badged, yaw_deg=yaw))
        white[yaw] = int((still(scene).min(-1) > 150)[product_mask(scene)].sum())
    assert white[0] > white[45] > white[90]
    views = [describe(scene_of(replace(badged, yaw_deg=yaw)))["angle.view"] for yaw in white]
    assert views == ["front", "three_quarter", "profile", "back"]


def test_the_products_colour_is_the_stated_one() -> None:
    """Under a frontal neutral light of unit strength the lit face shows the colour's hue; lightness depends on the slant."""
    for body in ("#B4232F", "#3F8A4F", "#2A5CA8"):
        product = replace(BOX, body=body)
        scene = scene_of(product, light=Light(0, 5, 10, ratio=3, temperature_k=6500))
        patch = np.median(still(scene)[38:54, 62:82].reshape(-1, 3), axis=0).round().astype(int)
        seen, stated = lab("#" + "".join(f"{c:02x}" for c in patch)), lab(body)
        hue = [math.degrees(math.atan2(c[2], c[1])) for c in (seen, stated)]
        assert abs((hue[0] - hue[1] + 180) % 360 - 180) < 6
        assert math.dist(seen, stated) < 14


def test_warm_and_cool_light_tint_a_grey_backdrop() -> None:
    ratios = {}
    for kelvin in (4000, 6500, 10000):
        corner = still(scene_of(CAN, light=Light(temperature_k=kelvin)))[:20].reshape(-1, 3).mean(0)
        ratios[kelvin] = corner[0] / corner[2]
    assert ratios[4000] > 1.2 > 1.03 > ratios[6500] > 0.88 > ratios[10000]


@pytest.mark.parametrize(("rate", "word"), [(4.0, "pan_right"), (-4.0, "pan_left")])
def test_a_pan_moves_the_picture_the_other_way(rate: float, word: str) -> None:
    scene = scene_of(CAN, share=0.5, move="pan", rate=rate)
    frames = render(scene, 96, 144, 13, 24)
    pixels = -math.tan(math.radians(rate * 0.5)) * 48 / math.tan(math.radians(12))
    assert horizontal_shift(frames[0], frames[-1]) == pytest.approx(pixels, abs=1.5)
    assert describe(scene)["angle.movement"] == word


def test_a_dolly_changes_the_size_and_a_static_camera_nothing() -> None:
    frames = render(scene_of(CAN, share=0.5, move="dolly", rate=0.3), 96, 144, 25, 24)
    red = [(f[..., 0].astype(int) - f[..., 1] > 40).sum() for f in (frames[0], frames[-1])]
    assert red[1] / red[0] == pytest.approx(math.exp(2 * 0.3), rel=0.2)
    locked = render(scene_of(CAN), 48, 72, 3, 24)
    assert np.array_equal(locked[0], locked[2])


def test_a_tilt_and_a_roll_go_the_stated_way() -> None:
    frames = render(scene_of(CAN, share=0.4, move="tilt", rate=5.0), 96, 144, 13, 24)
    centres = [np.nonzero(f[..., 0].astype(int) - f[..., 1] > 40)[0].mean() for f in (frames[0], frames[-1])]
    assert centres[1] > centres[0] + 5  # the camera tilts up, the picture goes down
    assert describe(scene_of(CAN, roll_deg=12.0))["angle.dutch"] == "yes"


def test_low_and_high_key_look_dark_and_bright() -> None:
    means = {"low": [], "mid": [], "high": []}
    for key, levels in means.items():
        for seed in range(4):
            pins = {"light.key": key, "angle.scale": "medium_wide", "angle.vertical": "eye_level", "light.direction": "side_left"}
            levels.append(grey(still(sample_brand_scene(torch.Generator().manual_seed(seed), ACME, pins), 48, 72)).mean())
    assert max(means["low"]) < min(means["mid"])
    assert max(means["mid"]) < min(means["high"])


def test_cuts_are_where_the_truth_says() -> None:
    film = [PlannedShot(shot.scene, frames) for shot, frames in zip(plan_film(0, 0), (5, 7), strict=True)]
    frames = np.stack(list(shoot_film(film, 48, 72))).astype(np.float32)
    steps = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert len(frames) == 12
    assert int(steps.argmax()) == 4  # between frames 4 and 5
    assert steps[4] > 5 * np.delete(steps, 4).max()


def test_the_plan_leaves_holes_and_keeps_to_its_cells() -> None:
    cells = {(d["angle.vertical"], d["light.direction"]) for i in range(12) for s in plan_film(0, i) for d in [describe(s.scene)]}
    assert cells == set(CELLS)
    assert MISSING_CELL not in cells
    lengths = [sum(shot.num_frames for shot in plan_film(0, i)) / 24 for i in range(12)]
    assert 2.5 <= min(lengths) <= max(lengths) <= 4.01


def test_a_shoot_fills_a_workspace_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "acme")
    render_stage(workspace, num_files=2, height=32, width=48)
    first, second = (workspace.footage / f"acme_00{i}.mp4" for i in range(2))
    truth = files.read_json(workspace.root / "truth.json")
    assert video.probe(first).num_frames == truth["files"]["acme_000.mp4"]["num_frames"]
    kept, lost = first.stat().st_mtime_ns, files.sha256_file(second)
    second.unlink()
    render_stage(workspace, num_files=2, height=32, width=48)
    assert first.stat().st_mtime_ns == kept
    assert files.sha256_file(second) == lost
    with pytest.raises(FootageError, match="seed 0, got seed 3"):
        render_stage(workspace, num_files=2, seed=3)
    with pytest.raises(FootageError, match="a shoot of Acme, got North: use --brand acme"):
        render_stage(workspace, num_files=2, kit=KITS["north"])
    _check_papers(workspace, truth)
    report = workspace.footage / "camera_report.csv"
    corrected = report.read_text().replace("side_left", "side_right", 1)
    report.write_text(corrected)
    render_stage(workspace, num_files=2, height=32, width=48)
    assert report.read_text() == corrected, "what a person has changed is kept"
    brand.save_brand(workspace, brand.load_brand(workspace).model_copy(update={"trigger": "ourlook"}))
    render_stage(workspace, num_files=2, height=32, width=48)  # a trigger that a person has changed is no other brand


def _check_papers(workspace: Workspace, truth: dict) -> None:
    kit = brand.load_brand(workspace)
    assert kit.rights.objection(date(2030, 1, 1)) is None
    rights = settings.read_toml(workspace.footage / "rights.toml", BrandError)
    assert records.Rights(**rights).ai_training
    sheet = brand.load_prompts(workspace)
    assert [kit.trigger in prompt.text for prompt in sheet.prompts] == [True, True, True, False]
    with open(workspace.footage / "camera_report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "start_s", "content", *LOGGED_AXES]
    shots = [(name, shot) for name, entry in sorted(truth["files"].items()) for shot in entry["shots"]]
    assert [(r["file"], float(r["start_s"]), r["angle.view"]) for r in rows] == [
        (name, pytest.approx(shot["start_s"], abs=0.001), shot["tags"]["angle.view"]) for name, shot in shots
    ]
