"""Takes made with the shipped nano model: the right ones, alike for all looks, made once, whole after a kill."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import NUM_FRAMES, PROMPTS, RED, draw_workspace, finish_run, picture
from PIL import Image

from lora_studio import files
from lora_studio.adapters.attach import adapter_parameters, attach_adapter, bare_transformer
from lora_studio.adapters.storage import load_adapter, save_adapter
from lora_studio.brand import save_prompts
from lora_studio.errors import AdapterError, FootageError, MediaError, TrainingError
from lora_studio.generation.sampler import generate
from lora_studio.generation.settings import SamplerSettings
from lora_studio.generation.single import Order, make_order
from lora_studio.generation.takes import make_takes
from lora_studio.nova import weights
from lora_studio.recipe import AdapterSection
from lora_studio.records import PromptSheet, Take
from lora_studio.runs import run_named
from lora_studio.video import probe, read_frames, resize_crop, sample_times, write_video
from lora_studio.wall import all_takes
from lora_studio.workspace import Workspace

pytestmark = pytest.mark.skipif(
    not (Path(weights.__file__).parents[1] / "assets" / "nova_nano" / "model_index.json").is_file(),
    reason="the embedded default model is not in this checkout",
)
QUICK = SamplerSettings(num_steps=2, num_diffusion_steps=2, guidance=2.0)


def train_run(workspace: Workspace, name: str, seed: int) -> None:
    """A finished run on nano whose adapter holds large random weights."""
    folder = weights.find_model("nano")
    attached = attach_adapter(weights.load_transformer(folder), AdapterSection(rank=2, alpha=8.0), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter_parameters(attached.model).values():
        parameter.data.normal_(0, 0.1, generator=generator)
    run = run_named(workspace, name)
    digest = save_adapter(attached.model, run.adapter, {})
    state = finish_run(workspace, name)
    run.save_state(state.model_copy(update={"adapter_sha256": digest, "model_sha256": weights.model_sha256(folder)}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = draw_workspace(tmp_path_factory.mktemp("drawn"))
    save_prompts(workspace, PromptSheet(seeds=(7,), prompts=(PROMPTS[0], PROMPTS[2])))
    train_run(workspace, "calm", seed=1)
    train_run(workspace, "warm", seed=2)
    return workspace


@pytest.fixture(scope="module")
def made(drawn: Workspace) -> list[Take]:
    return make_takes(drawn, QUICK)


@pytest.fixture
def copy(drawn: Workspace, made: list[Take], tmp_path: Path) -> Workspace:
    shutil.copytree(drawn.root, tmp_path / "copy")
    return Workspace.open(tmp_path / "copy")


def stamps(workspace: Workspace) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in workspace.takes.iterdir()}


def test_every_look_gets_every_prompt_and_seed(drawn: Workspace, made: list[Take]) -> None:
    cells = [(take.prompt_id, take.seed, take.look) for take in made]
    assert cells == [
        ("cup", 0, "real"), ("cup", 7, "base"), ("cup", 7, "calm"), ("cup", 7, "warm"),
        ("control", 7, "base"), ("control", 7, "calm"), ("control", 7, "warm"),
    ]  # fmt: skip
    assert {(take.num_frames, take.fps, take.width, take.height) for take in made} == {(9, 12.0, 192, 128)}
    assert {tuple(take.settings) for take in made if take.kind != "real"} == {tuple(sorted(QUICK.model_dump(exclude_none=True)))}
    assert len({take.video_sha256 for take in made}) == len(made)
    assert all(files.sha256_file(drawn.takes / f"{take.take_id}.mp4") == take.video_sha256 for take in made)


def test_a_take_is_what_the_sampler_makes_of_a_fresh_model(drawn: Workspace, made: list[Take], tmp_path: Path) -> None:
    """Adapters are put on and taken off one transformer in turn; the last one's take shows no trace of the others."""
    folder = weights.find_model("nano")
    text = weights.load_text(folder).encode([PROMPTS[0].text])
    vae, scheduler = weights.load_vae(folder), weights.load_scheduler(folder)
    for look in ("base", "warm"):
        transformer = weights.load_transformer(folder)
        if look != "base":
            transformer = bare_transformer(load_adapter(transformer, run_named(drawn, look).adapter))
        frames = generate(transformer, vae, scheduler, text, QUICK, 7)  # type: ignore[arg-type]
        write_video(tmp_path / f"{look}.mp4", frames[0], 12.0)
        take = next(take for take in made if (take.look, take.seed, take.prompt_id) == (look, 7, "cup"))
        assert files.sha256_file(tmp_path / f"{look}.mp4") == take.video_sha256


def test_the_real_clip_is_shown_as_the_model_sees_it(drawn: Workspace, made: list[Take]) -> None:
    real = made[0]
    assert real.clip_id == "clip-c"
    shown = read_frames(drawn.takes / f"{real.take_id}.mp4", sample_times(0.0, NUM_FRAMES, 12.0))
    expected = resize_crop(picture(RED, 2), 128, 192)
    assert np.abs(shown.astype(int) - expected).mean() < 4


def test_nothing_is_made_twice(copy: Workspace, made: list[Take]) -> None:
    before = stamps(copy)
    assert make_takes(copy, QUICK) == made
    assert stamps(copy) == before


def test_what_is_missing_or_damaged_is_made_again(copy: Workspace, made: list[Take]) -> None:
    no_sidecar, no_video, damaged, half_written = (copy.takes / made[i].take_id for i in (1, 2, 0, 4))
    before = stamps(copy)
    no_sidecar.with_suffix(".json").unlink()
    no_video.with_suffix(".mp4").unlink()
    damaged.with_suffix(".mp4").write_bytes(b"cut short")
    half_written.with_suffix(".json").write_text("{")
    (copy.takes / f".{made[3].take_id}.4711.tmp.mp4").write_bytes(b"left by a killed run")
    again = make_takes(copy, QUICK)
    assert [take.video_sha256 for take in again] == [take.video_sha256 for take in made]
    assert not list(copy.takes.glob(".*"))
    changed = {name for name, stamp in stamps(copy).items() if before.get(name) != stamp}
    assert {name.split(".")[0] for name in changed} == {path.name for path in (no_sidecar, no_video, damaged, half_written)}


def test_other_settings_make_other_takes_and_the_old_stay(copy: Workspace, made: list[Take]) -> None:
    shutil.rmtree(copy.runs / "warm")
    save_prompts(copy, PromptSheet(seeds=(7,), prompts=PROMPTS[:1]))
    new = make_takes(copy, SamplerSettings(num_steps=1, num_diffusion_steps=2, guidance=1.0), seeds=(3,))
    assert [(take.look, take.seed) for take in new] == [("real", 0), ("base", 3), ("calm", 3)]
    assert {take.take_id for take in new} & {take.take_id for take in made} == {made[0].take_id}
    assert len(all_takes(copy)) == len(made) + 2
    assert [take.take_id for take in make_takes(copy, QUICK)] == [take.take_id for take in made[:3]]


def test_takes_can_begin_with_a_picture(copy: Workspace, made: list[Take], tmp_path: Path) -> None:
    shutil.rmtree(copy.runs / "warm")
    save_prompts(copy, PromptSheet(seeds=(7,), prompts=PROMPTS[:1]))
    Image.fromarray(picture(RED, 0)[0]).save(tmp_path / "first.png")
    takes = make_takes(copy, QUICK, image=tmp_path / "first.png")
    assert [take.look for take in takes] == ["real", "base", "calm"]
    assert {take.take_id for take in takes[1:]}.isdisjoint(take.take_id for take in made)
    assert len(str(takes[1].settings["first_frame_sha256"])) == 64
    with pytest.raises(FootageError, match="no such file"):
        make_takes(copy, QUICK, image=tmp_path / "second.png")
    (tmp_path / "not.png").write_text("no picture")
    with pytest.raises(FootageError, match="not a picture"):
        make_takes(copy, QUICK, image=tmp_path / "not.png")


def test_without_a_finished_run_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.py"):
        make_takes(draw_workspace(tmp_path), QUICK)


def test_one_still_and_one_video_of_one_prompt(drawn: Workspace, tmp_path: Path) -> None:
    still, again, warm, video = (tmp_path / name for name in ("still.png", "again.png", "warm.png", "video.mp4"))
    for path, look in ((still, "base"), (again, "base"), (warm, "warm"), (video, "base")):
        assert make_order(drawn, Order("a red cup", path, (look,), seed=3), QUICK) == [path]
    pixels = [np.asarray(Image.open(path)) for path in (still, again, warm)]
    assert pixels[0].shape == (128, 192, 3)
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])
    assert frames_of(video, 9).shape == (9, 128, 192, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "still.png", "video.mp4", "warm.png"]


def frames_of(path: Path, count: int) -> np.ndarray:
    assert probe(path).num_frames == count
    return read_frames(path, [(k + 0.5) / 12 for k in range(count)])


def test_looks_side_by_side_are_what_they_are_alone(drawn: Workspace, tmp_path: Path) -> None:
    alone = tmp_path / "alone.png"
    together = make_order(drawn, Order("a red cup", tmp_path / "cup.png", ("base", "warm", "calm"), seed=3), QUICK)
    assert [path.name for path in together] == ["cup.base.png", "cup.warm.png", "cup.calm.png"]
    for path, look in zip(together, ("base", "warm", "calm"), strict=True):
        make_order(drawn, Order("a red cup", alone, (look,), seed=3), QUICK)
        difference = np.abs(np.asarray(Image.open(path)).astype(int) - np.asarray(Image.open(alone)).astype(int))
        assert difference.max() <= 2, look


def test_strength_and_negative_prompt_matter(drawn: Workspace, tmp_path: Path) -> None:
    made = {}
    for name, changes in {
        "base": {}, "off": {"looks": ("warm",), "strength": 0.0}, "on": {"looks": ("warm",)}, "against": {"negative": "a blue cup"},
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.png"
        make_order(drawn, Order("a red cup", path, **{"seed": 3, **changes}), QUICK)
        made[name] = np.asarray(Image.open(path)).astype(int)
    assert np.abs(made["off"] - made["base"]).max() <= 2
    assert np.abs(made["on"] - made["base"]).max() > 2
    assert not np.array_equal(made["against"], made["base"])


def test_a_clip_goes_on_beyond_its_end_and_beyond_the_trained_length(drawn: Workspace, tmp_path: Path) -> None:
    clip, longer = tmp_path / "clip.mp4", tmp_path / "longer.mp4"
    make_order(drawn, Order("a red cup", clip, seed=3), QUICK)
    with pytest.raises(FootageError, match=r"clip\.mp4 has 9 frames .* give --frames 13 or more"):
        make_order(drawn, Order("a red cup", longer, video=clip), QUICK)
    make_order(drawn, Order("a red cup", longer, video=clip, num_frames=21), QUICK)
    assert frames_of(longer, 21).shape == (21, 128, 192, 3)


def test_a_key_frame_is_shown_where_it_was_asked_for(drawn: Workspace, tmp_path: Path) -> None:
    picture, path = tmp_path / "key.png", tmp_path / "keyed.mp4"
    Image.fromarray(np.full((128, 192, 3), 220, np.uint8)).save(picture)
    make_order(drawn, Order("a red cup", path, seed=3, keyframes={8: picture}), QUICK)
    plain = tmp_path / "plain.mp4"
    make_order(drawn, Order("a red cup", plain, seed=3), QUICK)
    keyed, free = frames_of(path, 9).astype(float), frames_of(plain, 9).astype(float)
    assert np.abs(keyed[:5] - free[:5]).mean() < 8  # nova-nano's decoder looks at all frames of a tile: not exactly equal
    assert np.abs(keyed[8] - free[8]).mean() > np.abs(keyed[0] - free[0]).mean()


def test_two_key_frames_on_one_latent_frame_are_refused(drawn: Workspace, tmp_path: Path) -> None:
    picture = tmp_path / "key.png"
    Image.fromarray(np.full((128, 192, 3), 220, np.uint8)).save(picture)
    with pytest.raises(MediaError, match=r"--key 6 and another fall on the same four frames \(5 to 8\)"):
        make_order(drawn, Order("a red cup", tmp_path / "a.mp4", keyframes={5: picture, 6: picture}), QUICK)
    with pytest.raises(MediaError, match="a key frame falls on latent frame 0, but the clip begins with the frames given"):
        make_order(drawn, Order("a red cup", tmp_path / "a.mp4", image=picture, keyframes={0: picture}), QUICK)


def test_the_null_prompt_makes_a_clip(drawn: Workspace, tmp_path: Path) -> None:
    make_order(drawn, Order("", tmp_path / "nothing.mp4", seed=3), QUICK)
    assert frames_of(tmp_path / "nothing.mp4", 9).shape == (9, 128, 192, 3)


def test_a_look_of_another_base_is_refused(drawn: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "model_sha256", lambda *_: "f" * 64)
    with pytest.raises(AdapterError, match="run calm was trained on .*, but the dataset's model is"):
        make_order(drawn, Order("a red cup", tmp_path / "a.mp4", looks=("calm",)), QUICK)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"to": "clip.mov"}, MediaError, r"must end in \.mp4 .*got .*clip\.mov"),
        ({"looks": ("hot",)}, TrainingError, r"--look must be base or a finished run \(calm, warm\), got hot"),
        ({"looks": ("base", "base")}, MediaError, "names a look twice: base, base"),
        ({"to": "still.png", "image": Path("a.png")}, MediaError, "are for clips"),
        ({"image": Path("a.png"), "video": Path("b.mp4")}, MediaError, "give one of them"),
        ({"num_frames": 16}, MediaError, r"4k \+ 1\), got 16: 13 or 17 would do"),
        ({"num_frames": -3}, MediaError, r"4k \+ 1\), got -3: 1 or 5 would do"),
        ({"video": Path("nowhere.mp4")}, FootageError, "nowhere.mp4: no such file"),
        ({"keyframes": {12: Path("a.png")}}, MediaError, "--key 12: the clip has frames 0 to 8"),
        ({"keyframes": {4: Path("nowhere.png")}}, FootageError, "nowhere.png: no such file"),
    ],
)
def test_what_cannot_be_made_is_said_before_the_model_loads(
    drawn: Workspace, tmp_path: Path, changes: dict, error: type[Exception], message: str
) -> None:
    to = tmp_path / changes.pop("to", "clip.mp4")
    with pytest.raises(error, match=message):
        make_order(drawn, Order("a cup", to, **changes), QUICK)
