"""Which patches are predicted when."""

import pytest
import torch
from scipy.stats import truncnorm

from lora_studio.nova.masking import generation_rounds, mask_ratio, split_order


@pytest.mark.parametrize("uniform", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_mask_ratio_is_a_truncated_normal(uniform: float) -> None:
    assert mask_ratio(uniform) == pytest.approx(truncnorm(-1.2, 0, loc=1, scale=0.25).ppf(uniform), abs=1e-9)


@pytest.mark.parametrize(("patches", "steps", "sizes"), [(24, 8, [2, 2, 3, 4, 4, 4, 5]), (96, 1, [96]), (4, 64, [1, 1, 1, 1])])
def test_rounds_follow_the_cosine_and_cover_every_patch_once(patches: int, steps: int, sizes: list[int]) -> None:
    order = torch.stack([torch.randperm(patches), torch.randperm(patches)])
    rounds = generation_rounds(order, steps)
    assert [r.predicted_ids.shape[1] for r in rounds] == sizes
    assert torch.equal(torch.cat([r.predicted_ids for r in rounds], dim=1), order)
    assert all(torch.equal(r.kept_ids, order[:, : r.kept_ids.shape[1]]) for r in rounds)


def test_at_least_one_patch_is_predicted() -> None:
    kept, predicted = split_order(torch.arange(4), 0.01)
    assert (len(kept), len(predicted)) == (3, 1)
    kept, predicted = split_order(torch.arange(4), 1.0)
    assert (len(kept), len(predicted)) == (0, 4)
