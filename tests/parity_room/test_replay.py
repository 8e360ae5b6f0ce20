"""Replaying recordings: all given ones are met; a changed number, an extra tensor and a damaged file are told apart.

Variants without a recording beside the repository are recorded here from our own model: that proves that the replaying code of
these variants runs and accounts for every tensor. It proves nothing about the published implementation.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import SHARED
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from lora_studio.cli import app
from lora_studio.nova.transformer import NOVATransformer3DModel
from lora_studio.parity import backbone, learning, sampling
from lora_studio.parity.recordings import Recording

SHIPPED = Path(__file__).parents[1] / "recordings" / "abs_nomix"


def parity(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["parity", str(folder), *options])


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "set"))


def change(folder: Path, edit: Any) -> None:
    tensors = load_file(folder / "golden.safetensors")
    edit(tensors)
    save_file(tensors, folder / "golden.safetensors")


def tell(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads((folder / "golden.json").read_text())
    edit(facts)
    (folder / "golden.json").write_text(json.dumps(facts))


@pytest.fixture
def small(copied: Path) -> Path:
    """Of the shipped recording two training cases and two generations: what is quick to replay."""
    kept = {"train": {"fm", "t1"}, "gen": {"g1", "g5_trunc500"}}

    def leave_out(facts: dict[str, Any]) -> None:
        for kind, cases in kept.items():
            facts[kind] = {case: told for case, told in facts[kind].items() if case in cases}
        names = {f"{kind}.{case}" for kind, cases in kept.items() for case in cases}
        facts["rng"] = {name: drawn for name, drawn in facts["rng"].items() if name in names}
        draws = {entry.get("key") for drawn in facts["rng"].values() for entry in drawn}

        def is_kept(key: str) -> bool:
            if key.startswith("rng."):
                return key in draws
            return not key.startswith(("train.", "gen.")) or any(key.startswith(f"{name}.") for name in names)

        change(copied, lambda tensors: [tensors.pop(key) for key in list(tensors) if not is_kept(key)])

    tell(copied, leave_out)
    return copied


def test_the_shipped_recording_is_met_to_the_last_tensor() -> None:
    result = parity(SHIPPED, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["beyond"], report["not_checked"], report["status"]) == (0, 0, 0)
    keys = {row["key"] for row in report["sets"][0]["tensors"]}
    outputs = {key for key in load_file(SHIPPED / "golden.safetensors") if not key.startswith(("in.", "rng."))}
    assert outputs - keys == {"ienc.prev_ids", "mlp.ids", "mlp.t_token", "mlp.z"}  # inputs of what follows them
    assert {"train.dropout.total", "gen.g5_image1.5.latents", "grad_norms.fm.mask_embed.mask_token"} <= keys


def test_every_shipped_recording_is_met() -> None:
    result = parity(SHIPPED.parent, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0, [row for s in report["sets"] for row in s["tensors"] if not row["ok"]]
    assert {s["name"]: s["kind"] for s in report["sets"]} == {
        "abs_nomix": "transformer", "schedulers": "schedules", "text": "text"
    }  # fmt: skip
    assert all(len(s["tensors"]) > 5 for s in report["sets"])


def test_every_recording_beside_the_repository_is_met() -> None:
    if not SHARED.is_dir():
        pytest.skip("no recordings beside the repository (../shared/parity)")
    result = parity(SHARED, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0, [row for s in report["sets"] for row in s["tensors"] if not row["ok"]]
    kinds = {s["kind"] for s in report["sets"]}
    print(f"{report['compared']} compared: {sorted(kinds)}")
    assert {"transformer", "pipeline", "schedules", "text", "autoencoder", "manifest"} <= kinds


def test_a_changed_number_is_found_and_named(copied: Path) -> None:
    change(copied, lambda tensors: tensors["ienc.out"].view(-1)[7:8].add_(1e-3))
    result = parity(copied)
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.stdout.splitlines() if "FAIL" in line] == ["ienc.out:"]


def test_not_a_number_is_never_within_tolerance(copied: Path) -> None:
    change(copied, lambda tensors: tensors["mlp.out_token"].view(-1)[:1].fill_(math.nan))
    assert parity(copied).exit_code == 1


def test_a_tensor_nobody_checked_is_named(copied: Path) -> None:
    change(copied, lambda tensors: tensors.update({"venc.new": torch.zeros(3)}))
    result = parity(copied)
    assert result.exit_code == 2
    assert "NOT CHECKED venc.new" in result.stdout


def test_a_case_with_unknown_settings_is_not_passed_over(copied: Path) -> None:
    tell(copied, lambda facts: facts["gen"]["g1"].update(guidance_of_tomorrow=3))
    result = parity(copied)
    assert result.exit_code == 2
    assert "NOT CHECKED gen.g1.latents" in result.stdout
    assert "NOT CHECKED golden.json: gen.g1\n" in result.stdout
    assert "gen.g1: settings not known here: guidance_of_tomorrow" in result.stdout


def not_checked(result: Result) -> list[str]:
    return [line.removeprefix("  NOT CHECKED ") for line in result.stdout.splitlines() if line.startswith("  NOT CHECKED ")]


def test_a_small_recording_is_met_too(small: Path) -> None:
    result = parity(small)
    assert (result.exit_code, not_checked(result)) == (0, []), result.stdout
    assert "note:" not in result.stdout
    assert "remark:" not in result.stdout


def test_a_fact_that_nobody_compared_is_named(small: Path) -> None:
    def claim(facts: dict[str, Any]) -> None:
        facts["grad_norms"]["tomorrow"] = {"mask_embed.mask_token": 1e9}
        facts["grad_norms"]["t1"]["nobody.weight"] = 1.0
        facts["speed_of_light"] = 3e8
        facts["table"] = {"one": 1, "two": 2}

    tell(small, claim)
    result = parity(small)
    assert result.exit_code == 2
    named = ["grad_norms.tomorrow", "speed_of_light", "table.one", "table.two"]
    assert not_checked(result) == [f"golden.json: {name}" for name in named]
    assert "note: grad_norms.t1: no parameter nobody.weight" in result.stdout
    assert "4 recorded tensors and facts not checked" in result.stdout


@pytest.mark.parametrize("gap", [1e9, math.inf, math.nan, -1.0])
def test_a_recording_does_not_set_its_own_tolerance_without_bound(small: Path, gap: float) -> None:
    tell(small, lambda facts: facts["gen"]["g1"].update(float64_maxdiff=gap))
    result = parity(small)
    assert result.exit_code == 2, result.stdout
    assert f"note: gen.g1: float64_maxdiff is {gap:g}, and rounding makes 0 to 0.002 of the largest latent" in result.stdout
    change(small, lambda tensors: tensors["gen.g1.latents"].view(-1)[3:4].add_(0.02))
    result = parity(small)
    assert result.exit_code == 1
    assert [line.split()[1] for line in result.stdout.splitlines() if "FAIL" in line] == ["gen.g1.latents:"]


@pytest.mark.parametrize(
    "claim",
    [
        lambda facts: facts["gen"]["g1"].update(absmax=1e9),
        lambda facts: facts["train"]["fm"]["losses"].update(loss_t2i=math.inf),
        lambda facts: facts["grad_norms"]["fm"].update({"mask_embed.mask_token": math.inf}),
        lambda facts: facts.update(unpatchify_roundtrip_exact=False),
        lambda facts: facts["gen"]["g1"].update(order_equal_for_all_frames=False),
    ],
    ids=["absmax", "infinite loss", "infinite gradient", "roundtrip", "one order for all frames"],
)
def test_a_changed_fact_is_beyond_tolerance(small: Path, claim: Callable[[dict[str, Any]], object]) -> None:
    tell(small, claim)
    result = parity(small)
    assert result.exit_code == 1, result.stdout
    assert 1 <= result.stdout.count("FAIL") <= 2  # an infinite loss is one of the two whose sum is compared too


@pytest.mark.parametrize(
    "spoil",
    [lambda case: case.pop("frames"), lambda case: case.clear(), lambda case: case.update(frames="three")],
    ids=["without frames", "empty", "frames in words"],
)
def test_a_malformed_case_keeps_no_other_from_being_replayed(small: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    tell(small, lambda facts: (spoil(facts["train"]["fm"]), spoil(facts["gen"]["g1"])))
    result = parity(small)
    assert result.exit_code == 2, result.stdout
    for case in ("train.fm", "gen.g1"):
        assert f"note: {case}: not replayed to its end: " in result.stdout
        assert f"golden.json: {case}" in not_checked(result)
    assert "golden.json: grad_norms.fm" in not_checked(result), "its training case was not replayed"
    for key in ("train.t1.total", "grad_norms.t1.mask_embed.mask_token", "gen.g5_trunc500.latents"):
        assert f"ok   {key}:" in result.stdout


def test_a_damaged_case_of_a_pipeline_keeps_no_other_from_being_replayed(tmp_path: Path) -> None:
    if not (SHARED / "e2e").is_dir():
        pytest.skip("the recording e2e is not beside the repository (../shared/parity)")
    folder = Path(shutil.copytree(SHARED / "e2e", tmp_path / "e2e"))
    tell(folder, lambda facts: facts["cases"]["t2v"].pop("max_latent_length"))
    result = parity(folder)
    assert result.exit_code == 2
    assert "note: cases.t2v: not replayed to its end: 'max_latent_length' is missing" in result.stdout
    assert "ok   two.latents:" in result.stdout


@pytest.mark.parametrize(
    ("case", "note"),
    [
        ("two", "cases.two: 1 recorded draws were not asked for"),
        ("i2v", "cases.i2v: 1 recorded draws were not used: a case with an image is replayed from its generator_seed"),
    ],
)
def test_a_draw_that_a_pipeline_has_no_use_for_is_named(tmp_path: Path, case: str, note: str) -> None:
    if not (SHARED / "e2e").is_dir():
        pytest.skip("the recording e2e is not beside the repository (../shared/parity)")
    folder = Path(shutil.copytree(SHARED / "e2e", tmp_path / "e2e"))
    drawn: list[Tensor] = [torch.zeros(3)]
    if case == "two":
        drawn = [*draws_of_two(), *drawn]
    keys = [f"rng.{case}{index}" for index in range(len(drawn))]

    def keep_one_case(facts: dict[str, Any]) -> None:
        facts["cases"] = {case: facts["cases"][case]}
        facts["rng"] = {case: [{"op": "torch.randn", "key": key} for key in keys]}

    def keep_its_tensors(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if not key.startswith(f"{case}.") and (key, case) != ("image", "i2v")]:
            del tensors[key]
        tensors.update(zip(keys, drawn, strict=True))

    tell(folder, keep_one_case)
    change(folder, keep_its_tensors)
    result = parity(folder)
    assert (result.exit_code, "FAIL" in result.stdout) == (2, False), result.stdout
    assert f"note: {note}\n" in result.stdout
    assert not_checked(result) == ([] if case == "two" else keys)


def draws_of_two() -> list[Tensor]:
    """What the case `two` draws from its generator."""
    generator = torch.Generator().manual_seed(41)
    order = torch.empty(2, 24, 1).uniform_(generator=generator)
    return [order, *(torch.randn(2, 4, 8, 12, generator=generator) for _ in range(7 * 6))]  # sets, steps of each


def test_a_pipeline_without_its_weights_is_damaged(tmp_path: Path) -> None:
    if not (SHARED / "e2e").is_dir():
        pytest.skip("the recording e2e is not beside the repository (../shared/parity)")
    folder = Path(shutil.copytree(SHARED / "e2e", tmp_path / "e2e"))
    for path in (folder / "pipeline" / "vae").glob("*.safetensors"):
        path.unlink()
    result = parity(folder)
    assert result.exit_code == 3, result.stdout
    assert "has no .safetensors weights" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_recording_without_gradients_says_so(small: Path) -> None:
    tell(small, lambda facts: facts.pop("grad_norms"))
    assert "remark:" not in parity(small).stdout, "some gradients are there as tensors"
    change(small, lambda tensors: [tensors.pop(key) for key in list(tensors) if ".grad." in key])
    result = parity(small, "--json")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)["sets"]
    assert report["remarks"] == ["no gradient is recorded: of the training steps nothing behind the losses was compared"]
    assert (report["notes"], report["not_checked"]) == ([], [])


@pytest.mark.parametrize(
    "claim",
    [
        lambda facts: facts.update(opensora_params=1),
        lambda facts: facts.update(osp_tiled_vs_untiled_encode_maxdiff=0.5),
        lambda facts: facts["osp_latents_out_for_frames"].update({"17": 6}),
        lambda facts: facts["osp_frames_out_for_latents"].update({"2": 999}),
    ],
)
def test_what_is_told_of_a_vae_is_compared(tmp_path: Path, claim: Callable[[dict[str, Any]], object]) -> None:
    if not (SHARED / "vae").is_dir():
        pytest.skip("the recording vae is not beside the repository (../shared/parity)")
    folder = Path(shutil.copytree(SHARED / "vae", tmp_path / "vae"))
    tell(folder, claim)
    result = parity(folder)
    assert (result.exit_code, result.stdout.count("FAIL")) == (1, 1), result.stdout


def test_what_is_told_of_clips_that_do_not_fill_tiles_is_not_passed_over(tmp_path: Path) -> None:
    if not (SHARED / "vae").is_dir():
        pytest.skip("the recording vae is not beside the repository (../shared/parity)")
    folder = Path(shutil.copytree(SHARED / "vae", tmp_path / "vae"))
    result = parity(folder)
    assert result.exit_code == 0, result.stdout
    for remark in (
        "osp_frames_out_for_latents: not compared with ours for 6, 7, 8, 10, 11, 12: such a clip does not fill",
        "osp_latents_out_for_frames: not compared with ours for 16, 18, 21, 25, 29, 32: such a clip does not fill",
    ):
        assert f"remark: {remark}" in result.stdout
    tell(folder, lambda facts: facts["osp_latents_out_for_frames"].update({"18": 999}))
    tell(folder, lambda facts: facts["osp_frames_out_for_latents"].update({"7": 25}))
    result = parity(folder)
    assert result.exit_code == 2, result.stdout
    assert "note: osp_latents_out_for_frames: 999 is told for 18, and the published tiles give 5" in result.stdout
    assert "note: osp_frames_out_for_latents: 25 is told for 7, and the published tiles give 17" in result.stdout


def test_what_is_no_recording_or_a_damaged_one_is_said(copied: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no recording in" in parity(empty).stderr
    assert parity(empty).exit_code == 3
    (copied / "weights.safetensors").unlink()
    result = parity(copied)
    assert result.exit_code == 3
    assert "weights.safetensors is missing: the recording is incomplete" in result.stderr
    content = (copied / "golden.safetensors").read_bytes()
    (copied / "golden.safetensors").write_bytes(content[: len(content) // 2])
    assert "golden.safetensors is damaged" in parity(copied).stderr


def test_a_damaged_set_keeps_no_other_from_being_replayed(copied: Path, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "another")
    (copied / "golden.json").unlink()
    result = parity(tmp_path, "--json")
    assert result.exit_code == 3
    assert "golden.json is missing" in result.stderr
    whole, damaged = json.loads(result.stdout)["sets"]
    assert (whole["name"], whole["status"]) == ("another", 0)
    assert len(whole["tensors"]) > 40
    assert (damaged["name"], damaged["status"], damaged["tensors"]) == ("set", 3, [])


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: change(folder, lambda tensors: tensors.update({"in.text2": torch.zeros(3, 32)})),
        lambda folder: change(folder, lambda tensors: tensors.pop("mlp.z")),
        lambda folder: (folder / "golden.json").write_text("{}"),
        lambda folder: save_file({"stray": torch.zeros(1)}, folder / "weights.safetensors"),
    ],
)
def test_what_is_lacking_or_too_much_ends_in_words(copied: Path, edit: Any) -> None:
    edit(copied)
    result = parity(copied)
    assert result.exit_code in (1, 2, 3), result.output
    assert isinstance(result.exception, SystemExit), "words, not a traceback"
    assert any(word in result.stdout for word in ("not replayed to its end", "NOT CHECKED", "FAULT"))


class Taking(Recording):
    """A recording that takes down what it would compare."""

    def compare(self, key: str, value: Tensor, tolerance: float | None = None) -> None:
        self.tensors[key] = value.detach().clone().contiguous()

    def compare_number(self, key: str, value: float, want: float, tolerance: float = 0.0) -> None:
        if key.startswith("train.") and key.rsplit(".", 1)[1].startswith("loss"):
            self.facts["train"][key.split(".")[1]]["losses"][key.rsplit(".", 1)[1]] = value

    def __contains__(self, key: str) -> bool:
        return key != "venc.rope_q" or key in self.tensors

    def wanted(self, key: str) -> Tensor:
        return self.tensors.get(key, torch.zeros(24, 256))


def take(folder: Path, config: dict[str, Any], frames: int) -> None:
    """Records our own model of a variant."""
    torch.manual_seed(0)
    base = {
        "image_base_size": [4, 6], "image_dim": 4, "image_stride": 8, "text_token_dim": 32, "text_token_len": 10,
        "video_base_size": [4, 2, 3], "arch": ["vit_d2w64", "vit_d4w64", "mlp_d2w80"],
    }  # fmt: skip
    config = {**base, **config}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {key: value.half().contiguous() for key, value in NOVATransformer3DModel(**config).state_dict().items()},
        folder / "weights.safetensors",
    )
    flow = {"class": "fm", "num_train_timesteps": 1000, "shift": 1.0}
    facts: dict[str, Any] = {"in": {"motion_flow": [5.0, 3.0], "fps": 12}, "rng": {}, "train": {}, "gen": {}}
    tensors = {
        "in.x": torch.randn(2, 4, frames, 8, 12), "in.text0": torch.randn(5, 32), "in.text1": torch.randn(10, 32),
        "ienc.prev_ids": torch.rand(2 * frames, 24, 1).argsort(1)[:, :7], "mlp.z": torch.randn(2 * frames, 24, 64),
        "mlp.t_token": torch.rand(2 * frames, 24) * 1000, "mlp.ids": torch.rand(2 * frames, 24, 1).argsort(1)[:, :5],
        "rng.uniform": torch.rand(2 * frames, 24, 1), "rng.noise": torch.randn(8 * frames, 24, 16),
        "rng.time": torch.randn(8 * frames, 24), "rng.order": torch.rand(2, 24, 1),
        **{f"rng.grid{index}": torch.randn(2, 4, 8, 12) for index in range(7 * frames)},
        "venc.rope_q": torch.randn(2, 2, (12 if config["video_base_size"][0] > 1 else 10) + 6 * frames, 32),
    }  # fmt: skip
    losses = dict.fromkeys(["loss"] if frames == 1 else ["loss_t2i", "loss_i2i"], 0.0)
    facts["train"]["fm"] = {"noise_scheduler": flow, "frames": frames, "caption_dropout": None, "losses": losses, "kept": 4}
    ratio = {"op": "scipy.stats.truncnorm.rvs", "value": [0.83]}
    facts["rng"]["train.fm"] = [
        {"op": "torch.rand", "key": "rng.uniform"}, ratio, {"op": "torch.randn", "key": "rng.noise"},
        {"op": "torch.normal", "key": "rng.time"},
    ]  # fmt: skip
    facts["gen"]["g5"] = {
        "sampler": flow, "frames": frames, "num_inference_steps": 8, "num_diffusion_steps": 3, "guidance_scale": 5,
        "motion_flow": 5, "i2v": False, "num_preds": [0, 2, 2, 3, 4, 4, 4, 5], "float64_maxdiff": 1e-5,
    }  # fmt: skip
    grids = [{"op": "Tensor.normal_", "key": f"rng.grid{index}"} for index in range(7 * frames)]
    facts["rng"]["gen.g5"] = [{"op": "Tensor.uniform_", "key": "rng.order"}, *grids]
    recording = Taking(folder, tensors, facts)
    if not config.get("rotary_pos_embed"):
        del tensors["venc.rope_q"]
    backbone.replay(recording)
    learning.replay(recording)
    sampling.replay(recording)
    assert not recording.notes, recording.notes
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    ("config", "frames"),
    [
        ({"video_mixer_rank": 4}, 3),
        ({"video_mixer_rank": -1}, 3),
        ({"rotary_pos_embed": True, "arch": ["vit_d2w64", "vit_d4w64", "mlp_d2w80"]}, 2),
        ({"video_base_size": [1, 2, 3]}, 1),
    ],
    ids=["mixer of rank 4", "full mixer", "rotary", "images"],
)
def test_variants_are_replayed_whole(tmp_path: Path, config: dict[str, Any], frames: int) -> None:
    take(tmp_path / "taken", config, frames)
    result = parity(tmp_path / "taken", "--json")
    report = json.loads(result.stdout)
    bad = [row["key"] for row in report["sets"][0]["tensors"] if not row["ok"]]
    assert (result.exit_code, bad, report["sets"][0]["not_checked"], report["sets"][0]["notes"]) == (0, [], [], [])
    assert report["compared"] > 30
