"""`make demo` as a whole: killed at any step it finishes when run again, with nothing done twice and nothing lost."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lora_studio.files import read_json, sha256_file
from lora_studio.runs import Run

ROOT = Path(__file__).parents[1]
SMALL = [
    "SERVE=0",
    "STAGE_ARGS=--files 3",
    "TRAIN_ARGS=--set train.steps=6 --set train.batch_size=2 --set train.checkpoint_every=2 --set train.validate_every=6",
    "TAKES_ARGS=--seeds 0 --steps 4",
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2700)]


def make_demo(workspace: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["make", *options, "demo", *SMALL, f"WORKSPACE={workspace}"], cwd=ROOT, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def demo_commands(workspace: Path) -> list[str]:
    lines = make_demo(workspace, "--dry-run").stdout.splitlines()
    return [line for line in lines if line.split()[0] in ("data-tools", "lora-studio", "accelerate")]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder with its inode and modification time: equal stamps mean nothing was written."""
    found = {}
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:  # a temporary file that was renamed between the listing and the look
            continue
        if path.is_file():
            found[str(path.relative_to(folder))] = (status.st_ino, status.st_mtime_ns)
    return found


def run_until_it_writes(command: str, workspace: Path) -> bool:
    """Starts a command and kills it and its children with SIGKILL just after it first writes; True when it was killed."""
    before = stamps(workspace)
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command, shell=True, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and stamps(workspace) == before:
        time.sleep(0.01)
    time.sleep(0.15)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def products(workspace: Path) -> dict[str, object]:
    """What the main job makes, by content."""
    patterns = ("footage/*.mp4", "catalog/shots/*.mp4", "runs/*/adapter/adapter_model.safetensors", "takes/*.mp4")
    found: dict[str, object] = {
        str(path.relative_to(workspace)): sha256_file(path) for pattern in patterns for path in sorted(workspace.glob(pattern))
    }
    found["dataset"] = read_json(workspace / "dataset" / "manifest.json")["dataset_sha256"]
    found["ledger"] = read_json(workspace / "dataset" / "ledger.json")
    for folder in sorted(workspace.glob("runs/*/")):
        found[f"{folder.name} losses"] = [(row["step"], row["loss"]) for row in Run(folder).metrics() if "loss" in row]
    return found


def test_killed_demo_finishes_and_does_nothing_twice(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    make_demo(straight)
    expected = products(straight)
    assert sum(name.startswith("takes/") for name in expected) >= 3 * 3
    assert len(expected["nano_look losses"]) == 6

    kills = 0
    for command in demo_commands(killed):
        kills += run_until_it_writes(command, killed)
        finished = subprocess.run(
            ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=600,
            env={**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert finished.returncode == 0, f"{command}\n{finished.stdout[-2000:]}{finished.stderr[-2000:]}"
    print(f"{kills} of the demo's steps were killed while they wrote")
    assert kills >= 6
    assert products(killed) == expected
    assert not [name for name in stamps(killed) if ".tmp" in name and "dataset" not in name], "temporary files were left behind"

    elsewhere = tmp_path / "elsewhere" / "moved"
    shutil.copytree(killed, elsewhere)
    shutil.rmtree(killed)
    copied = stamps(elsewhere)
    make_demo(elsewhere)
    assert stamps(elsewhere) == copied, "a finished demo, moved to another place, was worked on again"
