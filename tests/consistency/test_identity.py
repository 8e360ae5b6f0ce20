"""Likeness to real footage: cosines of known vectors, and footage that is never compared with itself."""

from pathlib import Path

import pytest
import torch
from drawn import CLIPS, FPS, NUM_FRAMES, RED, draw_workspace, picture

from lora_studio.consistency.identity import References, embed_references, likeness, why_blind
from lora_studio.vision import load_vision
from lora_studio.wall import dataset_clips


def test_likeness_is_the_mean_cosine_of_all_pairs() -> None:
    frames = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    references = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    assert likeness(frames, references) == pytest.approx((1 + 0 + 0.8 + 0.6 + 0.8 + 0.96) / 6)
    assert likeness(frames[:1], frames[:1]) == pytest.approx(1)


def test_footage_is_compared_with_other_shots_only() -> None:
    references = References(torch.eye(3), ("a", "b", "a"))
    assert references.without("a").shots == ("b",)
    assert torch.equal(references.without("a").vectors, torch.eye(3)[1:2])
    assert references.without(None).shots == ("a", "b", "a")
    assert references.without("a").without("b").shots == ()


def test_references_are_frames_of_held_out_shots(tmp_path: Path, tiny_vision_folder: Path) -> None:
    workspace, vision = draw_workspace(tmp_path), load_vision(tiny_vision_folder)
    references = embed_references(workspace, dataset_clips(workspace, "held_out"), vision, NUM_FRAMES, FPS)
    assert references.shots == ("shot-c",) * 8 + ("shot-d",) * 8
    assert set(references.shots) == {shot for shot, split, *_ in CLIPS.values() if split == "held_out"}
    direct = vision.embed_images(picture(RED, 2)[:1])
    assert likeness(direct, references.vectors[:1]) > 0.99


def test_a_blind_model_is_named_as_such(tiny_vision_folder: Path) -> None:
    reason = why_blind(load_vision(tiny_vision_folder))
    assert reason is not None
    assert "of 8 plain colour cards" in reason
