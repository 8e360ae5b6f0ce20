"""Takes of one set-up are one scene, and a scene never falls on both sides of the split."""

import numpy as np
import pytest
from drawing import move, texture, tinted
from test_captions import shot
from test_clips import FORM, sized

from data_tools import scenes
from data_tools.clips import plan_clips
from lora_studio.records import Shot


def hashed(name: str, frames: np.ndarray) -> Shot:
    return shot(name).model_copy(update={"hashes": tuple(scenes.hash_frame(frame) for frame in frames)})


def film(seed: int, right: float = 2.0) -> np.ndarray:
    smooth = texture(seed)[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)
    return move(smooth, 5, right=right, fps=5)


def test_takes_of_one_set_up_are_near_and_others_far():
    first = hashed("a", film(1))
    noise = np.random.default_rng(0).normal(0, 6, film(1).shape)
    again = hashed("b", np.clip(0.8 * film(1, right=4) + 20 + noise, 0, 255).astype(np.uint8))  # brighter, noisier, moved otherwise
    warm = hashed("c", tinted(film(1), (1.0, 0.8, 0.6)))
    other = hashed("d", film(2))
    assert scenes.distance(first.hashes, again.hashes) < scenes.ALIKE_BITS
    assert scenes.distance(first.hashes, warm.hashes) < scenes.ALIKE_BITS
    assert scenes.distance(first.hashes, other.hashes) > 2 * scenes.ALIKE_BITS
    assert scenes.group_scenes([other, warm, again, first], {}) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_scenes_chain_and_shots_without_hashes_stand_alone():
    drift = [0, 0b111111, 0b111111111111]  # six bits from one to the next, twelve in all
    shots = [shot(name).model_copy(update={"hashes": (f"{number:016x}",)}) for name, number in zip("abc", drift, strict=True)]
    assert scenes.group_scenes([*shots, shot("d")], {}) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_framings_that_follow_each_other_and_look_alike_are_one_scene():
    rng = np.random.default_rng(5)
    hashes = [int(number) for number in rng.integers(0, 2**62, 16)]
    hashes[4] = hashes[3] ^ 0xFFFFF  # 20 bits apart: framed anew
    hashes[15] = hashes[0] ^ 0xFFFFF
    shots = [shot(f"s{i:02}").model_copy(update={"hashes": (f"{number:016x}",)}) for i, number in enumerate(hashes)]
    looks = rng.normal(0, 1, (16, 32))
    looks[4], looks[15] = looks[3], looks[0]
    looks[8] = looks[7]  # alike for the model, but their hashes are not
    vectors = {one.shot_id: look for one, look in zip(shots, looks + 5, strict=True)}
    alone = {one.shot_id: one.shot_id for one in shots}
    assert scenes.group_scenes(shots, vectors) == alone | {"s04": "s03"}, "the first and the last lie too far apart in time"
    assert scenes.group_scenes(shots, {}) == alone
    few = shots[:11]
    assert scenes.group_scenes(few, vectors) == {one.shot_id: one.shot_id for one in few}, "too few for their mean"


@pytest.mark.parametrize("block", [2, 3, 512])
def test_all_pairs_at_once_are_the_pairs_one_by_one(monkeypatch: pytest.MonkeyPatch, block: int):
    monkeypatch.setattr(scenes, "_BLOCK", block)
    rng = np.random.default_rng(3)
    middles = rng.integers(0, 2**62, 4)
    shots = []
    for i in range(9):
        hashes = tuple(f"{middles[i % 4] ^ (1 << int(rng.integers(62))):016x}" for _ in range(i % 3 + 1))
        shots.append(shot(f"s{i}").model_copy(update={"hashes": hashes}))
    wanted = {
        (a.shot_id, b.shot_id) for i, b in enumerate(shots) for a in shots[:i]
        if scenes.distance(a.hashes, b.hashes) <= scenes.ALIKE_BITS
    }  # fmt: skip
    assert wanted
    assert set(scenes._alike_pairs(shots)) == wanted


def test_files_that_share_a_scene_are_held_out_together():
    shots = [sized(60, footage=f"f{f}", index=i).model_copy(update={"scene": f"{f // 2}{i}"}) for f in range(8) for i in range(2)]
    splits: dict[str, set[str]] = {}
    for clip in plan_clips(shots, FORM, 0.3):
        splits.setdefault(clip.shot.scene, set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {"train"} in splits.values()
    assert {"held_out"} in splits.values()


def test_footage_that_all_hangs_together_is_parted_by_scene_then_by_shot():
    one_file = [sized(60, index=i).model_copy(update={"scene": "ab"[i % 2]}) for i in range(4)]
    assert {(clip.shot.scene, clip.split) for clip in plan_clips(one_file, FORM, 0.5)} in (
        {("a", "train"), ("b", "held_out")}, {("b", "train"), ("a", "held_out")},
    )  # fmt: skip
    one_scene = [sized(60, footage=f"f{i}").model_copy(update={"scene": "a"}) for i in range(4)]
    assert {clip.split for clip in plan_clips(one_scene, FORM, 0.5)} == {"train", "held_out"}
