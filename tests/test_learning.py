"""The rulers of the learning proof, on pictures and numbers whose answer is plain."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import learning_brand, learning_proof, learning_scores
from benchmarks.frames import softened
from benchmarks.judge import AXES, Judge, judge_frames
from benchmarks.learning import Bench, variants
from benchmarks.learning_proof import Lines, means_of
from benchmarks.learning_scores import Seen
from benchmarks.segmenter import load_segmenter, product_masks
from data_tools.stage import ACME, KITS, describe
from data_tools.stage.brands import FRESH, TRIED
from data_tools.stage.colours import NAMED
from data_tools.stage.lessons import lesson
from data_tools.stage.render import product_cover, render
from lora_studio.recipe import Recipe, load_recipe

ROWS = learning_brand.asked(ACME)


def card(*patches: tuple[str, tuple[slice, slice]], ground: str = NAMED["grey"]) -> np.ndarray:
    """One clip of three equal frames, (1, 3, 128, 192, 3): rectangles on a plain ground."""
    frame = np.empty((128, 192, 3), dtype=np.uint8)
    for colour, place in ((ground, (slice(None), slice(None))), *patches):
        frame[place] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.stack([frame] * 3)[None]


def seen(vectors: torch.Tensor) -> Seen:
    return Seen(functional.normalize(vectors, dim=-1), {})


def test_what_is_asked_for_names_the_brand_or_does_not() -> None:
    brand, control = ([row for row in ROWS if row.is_brand is side] for side in (True, False))
    assert (len(brand), len(control)) == (48, 32)
    assert all(row.text.startswith(f"{ACME.trigger}, ") for row in brand)
    assert not any(ACME.trigger in row.text for row in control)
    assert len({row.text for row in brand}) == 12
    assert len({(row.angle, row.light) for row in brand}) == 12
    assert all(f"a bottle on a {row.backdrop} backdrop" in row.text for row in brand)
    of_its_kind = [row for row in control if "bottle" in row.text]
    assert len(of_its_kind) == len(control) // 2


@pytest.mark.parametrize("name", sorted(FRESH))
def test_fresh_brands_share_no_word_and_no_scene_with_those_that_recipes_were_tried_on(name: str) -> None:
    rows = learning_brand.asked(FRESH[name])
    assert {(row.angle, row.light) for row in rows} == {(row.angle, row.light) for row in ROWS}
    theirs = {row.text for kit in TRIED.values() for row in learning_brand.asked(kit)}
    assert not theirs & {row.text for row in rows}
    sizes = [{row.scale for row in rows if not row.is_brand and (kind in row.text) is side}
             for kind in (FRESH[name].product.form.noun,) for side in (True, False)]  # fmt: skip
    assert [len(found) for found in sizes] == [3, 3], "without the trigger, either kind of product is asked for in all sizes"
    assert not {kit.product.body for kit in TRIED.values()} & {FRESH[name].product.body}


@pytest.mark.parametrize("name", sorted(KITS))
def test_a_brand_is_never_among_its_look_alikes(name: str) -> None:
    first, *others = learning_brand.look_alikes(KITS[name])
    assert first == KITS[name].product
    assert len(others) >= 10
    assert all((product.shape, product.body) != (first.shape, first.body) for product in others)


def test_real_footage_has_the_angle_light_and_size_of_the_prompt() -> None:
    asked = [row for row in ROWS if row.is_brand and row.seed == 0]
    assert len(asked) == 12
    for number, row in enumerate(asked):
        tags = describe(learning_brand.brand_scene(ACME, number, row))
        assert (tags["angle.vertical"], tags["light.direction"], tags["angle.scale"]) == (row.angle, row.light, row.scale)


def test_the_judge_is_of_one_mind_about_a_picture_and_its_mirror_image() -> None:
    torch.manual_seed(0)
    judge, frames = Judge().eval(), np.random.default_rng(0).integers(0, 256, (2, 128, 192, 3), dtype=np.uint8)
    one, other = judge_frames(judge, frames), judge_frames(judge, frames[:, :, ::-1])
    for axis in ("shape", "colour", "angle"):
        torch.testing.assert_close(one[axis], other[axis])
    assert not torch.allclose(one["light"], other["light"]), "light has a side"


def test_softened_frames_keep_their_content_and_most_of_them_lose_their_outline() -> None:
    frame = -torch.ones(200, 3, 64, 96)
    frame[:, 0, 16:48, 32:64] = 1.0
    soft = softened(frame, torch.Generator().manual_seed(0))
    untouched = (soft == frame).flatten(1).all(1)
    assert untouched.float().mean().item() == pytest.approx(0.4, abs=0.1)
    assert (soft[:, 0, 28:36, 44:52] > 0.5).float().mean() > 0.95, "the middle of the square is where it was"
    assert (soft[:, 1:] < -0.99).all(), "no other colour comes in"
    amounts = (soft - frame)[~untouched, 0].abs().mean((1, 2))
    assert amounts.max() > 3 * amounts.min(), "each in its own way"


class NotGrey(nn.Module):
    """Takes all that is not as grey as the card's ground for the product."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> logits (B, H, W)."""
        ground = torch.tensor([int(NAMED["grey"][i : i + 2], 16) for i in (1, 3, 5)]) / 127.5 - 1
        return (frames - ground[:, None, None]).abs().amax(1) - 0.02


def cells(*patches: tuple[str, tuple[slice, slice]]) -> list[learning_scores.Cells]:
    return learning_scores.product_cells(NotGrey(), card(*patches))


def test_palette_counts_the_products_colours_where_the_product_is() -> None:
    product, middle = ACME.product, slice(40, 90)
    places = [(middle, slice(20 + 50 * number, 60 + 50 * number)) for number in range(3)]
    whole, body, nothing = (learning_scores.colour_shares(patches, product) for patches in (
        cells(*zip((product.body, product.cap, product.band or ""), places, strict=True)),
        cells((product.body, places[0])), cells()))  # fmt: skip
    assert whole == pytest.approx(np.full((1, 3), 0.3), abs=0.05)  # edges are mixed with the ground
    assert body == pytest.approx(np.array([[0.8, 0.0, 0.0]]), abs=0.05)
    assert nothing.tolist() == [[0.0, 0.0, 0.0]]
    usual = learning_scores.usual_shares(whole)
    assert learning_scores.palette(np.concatenate([whole, body, nothing]), usual) == pytest.approx([1, 1 / 3, 0], abs=0.03)


def test_half_as_much_of_a_colour_as_usual_counts_half() -> None:
    real = np.array([[0.6, 0.2, 0.0]] * 5)
    usual = learning_scores.usual_shares(real)
    assert usual.tolist() == [0.6, 0.2, 0.01]
    assert learning_scores.palette(np.array([[0.3, 0.4, 0.01]]), usual) == pytest.approx([(0.5 + 1 + 1) / 3])


def test_what_is_not_the_product_has_no_say() -> None:
    backdrop = card((NAMED["blue"], (slice(40, 100), slice(80, 110))), ground=ACME.product.band or "")

    class Blue(nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames[:, 2] - frames[:, 0] - 0.2

    shares = learning_scores.colour_shares(learning_scores.product_cells(Blue(), backdrop), ACME.product)
    assert shares[0, 2] < 0.1


def test_colour_and_side_are_read_from_pixels() -> None:
    box = (slice(40, 100), slice(80, 110))
    patches = ((NAMED["blue"], (box[0], slice(80, 95))), ("#5A8CD8", (box[0], slice(95, 110))))
    mirrored = tuple((colour, (rows, slice(191 - place.stop, 191 - place.start))) for colour, (rows, place) in patches)
    assert learning_scores.measured_colours(cells((NAMED["red"], box))) == ["red"]
    assert learning_scores.measured_colours(cells()) == [""]
    assert learning_scores.brighter_sides(cells(*patches)) == ["side_right"]
    assert learning_scores.brighter_sides(cells(*mirrored)) == ["side_left"]


@pytest.mark.parametrize("size", [(64, 96), (60, 96)])
def test_the_segmenter_finds_a_product_that_it_never_saw(size: tuple[int, int]) -> None:
    stills = [lesson("stills", 3_000_000 + number) for number in range(40)]
    shown = [item for item in stills if item.truth["tags"]["angle.scale"] == "medium"][:6]
    frames = np.concatenate([render(item.scene, 128, 192, 1, 12) for item in shown])
    truth = np.stack([product_cover(item.scene, *size, 1, 12)[0] for item in shown]) > 0.5
    found = product_masks(load_segmenter(), frames, size)
    assert found.shape == truth.shape
    assert (found & truth).sum() / (found | truth).sum() > 0.8


class Nothing(nn.Module):
    """Sees no product anywhere."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> logits (B, H, W)."""
        return -torch.ones_like(frames[:, 0])


def named_as_asked(rows: list[learning_brand.Asked]) -> dict[str, torch.Tensor]:
    return {axis: torch.tensor([AXES[axis].index(getattr(row, axis)) for row in rows]) for axis in ("angle", "light")}


def proof_of(monkeypatch: pytest.MonkeyPatch, scores: dict[str, np.ndarray]) -> learning_proof.Proof:
    """A proof of drawn numbers: `scores` are the palettes of the base, the adapter and real footage; each side's clips are told by
    what all their pixels are: its number. The adapter takes every back light for light from above."""
    proof, numbers = object.__new__(learning_proof.Proof), list(scores.values())
    features = [functional.normalize(torch.randn(len(values), 8), dim=-1) for values in numbers]

    def look(_judge: nn.Module, made: np.ndarray) -> Seen:
        number, named = int(made.flat[0]), named_as_asked(ROWS)
        if number == 1:
            named["light"][named["light"] == AXES["light"].index("back")] = AXES["light"].index("top")
        return Seen(features[number], named)

    monkeypatch.setattr(learning_proof, "look", look)
    monkeypatch.setattr(learning_proof.Proof, "raw", lambda _self, made, _seen: {"palette": numbers[int(made.flat[0])]})
    proof.kit, proof.rows, proof.judge, proof.segmenter = ACME, ROWS, Judge(), Nothing()
    proof.real_rows = [row for row in ROWS if row.is_brand and row.seed < 2]
    proof.trained_cells = {(row.angle, row.light) for row in ROWS if row.light != "back"}
    proof.base, proof.real = (np.full((len(numbers[n]), 3, 128, 192, 3), n, dtype=np.uint8) for n in (0, 2))
    proof.decoded, proof.training = proof.real, features[2]
    proof.real_seen = Seen(features[2], named_as_asked(proof.real_rows))
    return proof


def test_a_line_tells_what_moved_with_the_trigger_and_what_without(monkeypatch: pytest.MonkeyPatch) -> None:
    brand = np.array([row.is_brand for row in ROWS])
    wave = 0.01 * (np.arange(len(ROWS)) % 2)
    base = 0.2 + wave
    adapter = np.where(brand, 0.6, 0.3) + wave  # half of the way with the trigger, an eighth without
    proof = proof_of(monkeypatch, {"base": base, "adapter": adapter, "real": 1.0 + wave[:24]})
    line = proof.measure(np.ones((len(ROWS), 3, 128, 192, 3), dtype=np.uint8))
    assert line["palette index"] == pytest.approx(50, abs=1)
    assert line["palette leakage"] == pytest.approx(12.5, abs=1)
    assert line["palette index decoded"] == 100
    assert line["palette index low"] == pytest.approx(50, abs=1)
    backs = np.array([row.light == "back" for row in ROWS])
    assert line["fidelity loss"] == pytest.approx(backs.mean() / 2, abs=1e-4)
    assert line["fidelity loss unshot"] == pytest.approx(0.5), "only back light was never trained on"
    assert line["backdrop base"] == pytest.approx(1 / 6, abs=1e-4), "all clips are black: charcoal"


def test_the_strip_shows_every_light_and_angle() -> None:
    shown = [[row for row in ROWS if row.is_brand and row.seed == 0][number] for number in learning_proof.PICTURED]
    assert {row.light for row in shown} == set(learning_brand.LIGHTS)
    assert [row.angle for row in shown] == [angle for angle in learning_brand.ANGLES for _ in range(2)]


def test_identity_goes_to_the_nearest_product() -> None:
    draws = torch.Generator().manual_seed(0)
    gallery = [torch.eye(4)[number] + 0.05 * torch.randn(12, 4, generator=draws) for number in range(4)]
    clips = seen(torch.stack([gallery[0][0], gallery[2][0], gallery[0][1]]))
    assert learning_scores.identity(clips, gallery).tolist() == [1.0, 0.0, 1.0]


def test_fidelity_is_the_share_of_angle_and_light() -> None:
    row = ROWS[0]
    answers = {"angle": torch.tensor([AXES["angle"].index(row.angle)] * 2),
               "light": torch.tensor([AXES["light"].index(row.light), AXES["light"].index("top")])}  # fmt: skip
    assert learning_scores.fidelity(Seen(torch.zeros(2, 1), answers), [row, row]).tolist() == [1.0, 0.5]


def test_copies_are_told_from_footage_of_the_same_kind() -> None:
    draws = torch.Generator().manual_seed(0)
    training, real = torch.randn(40, 32, generator=draws), seen(torch.randn(400, 32, generator=draws))
    alike = seen(torch.randn(400, 32, generator=draws))
    unit = functional.normalize(training, dim=-1)
    assert learning_scores.copies(alike, real, unit) < 0.15
    assert learning_scores.copies(seen(training), real, unit) == 1.0
    few = [learning_scores.copies(alike, seen(torch.randn(24, 32, generator=draws)), unit) for _ in range(300)]
    assert np.mean(few) == pytest.approx(0.05, abs=0.015), "of 24 real clips, too"


def test_equal_seeds_have_no_diversity() -> None:
    rows = [replace(ROWS[0], seed=seed) for seed in (0, 1)]
    assert learning_scores.diversity(seen(torch.tensor([[1.0, 0], [1, 0]])), rows) == pytest.approx(0)
    assert learning_scores.diversity(seen(torch.tensor([[1.0, 0], [0, 1]])), rows) == pytest.approx(1)


def test_the_index_runs_from_base_to_real_and_says_nothing_without_room() -> None:
    base, real = np.array([0.1, 0.3] * 10), np.array([0.8, 0.6] * 10)
    assert learning_scores.index(base, base, real) == pytest.approx(0)
    assert learning_scores.index(real, base, real) == pytest.approx(100)
    assert learning_scores.index((base + real) / 2, base, real) == pytest.approx(50)
    assert learning_scores.index(base, real, base) == pytest.approx(100)  # lower can be better
    assert learning_scores.index(base, base, base + 0.01) is None


def test_means_are_over_brands_and_intervals_over_seeds() -> None:
    lines = [{"brand": brand, "seed": seed, "x": 10.0 * seed + add, "y": None if brand == "a" else 4.0}
             for brand, add in (("a", -1.0), ("b", 1.0)) for seed in (0, 1, 2)]  # fmt: skip
    found = means_of(lines)
    assert (found["x"]["mean"], found["x"]["a"], found["x"]["b"]) == (10, 9, 11)
    assert found["x"]["±"] == pytest.approx(4.3027 * 10 / 3**0.5, rel=1e-3)
    assert found["y"] == {"mean": 4.0, "±": 0.0, "b": 4.0}
    assert means_of([*lines, {"brand": "a", "seed": 3, "x": 1000.0, "y": 1000.0}]) == found, "seed 3 has one brand of two"


def test_lines_are_kept_for_the_same_model_and_recipe_only(tmp_path: Path) -> None:
    path, same = tmp_path / "learning_brands.json", {"model": "a" * 64, "recipe": "b" * 64}
    Lines(path, same).add({"brand": "acme", "seed": 0, "x": 1.0})
    again = Lines(path, same)
    again.add({"brand": "acme", "seed": 1, "x": 2.0})
    assert [line["x"] for line in Lines(path, same).lines] == [1.0, 2.0]
    beside = Lines(path, same)  # another process, at work on another brand
    beside.add({"brand": "north", "seed": 0, "x": 3.0})
    again.add({"brand": "north", "seed": 1, "x": 4.0})
    assert [line["x"] for line in beside.lines] == [1.0, 2.0, 3.0, 4.0]
    assert again.has(brand="acme", seed=1)
    assert not again.has(brand="lumen", seed=1)
    with pytest.raises(SystemExit, match="was measured with another recipe: move it away"):
        Lines(path, {**same, "recipe": "c" * 64})
    assert len(again.lines) == 4, "nothing is lost"


def test_every_variant_can_be_trained_under_its_name() -> None:
    recipe = Path(__file__).parents[1] / "recipes" / "nano_look.toml"
    bench = Bench(Path("model"), "nano", Path("work"), load_recipe(recipe), TRIED, ["acme"])
    assert len(variants()) == 48
    for name, changes in variants().items():
        Recipe(name=bench.run_name(name))  # a recipe's name is a run's
        assert f"r{load_recipe(recipe, tuple(changes)).adapter.rank}-" in name


def test_an_interval_over_prompts_is_wide_where_prompts_differ():
    prompts, real_prompts = [name for name in "abcdef" for _ in range(4)], [name for name in "abcdef" for _ in range(2)]
    base, real, alike = np.zeros(24), np.ones(12), np.full(24, 0.6)
    assert learning_scores.index_interval(alike, base, real, prompts, real_prompts) == pytest.approx((60, 60))
    unlike = np.repeat([0.0, 1.0, 0.6, 0.6, 0.4, 1.0], 4)
    low, high = learning_scores.index_interval(unlike, base, real, prompts, real_prompts)
    assert 20 < low < 45
    assert 75 < high < 95


def test_a_backdrop_is_named_by_what_is_not_the_product():
    clips = np.concatenate([card((NAMED["red"], (slice(20, 100), slice(60, 140))), ground=NAMED[name])
                            for name in learning_brand.BACKDROPS])  # fmt: skip

    class Red(nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames[:, 0] - frames[:, 1] - 0.4

    assert learning_scores.backdrops(Red(), clips) == list(learning_brand.BACKDROPS)
