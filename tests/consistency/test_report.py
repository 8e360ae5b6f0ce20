"""The report says no more than its numbers: directions only outside the noise, gaps with their reasons, no second writing."""

from pathlib import Path

import pytest
from drawn import GREEN, PROMPTS, draw_take, draw_takes, draw_workspace, finish_run, picture

from lora_studio.consistency.index import score_workspace
from lora_studio.consistency.report import write_report
from lora_studio.errors import TrainingError
from lora_studio.workspace import Workspace


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, tiny_vision_folder: Path) -> tuple[Workspace, str, str]:
    workspace = draw_workspace(tmp_path_factory.mktemp("told"))
    draw_takes(workspace)
    score_workspace(workspace, tiny_vision_folder)
    paragraph = write_report(workspace)
    return workspace, paragraph, (workspace.takes / "report.md").read_text()


def test_what_was_learned_is_told_with_its_numbers(told: tuple[Workspace, str, str]) -> None:
    _, paragraph, text = told
    assert "held-out loss went from 1.0000 to 0.8000" in paragraph
    assert "nearer to the palette" in paragraph
    assert "steadier" in paragraph
    assert "Identity not measured" in paragraph
    assert "nova-nano" in paragraph
    assert paragraph in text
    assert "| look | base | palette share | +0.417 | higher" in text
    assert "too few (n = 2)" in text
    assert "runs/look/adapter" in text


def test_the_report_can_be_moved_and_is_not_written_twice(told: tuple[Workspace, str, str]) -> None:
    workspace, paragraph, text = told
    assert str(workspace.root) not in text
    path = workspace.takes / "report.md"
    before = path.stat()
    assert write_report(workspace) == paragraph
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_equal_looks_are_within_noise(tmp_path: Path, tiny_vision_folder: Path) -> None:
    workspace = draw_workspace(tmp_path)
    finish_run(workspace, "twin", before=1.0, after=1.0)
    for number, prompt in enumerate(PROMPTS[:2]):
        for seed in (0, 1):
            draw_take(workspace, picture(GREEN, 4 * number + seed), prompt, seed, "base")
            draw_take(workspace, picture(GREEN, 4 * number + 3 - seed), prompt, seed, "twin")
    score_workspace(workspace, tiny_vision_folder)
    paragraph = write_report(workspace)
    assert paragraph.count("within noise") == 3  # palette distance, flicker, motion
    for claim in ("nearer", "further", "steadier", "less steady"):
        assert claim not in paragraph


def test_before_scoring_nothing_is_said_of_looks(tmp_path: Path) -> None:
    workspace = draw_workspace(tmp_path)
    finish_run(workspace, "look")
    paragraph = write_report(workspace)
    assert "not scored yet" in paragraph
    assert "lora-studio takes" in paragraph


def test_without_a_finished_run_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.py"):
        write_report(draw_workspace(tmp_path))
