"""The learned source of tags: it finds what can be found, and keeps silent where it only seems to."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data_tools import probe
from data_tools.catalog import Catalog, ShotRow
from data_tools.corrections import undo_correction, write_correction
from data_tools.probe import Example, learn
from data_tools.tags import tag_shots
from lora_studio.workspace import Workspace

VALUES = ("front", "back", "top")
WIDTH = 48
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def drawn(number: int, told: int, noise: float, width: int = WIDTH) -> tuple[list[Example], list[str]]:
    """Shots around one centre per value, the first `told` of them with a statement; and the truth of all."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(3, width))
    truth = [VALUES[index % 3] for index in range(number)]
    vectors = [centres[index % 3] + noise * chance.normal(size=width) for index in range(number)]
    return [
        Example(vector / np.linalg.norm(vector), f"scene {index}", value if index < told else None, "front")
        for index, (vector, value) in enumerate(zip(vectors, truth, strict=True))
    ], truth  # fmt: skip


def test_what_was_stated_of_some_is_told_of_all():
    examples, truth = drawn(200, told=40, noise=1.0)
    found = learn(examples)
    assert found is not None
    assert found.is_better
    assert found.num_shots == 40
    told = [max(scores, key=lambda value: scores[value]) for scores in found.scores]
    assert np.mean([one == other for one, other in zip(told[40:], truth[40:], strict=True)]) > 0.95
    assert found.right_looked == pytest.approx(14 / 40)


def test_probabilities_come_true():
    examples, truth = drawn(600, told=200, noise=5.0)
    found = learn(examples)
    assert found is not None
    assert found.is_better
    best = [max(scores.items(), key=lambda item: item[1]) for scores in found.scores[200:]]
    right = np.mean([value == true for (value, _), true in zip(best, truth[200:], strict=True)])
    assert 0.5 < right < 0.95, "hard, but not hopeless: else this says nothing of probabilities"
    assert abs(np.mean([p for _, p in best]) - right) < 0.08


def test_nothing_is_learned_from_chance():
    examples, _ = drawn(60, told=60, noise=1.0)
    chance = np.random.default_rng(1)
    found = learn([replace(one, stated=str(chance.choice(VALUES))) for one in examples])
    assert found is not None
    assert not found.is_better


def test_takes_of_one_scene_are_one_piece_of_evidence():
    """Ten takes of each of six scenes, each scene with a random word: who saw one take knows the other nine, and nothing else."""
    chance = np.random.default_rng(2)
    scenes = [(chance.normal(size=WIDTH), str(chance.choice(VALUES[:2]))) for _ in range(6)]
    examples = [
        Example(vector + 0.01 * chance.normal(size=WIDTH), f"scene {number}", value, None)
        for number, (vector, value) in enumerate(scenes) for _ in range(10)
    ]  # fmt: skip
    alone = learn([replace(one, scene=f"{one.scene} {index}") for index, one in enumerate(examples)])
    together = learn(examples)
    assert alone is not None
    assert alone.is_better, "as single shots they seem to teach it"
    assert together is None or not together.is_better


def test_an_image_text_model_that_is_right_stays():
    examples, truth = drawn(60, told=60, noise=1.0)
    found = learn([replace(one, looked=value) for one, value in zip(examples, truth, strict=True)])
    assert found is not None
    assert not found.is_better


@pytest.mark.parametrize("told", [0, probe.LEAST_SHOTS - 1])
def test_few_statements_teach_nothing(told: int):
    assert learn(drawn(60, told=told, noise=1.0)[0]) is None


def test_corrections_teach_the_rest_of_a_library(workspace: Workspace, tiny_vision_folder: Path):
    catalog, (examples, truth) = Catalog(workspace), drawn(45, told=0, noise=1.0, width=32)
    made = next(row for row in catalog.shots() if row.shot.tags["light.direction"].source != "metadata")
    shots = [made.shot.model_copy(update={"shot_id": f"x{number:03}", "hashes": ()}) for number in range(len(examples))]
    catalog.put_shots([ShotRow(shot, made.keys, one.vector.astype(np.float32)) for shot, one in zip(shots, examples, strict=True)])
    for value in VALUES:
        ids = [shot.shot_id for shot, true in zip(shots[:30], truth, strict=False) if true == value]
        write_correction(workspace, ids, "light.direction", value, "Ana", NOW)
    found = tag_shots(workspace, tiny_vision_folder).learned["light.direction"]
    assert found.is_better
    assert found.num_shots >= 30
    tags = {row.shot.shot_id: row.shot.tags["light.direction"] for row in Catalog(workspace).shots()}
    assert {tags[shot.shot_id].source for shot in shots[:30]} == {"human"}
    assert {tags[shot.shot_id].source for shot in shots[30:]} == {"probe"}
    assert [tags[shot.shot_id].value for shot in shots[30:]] == truth[30:]
    assert tag_shots(workspace, tiny_vision_folder).num_changed == 0
    for _ in VALUES:
        undo_correction(workspace, "Ana", NOW)
    assert tag_shots(workspace, tiny_vision_folder).learned == {}
    assert not any("probe" in row.shot.tags["light.direction"].scores for row in Catalog(workspace).shots())
