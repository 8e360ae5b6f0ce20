"""The sampler: equal to the published one on recorded draws; a sample never depends on its neighbours."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from parity import SETS, SHARED, Recording, Replay
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from lora_studio.errors import LoraStudioError, ModelError
from lora_studio.generation.noise import SeededNoise
from lora_studio.generation.sampler import (
    decode_to_frames,
    encode_frames,
    encode_keyframe,
    generate,
    generate_latents,
    stream,
    stream_latents,
)
from lora_studio.generation.settings import SamplerSettings, sampler_settings
from lora_studio.nova import weights
from lora_studio.nova.schedules import DDPMSchedule, FlowMatchScheduler
from lora_studio.nova.vae import sample_moments
from lora_studio.parity.whole import OneGenerator

QUICK = SamplerSettings(num_steps=3, num_diffusion_steps=2, guidance=2.0)


COMMON = ("g5", "g1", "i2v_g5", "ddpm_g5", "t1_g5")
CASES = {
    "abs_nomix": (*COMMON, "g5_trunc500", "g5_renorm0.5", "g5_image1.5", "g5_stg1", "g5_min1.5"),
    "rope_mix4": COMMON,
}


@pytest.mark.parametrize("name", SETS)
def test_every_recorded_case_is_replayed(name: str) -> None:
    assert sorted(Recording(name).meta["gen"]) == sorted(CASES[name])


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in SETS for case in CASES[name]])
def test_latents_equal_the_recording(name: str, case: str) -> None:
    recording = Recording(name)
    facts = recording.meta["gen"][case]
    settings = SamplerSettings(
        num_steps=8, num_diffusion_steps=6, guidance=float(facts["guidance_scale"]), motion_flow=float(facts["motion_flow"]),
        min_guidance=facts.get("min_guidance_scale"), guidance_trunc=float(facts.get("guidance_trunc", 0)),
        guidance_renorm=facts.get("guidance_renorm", 1.0), image_guidance=facts.get("image_guidance_scale", 0.0),
    )  # fmt: skip
    noise = Replay(recording.draws(f"gen.{case}"))
    first = recording["in.x"][:, :, :1] if facts["i2v"] else None
    text = [recording["in.text0"], recording["in.text1"]]
    latents = generate_latents(recording.transformer(facts["frames"]), _schedule(facts["sampler"]), text, settings, noise, first)
    recording.close(f"gen.{case}.latents", latents, max(1e-4, 20 * facts["float64_maxdiff"]))
    assert not noise.left


def _schedule(sampler: dict) -> FlowMatchScheduler | DDPMSchedule:
    if sampler["class"] == "fm":
        return FlowMatchScheduler(shift=sampler["shift"])
    return DDPMSchedule(DDPMScheduler(beta_schedule=sampler["beta_schedule"], clip_sample=sampler["clip_sample"]))


@pytest.mark.parametrize("case", ["t2v", "t2v_g1", "i2v", "image", "negative", "two"])
@torch.no_grad()
def test_whole_pipeline_equals_the_recording(case: str) -> None:
    folder = SHARED / "e2e"
    if not folder.is_dir():
        pytest.skip("the recording e2e is not beside the repository (../shared/parity)")
    facts = json.loads((folder / "golden.json").read_text())["cases"][case]
    tensors, model = load_file(folder / "golden.safetensors"), folder / "pipeline"
    transformer = weights.load_transformer(model)
    transformer.register_to_config(clip_latents=facts["max_latent_length"])
    vae, encoder = weights.load_vae(model), weights.load_text(model)
    prompts = facts["prompt"] if isinstance(facts["prompt"], list) else [facts["prompt"]] * (2 if case == "two" else 1)
    noise = OneGenerator(facts["generator_seed"], len(prompts))
    first = None
    if "image" in facts:
        pixels = tensors["image"].movedim(-1, 0)[None, :, None].float() / 127.5 - 1.0
        moments = vae.encode(pixels).parameters
        first = vae.scale(sample_moments(moments, torch.randn(1, 4, 1, 8, 12, generator=noise.generator)))
    settings = SamplerSettings(num_steps=8, num_diffusion_steps=6, guidance=float(facts["guidance_scale"]), motion_flow=5.0)
    negative = encoder.encode([facts["negative_prompt"]] * len(prompts)) if "negative_prompt" in facts else None
    schedule = weights.load_scheduler(model)
    latents = generate_latents(transformer, schedule, encoder.encode(prompts), settings, noise, first, negative)
    want = tensors[f"{case}.latents"]
    assert latents.shape == want.shape
    assert float((latents - want).abs().max()) < 2e-5 * float(want.abs().max())
    if f"{case}.frames" in tensors:
        frames = decode_to_frames(vae, tensors[f"{case}.latents"])
        assert int(np.abs(frames.astype(int) - tensors[f"{case}.frames"].numpy().astype(int)).max()) <= 1


@pytest.fixture(scope="module")
def nano() -> tuple:
    folder = weights.find_model("nano")
    return weights.load_transformer(folder), weights.load_vae(folder), weights.load_scheduler(folder)


def _text(*lengths: int) -> list[Tensor]:
    return [torch.randn(n, 128, generator=torch.Generator().manual_seed(n)) for n in lengths]


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, 128, 192, 3), dtype=np.uint8)


def test_text_to_video_gives_one_clip_per_text(nano: tuple) -> None:
    seen: list[tuple[int, int]] = []
    frames = generate(*nano, _text(3), QUICK, 0, progress=lambda done, total: seen.append((done, total)))
    assert frames.shape == (1, 9, 128, 192, 3)
    assert frames.dtype == np.uint8
    assert seen == [(i, 9) for i in range(1, 10)]


def test_a_sample_depends_on_its_own_seed_and_text_alone(nano: tuple) -> None:
    transformer, _, schedule = nano
    text = _text(3, 7)
    both = generate_latents(transformer, schedule, text, QUICK, SeededNoise([5, 6]))
    alone = generate_latents(transformer, schedule, text[1:], QUICK, SeededNoise([6]))
    other = generate_latents(transformer, schedule, text[1:], QUICK, SeededNoise([7]))
    assert torch.allclose(both[1:], alone, atol=1e-4)
    assert not torch.allclose(alone, other, atol=0.1)
    assert torch.equal(alone, generate_latents(transformer, schedule, text[1:], QUICK, SeededNoise([6])))


@pytest.mark.parametrize("kind", [FlowMatchScheduler, DDPMSchedule])
def test_temperature_is_a_factor_on_all_noise(nano: tuple, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    def latents(temperature: float) -> Tensor:
        settings = QUICK.model_copy(update={"temperature": temperature})
        return generate_latents(nano[0], kind(), _text(3), settings, SeededNoise([0]), num_latents=1)

    cooler, drawn = latents(0.5), SeededNoise.grid
    assert not torch.allclose(cooler, latents(1.0), atol=0.1)
    monkeypatch.setattr(SeededNoise, "grid", lambda self, *size: 0.5 * drawn(self, *size))
    assert torch.equal(cooler, latents(1.0))


@pytest.mark.parametrize("image_guidance", [0.0, 1.5])
def test_an_older_unguided_look_serves_the_sets_between(nano: tuple, monkeypatch, image_guidance: float) -> None:
    transformer, _, schedule = nano
    rows: list[int] = []
    encode = type(transformer).encode_image
    monkeypatch.setattr(type(transformer), "encode_image", lambda self, x, *rest: (rows.append(len(x)), encode(self, x, *rest))[1])

    def latents(every: int, num_steps: int) -> Tensor:
        settings = QUICK.model_copy(update={"guidance_every": every, "num_steps": num_steps, "image_guidance": image_guidance})
        return generate_latents(transformer, schedule, _text(3), settings, SeededNoise([0]), num_latents=1)

    branches = 3 if image_guidance else 2
    assert torch.allclose(latents(2, 1), latents(1, 1), atol=1e-5), "one set: nothing is reused"
    rows.clear()
    exact = latents(1, 4)
    assert rows == [branches] * 4
    rows.clear()
    reused = latents(2, 4)
    assert rows == [branches - 1, 1, 1, branches - 1, 1, 1]
    assert not torch.equal(exact, reused)


def test_given_frames_stay_and_shape_what_follows(nano: tuple) -> None:
    transformer, _, schedule = nano
    channels = transformer.config.image_dim
    given = torch.randn(1, channels, 2, 16, 24, generator=torch.Generator().manual_seed(0))
    kept = given.clone()
    latents = generate_latents(transformer, schedule, _text(3), QUICK, SeededNoise([0]), given)
    assert latents.shape == (1, channels, 3, 16, 24)
    assert torch.equal(latents[:, :, :2], given)
    assert torch.equal(given, kept)
    swapped = generate_latents(transformer, schedule, _text(3), QUICK, SeededNoise([0]), given.flip(2))
    assert not torch.equal(latents[:, :, 2], swapped[:, :, 2])


def test_first_frames_of_another_size_are_refused(nano: tuple) -> None:
    for size in ((64, 64), (130, 194)):  # the second has as many latent cells as the right size, were it let into the VAE
        with pytest.raises(ModelError, match=f"first_frames is {size[0]} x {size[1]} .* crop it to 128 x 192 pixels"):
            generate(*nano, _text(3), QUICK, 0, first_frames=np.zeros((1, 1, *size, 3), np.uint8))
    with pytest.raises(ModelError, match="all 3 latent frames are given"):
        generate(*nano, _text(3), QUICK, 0, first_frames=np.zeros((1, 9, 128, 192, 3), np.uint8))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: (x / 255).astype(np.float32), r"got float32 \(.*\): if 1 is white, give \(x \* 255\)\.round\(\)\.astype\("),
        (lambda x: x.astype(np.float64), "got float64"),
        (lambda x: x > 100, "got bool .*if 1 is white"),
        (lambda x: x.astype(np.int64), r"got int64 .*if 255 is white, give x\.astype\("),
        (lambda x: x[..., :2], r"got uint8 \(.*, 2\): arrange the axes"),
        (lambda x: x[0], "arrange the axes"),
        (lambda x: x.tolist(), "got a list of list: give a numpy array"),
    ],
    ids=["0 to 1", "float64", "bool", "int64", "two channels", "an axis too few", "list"],
)
def test_pictures_of_another_kind_are_refused(nano: tuple, wrong: Callable[[np.ndarray], Any], words: str) -> None:
    """A float picture of 0 to 1 would be read as a nearly black one."""
    frames = _picture()[:, None]
    with pytest.raises(ModelError, match=r"first_frames must be uint8 \(B, F, H, W, 3\).*" + words):
        generate(*nano, _text(3), QUICK, 0, first_frames=wrong(frames))
    with pytest.raises(ModelError, match=r"keyframes\[2\] must be uint8 \(B, H, W, 3\).*" + words):
        next(stream(*nano, _text(3), QUICK, 0, keyframes={2: wrong(frames[:, 0])}))
    with pytest.raises(ModelError, match="frames must be uint8.*" + words):
        encode_frames(nano[1], wrong(frames))
    with pytest.raises(ModelError, match="picture must be uint8.*" + words):
        encode_keyframe(nano[1], wrong(frames[:, 0]), 1)


def test_one_picture_for_two_prompts_is_called_by_its_fault(nano: tuple) -> None:
    transformer, _, schedule = nano
    picture, latents = _picture(), torch.zeros(1, transformer.config.image_dim, 16, 24)
    with pytest.raises(ModelError, match="first_frames is for 1 clip and there are 2 prompts: give one for each prompt"):
        generate(*nano, _text(3, 4), QUICK, 0, first_frames=picture[:, None])
    with pytest.raises(ModelError, match=r"keyframes\[1\] is for 1 clip and there are 2 prompts"):
        generate(*nano, _text(3, 4), QUICK, 0, keyframes={1: picture})
    with pytest.raises(ModelError, match="first_latents is for 1 clip and there are 2 prompts"):
        generate_latents(transformer, schedule, _text(3, 4), QUICK, SeededNoise([0, 1]), latents.unsqueeze(2))
    with pytest.raises(ModelError, match=r"keyframes\[1\] is for 1 clip and there are 2 prompts"):
        generate_latents(transformer, schedule, _text(3, 4), QUICK, SeededNoise([0, 1]), keyframes={1: latents})


def test_a_frame_is_not_given_twice(nano: tuple) -> None:
    picture = _picture()
    with pytest.raises(ModelError, match="latent frame 0 is given twice, by keyframes and by the first frames"):
        generate(*nano, _text(3), QUICK, 0, first_frames=picture[:, None], keyframes={0: picture})
    alone = generate(*nano, _text(3), QUICK, 0, keyframes={0: picture})
    assert np.array_equal(alone, generate(*nano, _text(3), QUICK, 0, first_frames=picture[:, None]))


@pytest.mark.parametrize("beyond", [1, 200])
def test_a_text_that_the_model_would_not_see_whole_is_refused(nano: tuple, beyond: int) -> None:
    transformer, _, schedule = nano
    most = transformer.config.text_token_len
    rows = most + beyond
    with pytest.raises(ModelError, match=rf"text\[1\] has {rows} rows, .* reads {most}: .* leave out the last {beyond} rows"):
        generate(*nano, _text(3, rows), QUICK, 0)
    with pytest.raises(ModelError, match=rf"negative\[0\] has {rows} rows"):
        generate_latents(transformer, schedule, _text(3), QUICK, SeededNoise([0]), negative=_text(rows))
    assert generate_latents(transformer, schedule, _text(most), QUICK, SeededNoise([0]), num_latents=1).shape[0] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ([], "text must be a list with the features of each prompt.*; got an empty list"),
        (["a red cup"], "text must be a list .*; got a list of str"),
        (torch.zeros(1, 3, 128), "text must be a list .*; got float32 .* tensor"),
        ([torch.zeros(3, 64)], r"text\[0\] must be floating-point rows \(n, 128\), got float32 \(3, 64\)"),
        ([torch.zeros(3, dtype=torch.int64)], r"text\[0\] must be floating-point rows"),
    ],
)
def test_features_that_no_text_encoder_of_this_model_gives_are_refused(nano: tuple, text: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        generate(*nano, text, QUICK, 0)
    with pytest.raises(ModelError, match=words):
        generate_latents(nano[0], nano[2], text, QUICK, SeededNoise([0]))
    with pytest.raises(ModelError, match=words.replace("text", "negative", 1)):
        generate_latents(nano[0], nano[2], _text(3), QUICK, SeededNoise([0]), negative=text)


def test_seeds_are_whole_numbers_of_any_make(nano: tuple) -> None:
    transformer, _, schedule = nano
    still = [generate(*nano, _text(3), QUICK, seed, num_latents=1) for seed in (1, np.int64(1), [1], (np.uint8(1),), np.array([1]))]
    assert all(np.array_equal(one, still[0]) for one in still)
    for wrong in (1.0, np.float32(1), "1", None, True, [0.5], 2**64, -(2**63) - 1):
        with pytest.raises(ModelError, match="seed must be a whole number"):
            generate(*nano, _text(3), QUICK, wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="one for all or one each, got 2 seeds for 1 prompts"):
        generate(*nano, _text(3), QUICK, [0, 1])
    with pytest.raises(ModelError, match="noise draws for 2 samples and there are 1 texts"):
        generate_latents(transformer, schedule, _text(3), QUICK, SeededNoise([0, 1]))
    with pytest.raises(ModelError, match="got none"):
        SeededNoise([])


def test_key_frames_go_by_whole_numbers(nano: tuple) -> None:
    for wrong in ("1", 1.0, True):
        with pytest.raises(ModelError, match=f"keyframes go by latent frame, a whole number such as 2; got {wrong!r}"):
            generate(*nano, _text(3), QUICK, 0, keyframes={wrong: _picture()})  # type: ignore[dict-item]
    plain, other = (generate(*nano, _text(3), QUICK, 0, keyframes={index: _picture()}) for index in (1, np.int64(1)))
    assert np.array_equal(plain, other)
    assert generate(*nano, _text(3), QUICK, 0, num_latents=np.int64(1)).shape[1] == 1  # type: ignore[arg-type]


class Cancelled(Exception):
    """What a caller may raise to stop."""


def test_raising_from_progress_cancels_and_leaves_nothing_behind(nano: tuple) -> None:
    before = generate(*nano, _text(3), QUICK, 0)
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done == 4:
            raise Cancelled(total)

    with pytest.raises(Cancelled, match="9"):
        generate(*nano, _text(3), QUICK, 0, progress=stop)
    assert seen == [1, 2, 3, 4], "no set is painted after the one that was refused"
    frames = stream_latents(nano[0], nano[2], _text(3), QUICK, SeededNoise([0]), progress=stop)
    seen.clear()
    assert next(frames).shape[0] == 1, "the first frame takes three sets and is handed out"
    with pytest.raises(Cancelled):
        next(frames)
    assert np.array_equal(generate(*nano, _text(3), QUICK, 0), before), "the models are as they were"


def test_frames_are_handed_out_as_they_are_decoded(nano: tuple) -> None:
    """A clip of 7 latent frames comes as 17 frames and then 8, and they are the frames of the whole clip."""
    whole = generate(*nano, _text(3), QUICK, 0, num_latents=7)
    seen: list[int] = []
    chunks = stream(*nano, _text(3), QUICK, 0, num_latents=7, progress=lambda done, _: seen.append(done))
    first = next(chunks)
    assert first.shape == (1, 17, 128, 192, 3)
    assert seen[-1] == 5 * 3  # the sixth frame is not begun before somebody asks for it
    rest = list(chunks)
    assert [len(chunk[0]) for chunk in rest] == [8]
    assert np.array_equal(np.concatenate([first, *rest], axis=1), whole)


def test_a_closed_stream_stops_the_work(nano: tuple) -> None:
    seen: list[int] = []
    frames = stream_latents(
        nano[0], nano[2], _text(3), QUICK, SeededNoise([0]), num_latents=9, progress=lambda done, _: seen.append(done)
    )
    next(frames)
    frames.close()
    assert seen == [1, 2, 3]


def test_key_frames_are_kept_and_seen_afterwards_only(nano: tuple) -> None:
    transformer, vae, schedule = nano
    picture = _picture()
    key = {1: encode_keyframe(vae, picture, 1)}
    plain = generate_latents(transformer, schedule, _text(3), QUICK, SeededNoise([0]))
    noise = SeededNoise([0])
    with_key = generate_latents(transformer, schedule, _text(3), QUICK, noise, keyframes=key)
    assert torch.equal(with_key[:, :, 1], key[1])
    assert torch.equal(with_key[:, :, 0], plain[:, :, 0])
    assert not torch.equal(with_key[:, :, 2], plain[:, :, 2])
    with pytest.raises(ModelError, match="latent frame 9 is given, but the clip has only 0 to 2"):
        generate_latents(transformer, schedule, _text(3), QUICK, noise, keyframes={9: key[1]})


def test_frames_go_through_the_vae_at_the_backbones_scale(nano: tuple) -> None:
    transformer, vae, _ = nano
    frames = np.full((1, 5, 128, 192, 3), 200, np.uint8)
    latents = encode_frames(vae, frames)
    assert latents.shape == (1, transformer.config.image_dim, 2, 16, 24)
    assert decode_to_frames(vae, latents).shape == frames.shape


@pytest.mark.parametrize(
    "wrong",
    [{"guidance": 0.5}, {"num_steps": 0}, {"image_guidance": -1.0}, {"guidance_renorm": 0.0}, {"temperature": 1.1}, {"shift": 3.0}],
)
def test_settings_that_do_not_exist_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SamplerSettings(**wrong)


def test_settings_of_the_command_line() -> None:
    made = sampler_settings({"num_steps": 5, "guidance": None}, ["guidance_trunc=200", "min_guidance = 1.5"])
    assert (made.num_steps, made.guidance, made.guidance_trunc, made.min_guidance) == (5, SamplerSettings().guidance, 200.0, 1.5)
    with pytest.raises(LoraStudioError, match="guidence is not a known key; did you mean guidance") as caught:
        sampler_settings({}, ["guidence=3", "num_steps=0"])
    assert "num_steps" in str(caught.value)
    with pytest.raises(LoraStudioError, match="--set takes key=value, got 'guidance'"):
        sampler_settings({}, ["guidance"])


def test_guidance_does_not_begin_above_where_it_ends() -> None:
    with pytest.raises(LoraStudioError, match=r"min_guidance: must not be above guidance, which is 3: lower it.*, got 5"):
        sampler_settings({"guidance": 3.0}, ["min_guidance=5"])
    with pytest.raises(ValidationError, match="must not be above guidance, which is 2"):
        SamplerSettings(guidance=2.0, min_guidance=2.5)
    assert SamplerSettings(guidance=2.0, min_guidance=2.0).min_guidance == 2.0


@pytest.mark.parametrize("at_once", [1, 4000])
def test_diffusion_steps_worked_out_in_parts_are_the_same(nano: tuple, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    transformer, _, scheduler = nano
    settings = SamplerSettings(num_steps=3, num_diffusion_steps=7, guidance=3.0, guidance_trunc=400.0)
    whole = generate_latents(transformer, scheduler, _text(3), settings, SeededNoise([0]), num_latents=1)
    monkeypatch.setattr("lora_studio.generation.painter._MODULATED", at_once)
    parts = generate_latents(transformer, scheduler, _text(3), settings, SeededNoise([0]), num_latents=1)
    assert torch.allclose(parts, whole, atol=1e-5)


def test_pixels_that_are_not_finite_are_refused_and_not_black(nano: tuple) -> None:
    with pytest.raises(ModelError, match=r"pixels that are not finite in float32: decode in float32"):
        decode_to_frames(nano[1], torch.full((1, nano[0].config.image_dim, 1, 16, 24), float("nan")))
