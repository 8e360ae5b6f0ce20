"""`python app.py`: what a person reads when it cannot start."""

import subprocess
import sys
from pathlib import Path

import pytest
from studio import Studio

from lora_studio.workspace import Workspace

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--workspace", "nowhere"], "no workspace at nowhere"),
        (["--workspace", "acme", "--host", "0.0.0.0"], "--host must be 127.0.0.1 or localhost, got 0.0.0.0"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, options: list[str], expected: str):
    Studio(Workspace.at(tmp_path / "acme")).write_sheet({"bottle": "a bottle"})
    command = [sys.executable, str(ROOT / "app.py"), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {expected}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
