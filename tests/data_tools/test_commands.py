"""The command line: what a person sees, and one line when something is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_tools.__main__ import app
from lora_studio.brand import load_brand
from lora_studio.errors import LoraStudioError
from lora_studio.workspace import Workspace


def run(*words: object) -> str:
    """Runs a command in this process; an error for a person comes out as itself."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(words: str, *command: object) -> None:
    with pytest.raises(LoraStudioError, match=words):
        run(*command)


def test_init_writes_once(tmp_path: Path):
    command = ("init", tmp_path / "acme", "--name", "Acme", "--trigger", "acmelook", "--palette", "#D7263D, #F4F1E8")
    assert "no footage is cleared" in run(*command)
    brand = load_brand(Workspace.open(tmp_path / "acme"))
    assert (brand.palette, brand.rights.ai_training) == (("#D7263D", "#F4F1E8"), False)
    assert "stays as it is" in run(*command)
    assert "edit it to change the brand" in run(*command, "--subject", "a cup")
    assert load_brand(Workspace.open(tmp_path / "acme")) == brand


def test_init_records_the_statement_of_rights(tmp_path: Path):
    run("init", tmp_path, "--name", "Acme", "--trigger", "acmelook", "--owner", "Acme Ltd", "--cleared")
    rights = load_brand(Workspace.open(tmp_path)).rights
    assert (rights.owner, rights.ai_training) == ("Acme Ltd", True)


def test_init_faults(tmp_path: Path):
    init = ("init", tmp_path, "--name", "A", "--trigger")
    fails("--cleared needs --owner", *init, "acmelook", "--cleared")
    fails("--trigger: String should have at least 3", *init, "x")
    fails("--palette: each colour must look like #D7263D, got 'red'", *init, "acme", "--palette", "red")


@pytest.mark.parametrize("step", ["tag", "caption", "coverage", "build", "status"])
def test_a_missing_workspace_is_one_line(tmp_path: Path, step: str):
    fails("no workspace at .*make one with `data-tools init", step, tmp_path / "none")


def test_steps_without_the_step_before(tmp_path: Path):
    run("init", tmp_path, "--name", "Acme", "--trigger", "acmelook")
    for step in ("tag", "caption", "build"):
        fails("take footage in first", step, tmp_path)
    fails("run `data-tools ingest` and `data-tools tag` first", "coverage", tmp_path)
    assert "nothing is taken in yet" in run("status", tmp_path)


def test_steps_say_what_they_did(workspace: Workspace, tiny_vision_folder: Path):
    said = run("ingest", workspace.root, workspace.footage)
    assert "quarantined  footage/broken.mp4: broken.mp4: not a video" in said
    assert "4 files: 3 usable with 4 shots, 1 quarantined; nothing to do" in said
    assert "4 shots; nothing to do" in run("tag", workspace.root, "--vision", tiny_vision_folder)
    assert "4 shots: nothing to do" in run("caption", workspace.root)
    assert "shoot next:" in run("coverage", workspace.root, "--rows", "angle.movement", "--cols", "light.key")


def test_status_in_words_and_as_json(made_workspace: Workspace):
    said = run("status", made_workspace.root)
    assert "footage/a.mp4: usable (2 shots)" in said
    assert "footage/broken.mp4: quarantined: broken.mp4: not a video" in said
    found = json.loads(run("status", made_workspace.root, "--json"))
    assert found["shots"] == 4
    assert found["dataset"] is None
    assert {entry["rights"] for entry in found["footage"]} == {"cleared"}


def test_status_notices_changes(workspace: Workspace):
    (workspace.footage / "a.mp4").write_bytes(b"other")
    (workspace.footage / "deep" / "pan.mp4").unlink()
    said = run("status", workspace.root)
    assert "footage/a.mp4: usable (2 shots; file is changed)" in said
    assert "footage/deep/pan.mp4: usable (1 shots; file is missing)" in said
    assert "read 1 changed files again" in said


def test_an_error_is_one_line_and_status_1(tmp_path: Path):
    done = subprocess.run([sys.executable, "-m", "data_tools", "tag", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no workspace at")
    assert done.stderr.count("\n") == 1
