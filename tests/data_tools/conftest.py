"""A small brand whose footage is drawn, taken in, tagged and captioned once per session; tests that write copy it."""

import shutil
from pathlib import Path

import pytest
from drawing import BRAND, cut_film, move, texture, tinted

from data_tools.captions import caption_shots
from data_tools.ingest import ingest_folder
from data_tools.tags import tag_shots
from lora_studio.brand import save_brand
from lora_studio.video import write_video
from lora_studio.workspace import Workspace

REPORT = "file,start_s,content,angle.scale,light.direction\na.mp4,0,a red cup,medium,front\na.mp4,1.2,a blue cup,close_up,\n"


def draw_footage(folder: Path) -> None:
    """Two shots; a pan; a still; a file without its index; a file that is no video."""
    folder.mkdir(parents=True)
    cut_film(folder / "a.mp4", (30, 40))
    write_video(folder / "deep" / "pan.mp4", tinted(move(texture(5), 40, right=-15), (0.3, 0.25, 0.2)), 24)
    write_video(folder / "deep" / "still.mp4", move(texture(6), 36), 24)
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[2000:])
    (folder / "notes.txt").write_text("no footage")
    (folder / "camera_report.csv").write_text(REPORT)


@pytest.fixture(scope="session")
def made_workspace(tmp_path_factory: pytest.TempPathFactory, tiny_vision_folder: Path) -> Workspace:
    root = tmp_path_factory.mktemp("brand")
    workspace = Workspace.at(root / "acme")
    save_brand(workspace, BRAND)
    draw_footage(root / "acme" / "footage")
    ingest_folder(workspace, workspace.footage)
    tag_shots(workspace, tiny_vision_folder)
    caption_shots(workspace)
    return workspace


@pytest.fixture
def workspace(made_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy that a test may change; that a copy goes on working is itself a promise."""
    shutil.copytree(made_workspace.root, tmp_path / "acme", copy_function=shutil.copy2)
    return Workspace.open(tmp_path / "acme")
