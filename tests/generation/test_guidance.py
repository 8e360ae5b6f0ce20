"""Guidance: which rows there are and how their predictions become one."""

import pytest
import torch

from lora_studio.generation.guidance import Guidance


def test_branches_follow_from_the_settings() -> None:
    assert Guidance().num_branches == 1
    assert Guidance(scale=3.0).num_branches == 2
    assert Guidance(scale=3.0, image=1.5).num_branches == 3
    assert Guidance(image=1.5).num_branches == 3


def test_strength_one_is_the_prompt_alone() -> None:
    conditional, bare = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    guided, _ = Guidance(scale=2.0).combine(torch.cat([conditional, bare]), 1.0)
    assert torch.allclose(guided, conditional, atol=1e-6)


def test_image_guidance_of_rows_that_see_nothing_is_plain_guidance() -> None:
    """Where the frames before change nothing, the third branch equals the second and its strength does not matter."""
    conditional, bare = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    plain, _ = Guidance(scale=4.0).combine(torch.cat([conditional, bare]), 4.0)
    for image in (0.5, 3.0):
        guided, _ = Guidance(scale=4.0, image=image).combine(torch.cat([conditional, bare, bare]), 4.0)
        assert torch.allclose(guided, plain, atol=1e-6)


def test_the_scale_grows_evenly() -> None:
    guidance = Guidance(scale=5.0, least=1.0)
    assert [guidance.at(step, 4) for step in range(4)] == [2.0, 3.0, 4.0, 5.0]
    assert Guidance(scale=5.0).at(0, 4) == 5.0


def test_guidance_is_left_out_near_the_data() -> None:
    assert Guidance(scale=5.0).active(0.0)
    assert not Guidance(scale=5.0, until=500).active(499.0)
    assert Guidance(scale=5.0, until=500).active(501.0)
    assert not Guidance().active(501.0)


@pytest.mark.parametrize(("factor", "length"), [(10.0, 0.5 * 10.0), (1.25, 1.0), (0.5, 0.5)])
def test_a_frame_is_shortened_but_never_beyond_the_limit(factor: float, length: float) -> None:
    conditional = torch.randn(2, 6, 4)
    short = Guidance(scale=3.0, renorm=0.5).shorten(conditional * factor, conditional)
    assert torch.allclose(short.flatten(1).norm(dim=1), conditional.flatten(1).norm(dim=1) * length, rtol=1e-5)


def test_only_the_second_branch_is_blind() -> None:
    rows = Guidance(scale=3.0, image=1.0).blind_rows(2, torch.device("cpu"))
    assert rows is not None
    assert rows.tolist() == [False, False, True, True, False, False]
    assert Guidance(scale=3.0).blind_rows(2, torch.device("cpu")) is None
