"""Zero-shot scores: relative to the library, silent without something to compare with, silent without training."""

import numpy as np
import torch
from drawing import move, texture

from data_tools.zero_shot import LOOKED_AXES, embed_shot, score_shots
from lora_studio.taxonomy import AXES


class Brightness:
    """An image-text model whose one thought is how bright a picture is; a constant leaning to `dark` is its prior."""

    logit_scale = 60.0
    knows_colours = True

    def embed_images(self, frames: np.ndarray) -> torch.Tensor:
        level = torch.from_numpy(frames).float().mean(dim=(1, 2, 3)) / 255
        return torch.nn.functional.normalize(torch.stack([level, 1 - level + 1, torch.full_like(level, 0.2)], dim=1), dim=1)

    def embed_texts(self, texts: list[str]) -> torch.Tensor:
        rows = [[1.0, 0.0, 0.1] if "bright" in t else [0.0, 1.0, 0.1] if "dark" in t else [0.5, 0.5, 0.1] for t in texts]
        return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def library() -> np.ndarray:
    picture = move(texture(1), 2)
    return np.stack([embed_shot(Brightness(), (picture * level).astype(np.uint8)) for level in (0.05, 0.5, 1.0, 0.1)])


def test_scores_rank_against_the_library():
    scores = score_shots(Brightness(), library())
    keys = [max(one["light.key"], key=lambda value, one=one: one["light.key"][value]) for one in scores]
    assert keys[0] == keys[3] == "low"
    assert keys[2] == "high"
    for one in scores:
        assert set(one) == set(LOOKED_AXES)
        for axis, row in one.items():
            assert tuple(row) == tuple(AXES[axis])
            assert abs(sum(row.values()) - 1) < 0.01


def test_one_shot_has_nothing_to_compare_with():
    (scores,) = score_shots(Brightness(), library()[:1])
    assert max(scores["light.key"].values()) < 0.34


def test_an_untrained_model_has_no_say():
    model = Brightness()
    model.knows_colours = False
    assert score_shots(model, library()) == [{}, {}, {}, {}]


def test_a_frame_is_not_asked_for_movement():
    assert "angle.movement" not in LOOKED_AXES
