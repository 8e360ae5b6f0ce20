"""Camera reports: the right row for each shot, and a clear word about a wrong one."""

import pytest

from data_tools.camera_report import read_reports
from data_tools.catalog import Catalog
from lora_studio.errors import FootageError
from lora_studio.workspace import Workspace


def said(workspace: Workspace) -> dict[tuple[str, int], tuple[str, dict[str, str]] | None]:
    catalog = Catalog(workspace)
    footage = catalog.footage()
    names = {record.footage_id: record.path.removeprefix("footage/") for record in footage if record.status == "usable"}
    reports = read_reports(workspace, footage)
    rows = {(names[row.shot.footage_id], row.shot.index): reports.of(row.shot) for row in catalog.shots()}
    return {key: None if row is None else (row.content, row.words) for key, row in rows.items()}


def write(workspace: Workspace, text: str, folder: str = ".") -> None:
    (workspace.footage / folder / "camera_report.csv").write_text(text)


def test_the_last_row_before_the_middle_holds(workspace: Workspace):
    assert said(workspace) == {
        ("a.mp4", 0): ("a red cup", {"angle.scale": "medium", "light.direction": "front"}),
        ("a.mp4", 1): ("a blue cup", {"angle.scale": "close_up"}),
        ("deep/pan.mp4", 0): None,
        ("deep/still.mp4", 0): None,
    }


def test_bare_names_and_nearer_reports(workspace: Workspace):
    write(workspace, "file,start_s,angle.scale\npan.mp4,0,wide\ndeep/still.mp4,0,wide\n")
    write(workspace, "file,start_s,angle.scale\nstill.mp4,0,close_up\n", "deep")
    found = said(workspace)
    assert found[("deep/pan.mp4", 0)] == ("", {"angle.scale": "wide"})
    assert found[("deep/still.mp4", 0)] == ("", {"angle.scale": "close_up"})


def test_unknown_names_are_reported_and_left_out(workspace: Workspace, caplog: pytest.LogCaptureFixture):
    write(workspace, "file,start_s,angle.scale\nzebra.mp4,0,wide\n")
    assert set(said(workspace).values()) == {None}
    assert "line 2: no usable footage is called 'zebra.mp4'" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,start_s,angle.size\na.mp4,0,wide\n", r"line 1: unknown column 'angle\.size'; allowed are file, start_s, content, "),
        ("file,angle.scale\na.mp4,wide\n", "line 1: column start_s is missing"),
        ("file,start_s,angle.scale\na.mp4,0,wide\na.mp4,2,huge\n", r"line 3: angle\.scale must be empty or one of .* 'huge'"),
        ("file,start_s\na.mp4,soon\n", "line 2: start_s must be seconds from the start of the file, got 'soon'"),
        ("file,start_s,content\na.mp4,0,a cup, red\n", "line 2: more cells than columns"),
    ],
)
def test_faults_name_file_line_and_what_is_allowed(workspace: Workspace, text: str, words: str):
    write(workspace, text)
    with pytest.raises(FootageError, match=r"camera_report\.csv, " + words):
        said(workspace)
