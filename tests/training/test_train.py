"""The whole of train.py on a toy model: what it leaves behind, going on after a kill, and two processes against one."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy import write_dataset

from lora_studio.adapters.card import read_card
from lora_studio.adapters.storage import adapter_metadata, adapter_sha256
from lora_studio.runs import Run, run_named
from lora_studio.training.checkpoint import list_checkpoints
from lora_studio.training.dataset import load_clips
from lora_studio.workspace import Workspace

TRAIN_PY = Path(__file__).parents[2] / "train.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def train(recipe: Path, workspace: Workspace, *more: str) -> None:
    """Runs train.py's own command line in this process."""
    spec = importlib.util.spec_from_file_location("train", TRAIN_PY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = sys.argv
    sys.argv = command(recipe, workspace, *more)[1:]
    try:
        module.main()
    finally:
        sys.argv = arguments


def command(recipe: Path, workspace: Workspace, *more: str) -> list[str]:
    return [sys.executable, str(TRAIN_PY), str(recipe), "--workspace", str(workspace.root), *more]


def figures(run: Run) -> list[dict]:
    """The metrics without what the clock says."""
    return [{key: value for key, value in row.items() if key not in ("seconds", "clips_per_s")} for row in run.metrics()]


def losses(run: Run) -> list[float]:
    return [row["loss"] for row in run.metrics() if "loss" in row]


def test_a_run_learns_and_leaves_adapter_card_and_metrics(recipe: Path, workspace: Workspace, capsys):
    train(recipe, workspace, "--set", "train.steps=60")
    run = run_named(workspace, "toy")
    state = run.state()
    assert state is not None
    assert (state.status, state.steps_done) == ("finished", 60)
    assert state.adapter_sha256 == adapter_sha256(run.adapter)
    assert state.validation_before is not None
    assert state.validation_after is not None
    assert state.validation_after < 0.8 * state.validation_before
    assert len(losses(run)) == 60
    assert [c.step for c in list_checkpoints(run.checkpoints)] == [50, 60]
    assert list(run.tensorboard.glob("events.*"))
    card = read_card(run.folder)
    assert card.held_out_loss is not None
    assert card.held_out_loss.high is not None
    assert card.held_out_loss.high < 0
    assert card.base.name == "local"
    assert card.trigger == "toylook"
    written = (run.folder / "card.md").read_text() + json.dumps(adapter_metadata(run.adapter))
    assert "seen at eye level" not in written
    assert str(recipe.parent) not in written
    out = capsys.readouterr().out
    assert "20 layers" in out
    assert "held-out loss went from" in out


def test_where_the_base_teaches_a_fresh_adapter_has_nothing_to_learn(recipe: Path, workspace: Workspace):
    """A fresh adapter changes nothing, so nothing pulls it back at first; once it has moved, something does."""
    for name, prior in (("free", 0.0), ("held", 1.0)):
        train(recipe, workspace, "--name", name, "--set", "train.steps=3", "--set", f"data.prior={prior}")
    free, held = (losses(run_named(workspace, name)) for name in ("free", "held"))
    assert held[:2] == free[:2]
    assert held[2] != free[2]
    drift = [row["prior_loss"] for row in run_named(workspace, "held").metrics() if "prior_loss" in row]
    assert drift[0] == 0 < drift[1]
    assert not any("prior_loss" in row for row in run_named(workspace, "free").metrics())


def test_a_run_that_stays_near_its_base_still_learns(recipe: Path, workspace: Workspace):
    train(recipe, workspace, "--set", "train.steps=60", "--set", "data.prior=1.0")
    state = run_named(workspace, "toy").state()
    assert state is not None
    assert state.validation_before is not None
    assert state.validation_after is not None
    assert state.validation_after < 0.9 * state.validation_before


def test_a_finished_run_is_left_alone_and_a_changed_one_is_refused(recipe: Path, workspace: Workspace, capsys):
    train(recipe, workspace, "--set", "train.steps=2")
    run = run_named(workspace, "toy")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    train(recipe, workspace, "--set", "train.steps=2")
    assert "toy is finished (2 steps" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    with pytest.raises(SystemExit):
        train(recipe, workspace, "--set", "train.steps=3")
    assert "was started with another recipe (2 steps done): train under a new name with --name NEW" in capsys.readouterr().err
    train(recipe, workspace, "--set", "train.steps=3", "--name", "new")
    assert len(losses(run_named(workspace, "new"))) == 3


def test_a_run_cut_short_goes_on_bit_for_bit(recipe: Path, workspace: Workspace):
    """What a kill leaves: an old checkpoint, metrics beyond it with half a line at the end, no adapter."""
    more = ("--set", "train.steps=20", "--set", "adapter.dropout=0.1", "--set", "train.checkpoint_every=8")
    train(recipe, workspace, *more, "--name", "straight")
    straight, cut = run_named(workspace, "straight"), run_named(workspace, "cut")
    shutil.copytree(straight.folder, cut.folder)
    shutil.rmtree(cut.adapter)
    shutil.rmtree(cut.checkpoints / "step_000020")
    (cut.checkpoints / ".step_000020.tmp").mkdir()
    state = straight.state()
    assert state is not None
    cut.save_state(state.model_copy(update={"name": "cut", "status": "training", "steps_done": 16, "adapter_sha256": None}))
    rows = cut.metrics_file.read_text().splitlines(keepends=True)
    cut.metrics_file.write_text("".join(rows[:20]) + rows[20][:30])
    train(recipe, workspace, *more, "--name", "cut")
    assert figures(cut) == figures(straight)
    assert adapter_sha256(cut.adapter) == adapter_sha256(straight.adapter)


@pytest.mark.slow
def test_killed_and_gone_on_equals_straight_through_bit_for_bit(recipe: Path, workspace: Workspace):
    more = ("--set", "train.steps=30", "--set", "adapter.dropout=0.1")
    train(recipe, workspace, *more, "--name", "straight")
    killed, straight = run_named(workspace, "killed"), run_named(workspace, "straight")
    process = subprocess.Popen(command(recipe, workspace, *more, "--name", "killed"), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(losses(killed)) < 13:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = killed.state()
    assert state is not None
    assert state.status == "training"
    assert 13 <= len(losses(killed)) < 30
    train(recipe, workspace, *more, "--name", "killed")
    assert figures(killed) == figures(straight)
    assert adapter_sha256(killed.adapter) == adapter_sha256(straight.adapter)


@pytest.mark.slow
def test_two_processes_train_as_one(recipe: Path, workspace: Workspace):
    more = ("--set", "train.steps=10", "--set", "train.batch_size=5")
    train(recipe, workspace, *more, "--name", "one")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    rest = command(recipe, workspace, *more, "--name", "two")[1:]
    subprocess.run([*launch, "--mixed_precision", "no", "--dynamo_backend", "no", *rest], env=ENVIRONMENT, check=True)
    one, two = run_named(workspace, "one"), run_named(workspace, "two")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    state, other = one.state(), two.state()
    assert state is not None
    assert other is not None
    assert other.status == "finished"
    assert other.validation_after == pytest.approx(state.validation_after, rel=1e-4)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulated_micro_batches_train_as_one_batch(recipe: Path, workspace: Workspace, accumulation: int):
    more = ("--set", "train.steps=4")
    train(recipe, workspace, *more, "--name", "whole")
    train(recipe, workspace, *more, "--name", "pieces", "--set", f"train.grad_accumulation={accumulation}")
    assert losses(run_named(workspace, "pieces")) == pytest.approx(losses(run_named(workspace, "whole")), rel=1e-4)


def test_gradient_checkpointing_changes_nothing(recipe: Path, workspace: Workspace):
    more = ("--set", "train.steps=3")
    train(recipe, workspace, *more, "--name", "plain")
    train(recipe, workspace, *more, "--name", "checkpointed", "--set", "train.gradient_checkpointing=true")
    assert losses(run_named(workspace, "checkpointed")) == losses(run_named(workspace, "plain"))


def test_what_cannot_start_says_why_in_one_line(recipe: Path, workspace: Workspace, tmp_path: Path, capsys):
    for arguments, words in (
        ((recipe, Workspace.at(tmp_path / "nowhere")), "no workspace at"),
        ((recipe, workspace, "--set", "optim.lrr=1"), "did you mean lr"),
        ((recipe, workspace, "--set", "model.base=nothing"), "no model 'nothing'"),
    ):
        with pytest.raises(SystemExit) as stop:
            train(*arguments)
        assert stop.value.code == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert words in error


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_clips(recipe: Path, workspace: Workspace, capsys):
    wild = ("--set", "optim.lr=1e30", "--set", "train.checkpoint_every=1", "--set", "optim.warmup_steps=0")
    with pytest.raises(SystemExit):
        train(recipe, workspace, *wild)
    error = capsys.readouterr().err
    assert "error: step 2: loss is " in error
    assert "on clips clip0" in error
    run = run_named(workspace, "toy")
    assert [c.step for c in list_checkpoints(run.checkpoints)] == [1]
    assert not run.adapter.exists()


def test_without_held_out_clips_a_run_still_ends_and_says_so(recipe: Path, workspace: Workspace, capsys):
    manifest = load_clips(workspace).manifest
    write_dataset(workspace, 4, 0, vae_sha256=manifest.vae_sha256, text_encoder_sha256=manifest.text_encoder_sha256)
    train(recipe, workspace, "--set", "train.steps=2")
    assert "no clip is held out" in capsys.readouterr().out
    assert read_card(run_named(workspace, "toy").folder).held_out_loss is None


def test_a_dataset_made_for_another_model_is_refused(recipe: Path, workspace: Workspace, capsys):
    write_dataset(workspace)
    with pytest.raises(SystemExit):
        train(recipe, workspace)
    assert "built with another VAE and text encoder" in capsys.readouterr().err
