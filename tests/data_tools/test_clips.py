"""Clips are cut by time, side by side, and held out by whole files."""

from itertools import pairwise

import pytest
from test_captions import shot

from data_tools.clips import ClipFormat, clip_starts, plan_clips
from lora_studio.errors import FootageError
from lora_studio.records import Shot

FORM = ClipFormat(num_frames=9, fps=12.0, height=64, width=96)


def sized(num_frames: int, fps: float = 24, footage: str = "f", index: int = 0) -> Shot:
    name = f"{footage}{index}"
    size = {"num_frames": num_frames, "fps": fps}
    return shot(name).model_copy(update={"footage_id": footage, "index": index, "sha256": name, **size})


@pytest.mark.parametrize(
    ("num_frames", "fps", "number"), [(15, 24, 0), (17, 24, 1), (36, 24, 2), (30, 30, 1), (240, 24, 4), (9, 12, 1)]
)
def test_as_many_clips_as_fit(num_frames: int, fps: float, number: int):
    starts = clip_starts(sized(num_frames, fps), FORM)
    assert len(starts) == number
    for before, after in pairwise(starts):
        assert after - before >= FORM.duration_s - 1e-6
    if starts:
        assert starts[0] >= 0
        assert starts[-1] + 8 / 12 <= num_frames / fps + 1e-6


def test_files_are_held_out_whole_and_always():
    shots = [sized(60, footage=f"f{f}", index=i) for f in range(10) for i in range(2)]
    clips = plan_clips(shots, FORM, 0.2)
    splits = {}
    for clip in clips:
        splits.setdefault(clip.shot.footage_id, set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"held_out"} for found in splits.values()) == 2
    assert clips == plan_clips(list(reversed(shots)), FORM, 0.2)
    assert len({clip.clip_id for clip in clips}) == len(clips)


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_side_is_ever_empty(share: float):
    for shots in ([sized(60, footage="a"), sized(60, footage="b")], [sized(60, index=0), sized(60, index=1)]):
        assert {clip.split for clip in plan_clips(shots, FORM, share)} == {"train", "held_out"}


def test_one_shot_is_too_few():
    with pytest.raises(FootageError, match="at least 2 usable shots"):
        plan_clips([sized(60)], FORM, 0.2)
