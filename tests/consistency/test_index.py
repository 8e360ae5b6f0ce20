"""Scoring a drawn workspace: known colours and flicker come out as such, nothing is scored twice, blindness is said."""

import shutil
from pathlib import Path

import pytest
from drawn import GREEN, PROMPTS, RED, draw_take, draw_takes, draw_workspace, finish_run, picture

from lora_studio import files
from lora_studio.brand import save_prompts
from lora_studio.consistency import index
from lora_studio.consistency.colour import palette_lab
from lora_studio.consistency.index import score_workspace
from lora_studio.consistency.scores import METRICS, Scores, TakeScore, compare, read_scores, summarise
from lora_studio.errors import WorkspaceError
from lora_studio.records import PromptSheet
from lora_studio.workspace import Workspace


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = draw_workspace(tmp_path_factory.mktemp("drawn"))
    draw_takes(workspace)
    return workspace


@pytest.fixture(scope="module")
def scored(drawn: Workspace, tiny_vision_folder: Path) -> Scores:
    return score_workspace(drawn, tiny_vision_folder)


@pytest.fixture
def copy(drawn: Workspace, scored: Scores, tmp_path: Path) -> Workspace:
    shutil.copytree(drawn.root, tmp_path / "copy")
    return Workspace.open(tmp_path / "copy")


def test_every_current_take_is_scored_and_summed_up(drawn: Workspace, scored: Scores) -> None:
    assert len(scored.takes) == 14
    assert {(s.look, s.side): s.statistics["flicker"].n for s in scored.looks} == {
        ("real", "brand"): 2, ("base", "brand"): 4, ("look", "brand"): 4, ("base", "control"): 2, ("look", "control"): 2,
    }  # fmt: skip
    assert read_scores(drawn) == scored
    assert scored.definitions == METRICS
    assert scored.palette == ("#D7263D", "#F4F1E8")
    assert scored.palette_source == "brand.toml"


def test_brand_colours_score_nearer_than_others(scored: Scores) -> None:
    real, base, look = (scored.statistic(look, "palette_share") for look in ("real", "base", "look"))
    assert real is not None
    assert base is not None
    assert look is not None
    patch = 32 * 40 / (48 * 64)  # the share of the frame that the patch covers
    assert base.mean == pytest.approx(1 - patch, abs=0.06)
    assert look.mean > 0.9
    assert real.mean > 0.9
    difference = scored.difference("look", "base", "palette_share")
    assert difference is not None
    assert difference.mean == pytest.approx(look.mean - base.mean)
    assert difference.verdict == "higher"
    against_real = scored.difference("look", "real", "palette_share")
    assert against_real is not None
    assert against_real.verdict == "too few"  # two real clips say nothing


def test_flicker_is_seen_and_leakage_is_not_claimed(scored: Scores) -> None:
    flicker = scored.difference("look", "base", "flicker")
    assert flicker is not None
    assert flicker.verdict == "lower"
    leak = scored.difference("look", "base", "palette_share", side="control")
    assert leak is not None
    assert abs(leak.mean) < 0.05
    assert leak.half_width is None
    assert leak.n == 2


def test_the_shipped_vision_model_is_the_default_for_nova_nano_alone() -> None:
    vision, reason = index._open_vision(None, "0.6b")
    assert vision is None
    assert reason is not None
    assert "--vision FOLDER" in reason
    vision, reason = index._open_vision(None, "nano")
    assert vision is not None
    assert reason is None


def test_a_model_that_knows_no_colours_measures_no_identity(scored: Scores) -> None:
    assert all(take.values["identity"] is None for take in scored.takes)
    assert "not measured" in scored.reasons["identity"]
    assert "colour cards" in scored.reasons["identity"]
    assert scored.statistic("base", "identity") is None


def test_nothing_is_scored_twice(copy: Workspace, scored: Scores, tiny_vision_folder: Path) -> None:
    """The kept values are the stored ones (changed here to tell), not new ones."""
    path = copy.takes / "scores.json"
    before = path.stat()
    assert score_workspace(copy, tiny_vision_folder) == scored
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    table = files.read_json(path)
    table["takes"][0]["values"]["motion"] = 123.0
    files.write_json(path, table)
    assert score_workspace(copy, tiny_vision_folder).takes[0].values["motion"] == 123.0


def test_a_changed_take_is_scored_again(copy: Workspace, scored: Scores, tiny_vision_folder: Path) -> None:
    draw_take(copy, picture(RED, 5), PROMPTS[0], 0, "base")
    again = score_workspace(copy, tiny_vision_folder)
    changed = [new.take_id for old, new in zip(scored.takes, again.takes, strict=True) if old != new]
    assert len(changed) == 1
    share = next(take.values["palette_share"] for take in again.takes if take.take_id == changed[0])
    assert share is not None
    assert share > 0.9


def test_takes_of_other_prompts_or_adapters_are_not_scored(copy: Workspace, tiny_vision_folder: Path) -> None:
    save_prompts(copy, PromptSheet(seeds=(0,), prompts=PROMPTS[:1]))
    assert {(take.look, take.prompt_id) for take in score_workspace(copy, tiny_vision_folder).takes} == {
        ("real", "cup"), ("base", "cup"), ("look", "cup"),
    }  # fmt: skip
    state = finish_run(copy, "look")
    finish_run(copy, "other")
    shutil.rmtree(copy.runs / "look")
    assert {take.look for take in score_workspace(copy, tiny_vision_folder).takes} == {"real", "base"}
    assert state.adapter_sha256 == "l" * 64


def test_without_a_palette_one_is_measured_and_labelled(tmp_path: Path, tiny_vision_folder: Path) -> None:
    workspace = draw_workspace(tmp_path, palette=())
    draw_take(workspace, picture(GREEN, 0), PROMPTS[0], 0, "base")
    scores = score_workspace(workspace, tiny_vision_folder)
    assert scores.palette_source == "measured from footage"
    from skimage.color import deltaE_ciede2000

    found = palette_lab(scores.palette)
    for colour in ("#D7263D", "#F4F1E8"):
        assert deltaE_ciede2000(found, palette_lab((colour,))).min() < 5


def test_no_takes_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="lora-studio takes"):
        score_workspace(draw_workspace(tmp_path))


def row(look: str, prompt: str, seed: int, value: float | None) -> TakeScore:
    return TakeScore(
        take_id=f"{look}{prompt}{seed}", key="k", look=look, side="brand", prompt_id=prompt, seed=seed, values={"identity": value}
    )


def test_two_clips_of_one_shot_are_one_piece_of_evidence() -> None:
    clips = [("a", "shot-1", 0.2), ("b", "shot-1", 0.4), ("c", "shot-2", 0.9)]
    rows = [row("real", prompt, 0, value).model_copy(update={"shot_id": shot}) for prompt, shot, value in clips]
    statistic = summarise(rows)[0].statistics["identity"]
    assert statistic.n == 2
    assert statistic.mean == pytest.approx(0.6)
    assert statistic.standard_error == pytest.approx(0.3)


def test_differences_are_paired_and_noise_is_called_noise() -> None:
    prompts = [(prompt, seed) for prompt in "abc" for seed in (0, 1)]
    levels = [0.1, 0.9, 0.3, 0.5, 0.2, 0.8]  # prompts differ far more than looks do
    noise = [0.01, -0.01, 0.02, -0.02, 0.01, -0.01]
    rows = [row("base", p, s, level) for (p, s), level in zip(prompts, levels, strict=True)]
    rows += [row("better", p, s, level + 0.1 + e) for (p, s), level, e in zip(prompts, levels, noise, strict=True)]
    rows += [row("same", p, s, level + e) for (p, s), level, e in zip(prompts, levels, noise, strict=True)]
    rows += [row("half", p, s, None if s else level) for (p, s), level in zip(prompts, levels, strict=True)]
    found = {d.look: d for d in compare(rows) if d.against == "base"}
    assert found["better"].mean == pytest.approx(0.1)
    assert found["better"].half_width == pytest.approx(2.5706 * 0.015492 / 6**0.5, rel=1e-3)  # t(0.975, 5)
    assert found["better"].verdict == "higher"
    assert found["same"].verdict == "within noise"
    assert found["half"].n == 3
    base = next(s for s in summarise(rows) if s.look == "base").statistics["identity"]
    assert base.mean == pytest.approx(2.8 / 6)
    assert base.standard_error == pytest.approx(0.4 / 3)
