"""Replaying recordings: all given ones are met; a changed number, an extra tensor and a damaged file are told apart.

Variants without a recording beside the repository are recorded here from our own model: that proves that the replaying code of
these variants runs and accounts for every tensor. It proves nothing about the published implementation.
"""

import json
import math
import shutil
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
    facts = json.loads((copied / "golden.json").read_text())
    facts["gen"]["g1"]["guidance_of_tomorrow"] = 3
    (copied / "golden.json").write_text(json.dumps(facts))
    result = parity(copied)
    assert result.exit_code == 2
    assert "NOT CHECKED gen.g1.latents" in result.stdout
    assert "gen.g1: settings not known here: guidance_of_tomorrow" in result.stdout


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
