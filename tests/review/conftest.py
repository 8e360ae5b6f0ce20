"""A brand without takes, for each test to fill."""

from pathlib import Path

import pytest
from studio import Studio

from lora_studio.workspace import Workspace


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    workspace = Workspace.at(tmp_path / "acme")
    made = Studio(workspace)
    made.write_sheet({"bottle": "a bottle on a table"})
    return made
