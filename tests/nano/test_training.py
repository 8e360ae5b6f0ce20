"""The three trainings of nova-nano on a handful of drawn lessons: they run, resume, and write what loads."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from data_tools.stage.lessons import lesson
from lora_studio.errors import TrainingError
from lora_studio.nano import train_backbone, train_vae, train_vision
from lora_studio.nano.build import build
from lora_studio.nano.latents import Latents, encode_lessons
from lora_studio.nano.lessons import Lessons, as_pixels, draw_lesson, draw_name
from lora_studio.nano.progress import Course
from lora_studio.nova import weights
from lora_studio.nova.vae import AutoencoderKLOpenSora
from lora_studio.taxonomy import AXES_V1
from lora_studio.vision import load_vision


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn clips and two stills, and an untrained model set beside them."""
    folder = tmp_path_factory.mktemp("nano_work")
    (folder / "lessons").mkdir()
    chance = np.random.default_rng(0)
    for kind, num_frames in (("clips", 9), ("stills", 1)):
        frames = np.repeat(np.repeat(chance.integers(0, 255, (2, 1, 8, 12, 3), dtype=np.uint8), 16, axis=2), 16, axis=3)
        np.save(folder / "lessons" / f"{kind}_000000.npy", np.repeat(frames, num_frames, axis=1))
        truths = [json.dumps(lesson(kind, number).truth) + "\n" for number in range(2)]
        covers = chance.integers(0, 255, (2, (num_frames + 3) // 4, 8, 12), dtype=np.uint8)
        np.save(folder / "lessons" / f"cover_{kind}_000000.npy", covers)
        (folder / "lessons" / f"{kind}_000000.jsonl").write_text("".join(truths))
    build(folder / "model", 0)
    return folder


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lessons", "latents"):
        monkeypatch.setattr(f"lora_studio.nano.{module}.LESSONS_A_FILE", 2)
    monkeypatch.setattr("lora_studio.nano.latents._BATCH", {"clips": 2, "stills": 2, "held": 2})


def _course(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_vae_is_trained_and_its_latents_are_of_unit_size(work: Path) -> None:
    course = _course(work, "vae", "steps = 4\nbatch_size = 1\nlr = 1e-4\nwarmup_steps = 1\n")
    train_vae.train(course, work, 5.0, work / "model")
    vae = weights.load_vae(work / "model")
    pixels = as_pixels([np.load(work / "lessons" / "clips_000000.npy")[0]])
    latents = torch.cat([vae.scale(vae.encode(pixels).mean), vae.scale(vae.encode(pixels.flip(1)).mean)])
    assert latents.shape == (2, 8, 3, 16, 24)
    assert 0.3 < float(latents.std()) < 3


def test_each_pixel_knows_how_much_of_its_patch_the_product_covers(work: Path) -> None:
    lessons = Lessons(work / "lessons", "clips")
    cover = np.load(work / "lessons" / "cover_clips_000000.npy")[0]  # (3, 8, 12)
    pixels, cover_seen = train_vae._with_cover(lessons, 0)[..., :3], train_vae._with_cover(lessons, 0)[..., 3]
    assert np.array_equal(pixels, lessons.frames(0))
    of_latent_frame = [0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert np.array_equal(cover_seen[:, 8::16, 8::16], cover[of_latent_frame])
    assert np.array_equal(cover_seen, cover_seen[:, 8::16, 8::16].repeat(16, 1).repeat(16, 2))


def test_errors_on_the_product_weigh_more(work: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLOpenSora(**train_vae.sizes.VAE).eval()
    course = train_vae.VaeCourse(steps=1, batch_size=1, lr=1.0, product_weight=3.0)
    pixels, cover = torch.zeros(1, 3, 1, 32, 48), torch.zeros(1, 1, 1, 32, 48)
    pixels[..., :24] = 1.0  # an untrained decoder makes grey: all of the error is on the left
    cover[..., :24] = 1.0
    with torch.no_grad():
        left, right = (
            float(train_vae.loss_of(vae, pixels, course, torch.Generator().manual_seed(0), cover=where)["pixels"])
            for where in (cover, 1 - cover)
        )
    assert left > 1.5 * right


def test_wrong_colours_and_latents_that_wander_cost_more(work: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLOpenSora(**train_vae.sizes.VAE).eval()
    course = train_vae.VaeCourse(steps=1, batch_size=1, lr=1.0, colours=1.0, stay=1.0)
    red = torch.tensor([0.9, -0.9, -0.9])[:, None, None, None].expand(1, 3, 1, 32, 48)
    grey = red.mean(1, keepdim=True).expand_as(red)

    def losses(pixels: torch.Tensor, begun: AutoencoderKLOpenSora) -> dict[str, torch.Tensor]:
        return train_vae.loss_of(vae, pixels, course, torch.Generator().manual_seed(0), begun=begun)

    with torch.no_grad():
        assert losses(red, vae)["colours"] > 3 * losses(grey, vae)["colours"], "an untrained decoder makes grey"
        assert losses(red, vae)["stay"] == 0
        assert losses(red, AutoencoderKLOpenSora(**train_vae.sizes.VAE).eval())["stay"] > 0


def test_a_course_for_the_decoder_leaves_latents_as_they_are(work: Path) -> None:
    first = _course(work, "vae_first", "steps = 1\nbatch_size = 1\nlr = 1e-4\nwarmup_steps = 1\n")
    train_vae.train(first, work, 5.0, work / "first")
    start = work / "first" / "vae" / "diffusion_pytorch_model.safetensors"
    course = _course(work, "vae_decoder", "steps = 2\nbatch_size = 1\nlr = 1e-3\nwarmup_steps = 1\ndecoder_only = true\n")
    with pytest.raises(TrainingError, match="vae_decoder.toml keeps the latents .* with --start"):
        train_vae.train(course, work, 5.0, None)
    train_vae.train(course, work, 5.0, work / "again", start)
    before, after = load_file(start), load_file(work / "again" / "vae" / "diffusion_pytorch_model.safetensors")
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"decoder", "post_quant_conv"}


def test_balancing_changes_latents_and_not_pictures(work: Path) -> None:
    torch.manual_seed(0)
    vae, lessons = AutoencoderKLOpenSora(**train_vae.sizes.VAE).eval(), Lessons(work / "lessons", "clips")
    train_vae.start_straight_(vae)
    pixels = as_pixels([lessons.frames(0), lessons.frames(1)])
    with torch.no_grad():
        before = vae.encode(pixels)
        shown = vae.decode(before.mean)
        train_vae.balance_(vae, lessons)
        after = vae.encode(pixels)
        again = vae.decode(after.mean)
    assert torch.allclose(again, shown, atol=1e-4)
    assert torch.allclose(after.mean.mean(dim=(0, 2, 3, 4)), torch.zeros(8), atol=1e-4)
    factor = after.mean.std(dim=(0, 2, 3, 4)) / before.mean.std(dim=(0, 2, 3, 4))
    assert torch.allclose(after.std.mean(dim=(0, 2, 3, 4)), before.std.mean(dim=(0, 2, 3, 4)) * factor, rtol=1e-3)


def test_channels_are_as_large_as_what_they_do_to_pixels(work: Path) -> None:
    torch.manual_seed(0)
    vae, lessons = AutoencoderKLOpenSora(**train_vae.sizes.VAE).eval(), Lessons(work / "lessons", "clips")
    train_vae.start_straight_(vae)
    pixels = as_pixels([lessons.frames(0), lessons.frames(1)])
    train_vae.balance_(vae, lessons)
    with torch.no_grad():
        latents = vae.encode(pixels).mean
        shown = vae.decode(latents[:, :, :1])
        deviations = latents.std(dim=(0, 2, 3, 4))
        effects = []
        for channel in range(8):
            louder = latents[:, :, :1].clone()
            louder[:, channel] *= 1.2
            effects.append(float((vae.decode(louder) - shown).square().mean().sqrt()))
    assert sorted(deviations.tolist(), reverse=True)[:3] == pytest.approx([1.0] * 3, abs=1e-3)
    assert 0.149 < float(deviations.min()) < 0.9
    ranked = sorted(range(8), key=lambda channel: float(deviations[channel]))
    assert effects[ranked[0]] < effects[ranked[-1]]


def test_the_straight_start_lets_pictures_through_its_residual_blocks() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLOpenSora(**train_vae.sizes.VAE)
    train_vae.start_straight_(vae)
    x = torch.randn(1, train_vae.sizes.VAE["block_out_channels"][-1], 2, 4, 6)
    with torch.no_grad():
        (through,) = vae.decoder.mid_block([x.clone()])
        larger = vae.decoder.up_blocks[0].upsamplers[0]([x.clone()])[0]  # pyright: ignore[reportIndexIssue]
    assert torch.equal(through, x)
    assert float(torch.corrcoef(torch.stack([larger[:, :, 0, ::2, ::2].flatten(), x[:, :, 0].flatten()]))[0, 1]) > 0.9


def test_the_straight_start_keeps_what_is_asked_of_the_latents() -> None:
    """Before any training, a linear reading of the encoder's last channels tells the patterns of every cell."""
    torch.manual_seed(0)
    vae = AutoencoderKLOpenSora(**train_vae.sizes.VAE)
    train_vae.start_straight_(vae)
    coarse = torch.rand(6, 3, 16, 24)
    pixels = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear").unsqueeze(2) * 2 - 1
    encoder = vae.encoder
    with torch.no_grad():
        parts = [encoder.conv_in(pixels[:, :, 0]).unsqueeze(2)]
        for block in encoder.down_blocks:
            parts = block(parts)
        (seen,) = encoder.mid_block(parts)
    wanted = train_vae.cell_patterns(pixels)
    rows, asked = (values[..., 1:-1, 1:-1].transpose(0, 1).flatten(1).T for values in (seen, wanted))
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    left = asked - rows @ torch.linalg.lstsq(rows, asked).solution
    assert len(rows) > 5 * rows.shape[1]
    assert (left.std(0) / asked.std(0)).max() < 0.35


def test_the_straight_start_shows_the_mean_colours_of_cells() -> None:
    """Before any training, in each of the three directions of colour; half of the picture is grey, for the norms to measure by."""
    torch.manual_seed(0)
    vae = AutoencoderKLOpenSora(**train_vae.sizes.VAE)
    train_vae.start_straight_(vae)
    colours = torch.rand(12, 3) * 2 - 1
    pixels = colours[:, :, None, None, None].expand(-1, -1, 1, 64, 64).clone()
    pixels[..., 32:] = 0
    with torch.no_grad():
        shown = vae.decode(train_vae.cell_patterns(pixels))[:, :, 0, 8:-8, 8:24].mean(dim=(2, 3))
    for direction in torch.tensor(train_vae._OPPONENTS):
        told = torch.corrcoef(torch.stack([shown @ direction, colours @ direction]))[0, 1]
        assert float(told) > 0.6, direction


def test_patterns_tell_colour_and_edges_of_a_cell() -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None, None].expand(1, 3, 1, 8, 8)
    found = train_vae.cell_patterns(red)[0, :, 0, 0, 0]
    assert torch.allclose(found[:3], torch.tensor([-0.6, 3.4, 1.4]), atol=1e-5)
    assert torch.allclose(found[3:], torch.zeros(5), atol=1e-5)
    edge = torch.ones(1, 3, 5, 8, 16)
    edge[..., 4:8] = -1  # the right half of the left cell is dark
    edge[:, :, 1:3] = 0  # in two of the four later frames there is nothing
    found = train_vae.cell_patterns(edge)[0]
    assert found.shape == (8, 2, 1, 2)
    assert float(found[4, 0, 0, 0]) > 5
    assert torch.allclose(found[:, 1], found[:, 0] / 2, atol=1e-5)
    assert torch.allclose(found[3:, :, 0, 1], torch.zeros(5, 2), atol=1e-5)


def test_transformer_and_text_encoder_are_trained_together(work: Path) -> None:
    before = weights.load_text(work / "model").encode(["a red can"])[0]
    lines = "steps = 4\nbatch_size = 2\nclip_batch_size = 1\nlr = 1e-3\nwarmup_steps = 1\nstills_share = 0.5\nheld_share = 0.5\n"
    course = _course(work, "backbone", lines)
    train_backbone.train(course, work, work / "model", 5.0)
    after = weights.load_text(work / "model").encode(["a red can"])[0]
    assert not torch.equal(before, after)
    assert weights.load_transformer(work / "model").num_patches == 96
    with safe_open(work / "backbone.safetensors", "pt") as file:
        assert file.metadata()["step"] == "4"


def test_a_still_that_is_held_is_what_a_camera_sees_that_does_not_move(work: Path) -> None:
    stills = Lessons(work / "lessons", "stills")
    encode_lessons(stills, work / "model", work / "latents", held=1)
    held, vae = Latents(stills, work / "latents", held=1), weights.load_vae(work / "model")
    assert len(held) == len(stills) == 2, "whole files"
    pixels = as_pixels([stills.frames(1)]).repeat(1, 1, 9, 1, 1)
    with torch.inference_mode():
        other = (held.rows([1]) - vae.scale(vae.encode(pixels).mean)).abs().mean()
    assert float(other) < 0.05 * float(held.rows([1]).std()), "but for bfloat16"
    said = [train_backbone.caption_of(stills, 1, 0.0, random.Random(seed), held=True) for seed in range(200)]
    ways = AXES_V1["angle.movement"]
    moves = {phrase for phrases in ways.values() for phrase in phrases} - set(ways["static"])
    assert not [text for text in said if any(f" {move}" in text.lower() for move in moves)]
    assert any(ways["static"][0] in text.lower() for text in said)


def test_a_name_in_front_tells_the_colour_that_words_leave_out() -> None:
    class OneJar(Lessons):
        def __init__(self) -> None:
            self.truths = [lesson("stills", 5).truth]  # pyright: ignore[reportIncompatibleVariableOverride]

    lessons, chance = OneJar(), random.Random(0)
    body = lessons.truths[0]["body"]
    names = {draw_name(body, random.Random(seed)) for seed in range(400)}
    captions = [train_backbone.caption_of(lessons, 0, 0.0, chance) for _ in range(2000)]
    named = [caption.partition(", ")[0] in names for caption in captions]
    silent = [f" {body} " not in f" {caption}" for caption in captions]
    assert 0.5 < sum(n and s for n, s in zip(named, silent, strict=True)) / sum(silent) < 0.7
    assert 0.05 < sum(n and not s for n, s in zip(named, silent, strict=True)) / (len(silent) - sum(silent)) < 0.15


def test_lessons_without_an_outline_are_shown_less_often() -> None:
    class TwoScales(Lessons):
        def __init__(self) -> None:
            self.truths = [{"tags": {"angle.scale": scale}} for scale in ("medium", "wide")]  # pyright: ignore[reportIncompatibleVariableOverride]

        def __len__(self) -> int:
            return 2

    chance = random.Random(0)
    drawn = [draw_lesson(TwoScales(), 0.25, chance) for _ in range(2000)]
    assert drawn.count(1) / drawn.count(0) == pytest.approx(0.25, abs=0.05)


def test_visible_patches_get_noise_of_their_channels_size() -> None:
    sizes = torch.tensor([1.0, 0.2])[:, None, None, None]
    latents = sizes * torch.randn(64, 2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    noise = train_backbone.spoiled(latents, 0.3, 0.0, 0.0, random.Random(0)) - latents
    strengths = noise.std(dim=(2, 3, 4)) / latents.std(dim=(0, 2, 3, 4))  # (64, 2)
    assert strengths.min() < 0.02
    assert 0.28 < strengths.max() < 0.33
    assert strengths[:, 0] == pytest.approx(strengths[:, 1], rel=0.2)
    assert torch.equal(train_backbone.spoiled(latents, 0.0, 0.0, 0.0, random.Random(0)), latents)


def test_visible_patches_drift_together_and_blur_in_places() -> None:
    latents = torch.randn(64, 2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    drift = train_backbone.spoiled(latents, 0.0, 0.5, 0.0, random.Random(0)) - latents
    assert 0.3 < drift.std(dim=(1, 2, 3, 4)).max() < 0.6
    steps = (drift[..., 1:] - drift[..., :-1]).abs().mean()
    assert steps < 0.4 * drift.abs().mean(), "neighbours are off alike"
    assert not torch.allclose(drift[:, :, 0], drift[:, :, 1]), "each frame by itself"
    blurred = train_backbone.spoiled(latents, 0.0, 0.0, 0.9, random.Random(0))
    left = blurred.std(dim=(1, 2, 3, 4)) / latents.std(dim=(1, 2, 3, 4))
    assert left.min() < 0.7 < 0.95 < left.max(), "from hardly to strongly"
    flat = torch.ones(2, 2, 3, 16, 24)
    torch.testing.assert_close(train_backbone.spoiled(flat, 0.0, 0.0, 0.9, random.Random(0)), flat)


def test_the_pupil_reads_as_the_text_encoder_does(work: Path) -> None:
    text = weights.load_text(work / "model")
    pupil = train_backbone.Pupil(work / "model")
    captions = ["a red can", "", "the camera pans left across a blue table, lit from behind"]
    for ours, theirs in zip(pupil.encode(captions), text.encode(captions), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert pupil.encode([""])[0].shape == (0, 128)  # a batch of nothing but null prompts


def test_the_vision_model_is_trained_and_loads(work: Path) -> None:
    course = _course(work, "vision", "steps = 3\nbatch_size = 4\nlr = 1e-3\nwarmup_steps = 1\n")
    train_vision.train(course, work, work / "model", 5.0)
    vision = load_vision(work / "model" / "open_clip")
    frame = np.load(work / "lessons" / "stills_000000.npy")[0]
    assert vision.embed_images(frame).shape == (1, 64)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("a red jar with a white stripe on a grey backdrop with an amber disc", "a grey backdrop"),
        ("a blue box on a white plinth against a mint backdrop", "a mint backdrop"),
        ("a teal cup lying on a beige surface", "a beige surface"),
    ],
)
def test_the_place_is_what_all_pictures_before_it_have_in_common(content: str, place: str) -> None:
    assert train_vision._set_of(content) == place


def test_training_shows_the_vision_model_what_it_will_be_shown(work: Path) -> None:
    frame = np.load(work / "lessons" / "stills_000000.npy")[0, 0]
    vision = load_vision(work / "model" / "open_clip")
    shown = vision._preprocess(Image.fromarray(frame))
    trained_on = train_vision.prepare(as_pixels([frame[None]])[:, :, 0])[0]
    assert shown.shape == trained_on.shape
    assert float((shown - trained_on).abs().mean()) < 0.02


def test_a_text_fits_every_picture_it_is_true_of() -> None:
    facts = [{"shape": "can", "body": "red"}, {"shape": "can", "body": "blue"}, {"card": "red"}]
    claims = [{"shape": "can"}, {"shape": "can", "body": "blue"}, {"card": "red"}]
    right = train_vision.fits(facts, claims)
    assert right.tolist() == [[True, False, False], [True, True, False], [False, False, True]]
    sure = torch.where(right, 50.0, -50.0)
    assert float(train_vision.loss_of(sure, right)) < float(train_vision.loss_of(torch.zeros(3, 3), right))


def test_claims_are_part_of_the_facts() -> None:
    chance = random.Random(0)
    facts = train_vision.facts_of(lesson("stills", 4).truth, flip=True)
    for _ in range(200):
        claims, text = train_vision.claim(facts, chance)
        assert claims.items() <= facts.items()
        assert text.strip(" ,")


def test_courses_of_the_recipes_are_whole() -> None:
    folder = Path(__file__).parents[2] / "recipes" / "nano"
    vae = train_vae.VaeCourse
    kinds = {"vae": vae, "vae_movement": vae, "vae_decoder": vae, "vae_colours": vae}
    kinds |= {"backbone": train_backbone.BackboneCourse, "vision": Course}
    assert {path.stem for path in folder.glob("*.toml")} == kinds.keys()
    for name, kind in kinds.items():
        assert isinstance(train_vae.read_course(folder / f"{name}.toml", kind), kind)


@torch.no_grad()
def test_the_outlook_reads_the_cells_of_every_frame_in_their_order(work: Path) -> None:
    """Tokens that say nothing but their place, and a reading that knows what stands in each place: no error is left."""
    pupil = train_backbone.Pupil(work / "model")
    frames, rows, columns, side = 2, 4, 6, 4
    cells = torch.randn(frames * rows * columns, 8 * side * side, generator=torch.Generator().manual_seed(0))
    latents = torch.empty(1, 8, frames, rows * side, columns * side)
    for place, cell in enumerate(cells):
        frame, row, column = place // (rows * columns), place // columns % rows, place % columns
        latents[0, :, frame, row * side : (row + 1) * side, column * side : (column + 1) * side] = cell.view(8, side, side)
    places = torch.zeros(1, 5 + len(cells), pupil.outlook.in_features)  # five tokens of text come first
    places[0, 5:, : len(cells)] = torch.eye(len(cells))
    pupil.outlook.weight.zero_()
    pupil.outlook.bias.zero_()
    pupil._handed_over = places
    weights = torch.ones(1, frames, 4 * rows * columns)  # four patches in each cell
    assert pupil.outlook_error(latents, weights) == pytest.approx(float(latents.square().mean()))
    pupil.outlook.weight[:, : len(cells)] = cells.T
    assert pupil.outlook_error(latents, weights) < 1e-10
    pupil.outlook.weight.zero_()
    weights.zero_()[0, 1, 12 * 2 + 2] = 1.0  # a patch of the cell in row 1, column 1 of the second frame
    assert pupil.outlook_error(latents, weights) == pytest.approx(float(cells[24 + 7].square().mean()))


def test_what_can_be_seen_decides_what_counts() -> None:
    cover = torch.zeros(1, 2, 96)
    cover[0, 0, 5 * 12 + 3] = 1.0  # row 5, column 3 of 8 x 12
    near = {row * 12 + column for row in (4, 5, 6) for column in (2, 3, 4)}
    nowhere = torch.zeros(1, 2, 96)
    hidden = train_backbone.weigh(cover, nowhere, torch.tensor([[[0, 1], [0, 1]]]), 4.0)
    assert set((hidden[0, 1] > 1).nonzero().flatten().tolist()) == near, "seen in the frame before"
    assert bool((hidden[0, 0] == 1).all()), "a product that is hidden changes nothing"
    seen = train_backbone.weigh(cover, nowhere, torch.tensor([[[63, 1], [0, 1]]]), 4.0)
    assert set((seen[0, 0] == 4).nonzero().flatten().tolist()) == near
    usual = torch.full((1, 2, 96), 0.5)
    assert torch.equal(train_backbone.weigh(cover, usual, torch.tensor([[[0, 1], [0, 1]]]), 4.0)[0, 0], torch.full((96,), 2.5))


def test_where_products_mostly_are_follows_from_the_shot_size_alone() -> None:
    class Three(Lessons):
        def __init__(self) -> None:
            self.truths = [{"tags": {"angle.scale": scale}} for scale in ("medium", "medium", "wide")]  # pyright: ignore[reportIncompatibleVariableOverride]
            self._covers = torch.zeros(3, 1, 8, 12, dtype=torch.uint8)  # pyright: ignore[reportIncompatibleVariableOverride]
            self._covers[0, 0, 4, 6], self._covers[1, 0, 4, 6:8], self._covers[2, 0, 5, 5] = 200, 100, 30

    first, second, third = Three().usual_cover([0, 1, 2]).unflatten(2, (8, 12))
    assert torch.equal(first, second)
    assert first[0, 4, 6:8].tolist() == pytest.approx([1.0, 1 / 3])
    assert float(first.sum()) == pytest.approx(4 / 3)
    assert third.nonzero().tolist() == [[0, 5, 5]]


def test_lessons_without_what_the_product_covers_say_what_makes_it(work: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "clips_000000.npy", np.load(work / "lessons" / "clips_000000.npy"))
    with pytest.raises(TrainingError, match="cover_clips_000000.npy is missing: `data-tools lessons"):
        Lessons(tmp_path, "clips").cover([0])
