"""Search: people's words become tags, the rest must be in the picture, likeness ranks, and many shots are no fewer answers."""

from pathlib import Path

import numpy as np
import pytest
from drawing import texture
from PIL import Image
from test_captions import shot
from test_tags import by_name
from test_zero_shot import Brightness

from data_tools import catalog as catalog_module
from data_tools.catalog import Catalog, ShotRow
from data_tools.search import NICKNAMES, Question, search, understand
from data_tools.tags import tag_shots
from lora_studio.errors import FootageError
from lora_studio.taxonomy import AXES
from lora_studio.workspace import Workspace


@pytest.mark.parametrize(("query", "tags", "words"), [
    ("bottle, low angle, backlit", {"angle.vertical": "low", "light.direction": "back"}, ("bottle",)),
    ("a red cup", {}, ("a red cup",)),
    ("Close-Up", {"angle.scale": "close_up"}, ()),
    ("extreme close-up", {"angle.scale": "extreme_close_up"}, ()),
    ("an extreme wide shot", {"angle.scale": "extreme_wide"}, ()),
    ("seen from a low angle", {"angle.vertical": "low"}, ()),
    ("light.key=low, dolly in,", {"light.key": "low", "angle.movement": "dolly_in"}, ()),
    ("angle.view=unknown", {"angle.view": "unknown"}, ()),
    ("low angle, low angle", {"angle.vertical": "low"}, ()),
])  # fmt: skip
def test_people_say_it_their_way(query: str, tags: dict, words: tuple):
    assert understand(query) == Question(tags, words)


def test_every_phrase_and_nickname_means_one_thing():
    for axis, values in AXES.items():
        for value, phrases in values.items():
            for phrase in phrases:
                assert understand(phrase).tags == {axis: value}, phrase
    for axis, values in NICKNAMES.items():
        for value, names in values.items():
            for name in names:
                assert understand(name).tags == {axis: value}, name
                assert value in AXES[axis]


@pytest.mark.parametrize(("query", "told"), [
    ("light.key=dark", "'light.key=dark' names no tag: one of high, mid, low, na, unknown"),
    ("light.kee=low", "'light.kee=low' names no tag: an axis is one of angle.scale"),
    ("low angle, high angle", "angle.vertical cannot be both low and high: ask twice"),
    ("", "nothing was asked for"),
    (" , ", "nothing was asked for"),
])  # fmt: skip
def test_what_cannot_be_asked_says_so(workspace: Workspace, query: str, told: str):
    with pytest.raises(FootageError, match=told.replace("?", r"\?")):
        search(workspace, query)


def test_tags_and_words_are_found_together(workspace: Workspace):
    rows = by_name(workspace)
    assert [hit.shot.shot_id for hit in search(workspace, "close-up")] == [rows["a1"].shot.shot_id]
    assert [hit.shot.shot_id for hit in search(workspace, "CUP")] == [rows["a0"].shot.shot_id, rows["a1"].shot.shot_id]
    assert [hit.shot.shot_id for hit in search(workspace, "blue cup, close-up")] == [rows["a1"].shot.shot_id]
    assert search(workspace, "red cup, close-up") == []
    assert search(workspace, "o'brien's 100% cup_") == [], "quotes and wildcards are letters"
    assert len(search(workspace, "cup", limit=1)) == 1


def test_likeness_ranks_within_tags(workspace: Workspace, tmp_path: Path):
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"a model")
    tag_shots(workspace, tmp_path, lambda _: Brightness())
    rows = by_name(workspace)
    hits = search(workspace, "", like=rows["pan0"].shot.shot_id)
    assert hits[0].shot.shot_id == rows["pan0"].shot.shot_id
    assert hits[0].likeness == pytest.approx(1.0, abs=1e-5)
    near = [hit.likeness for hit in hits]
    assert near == sorted(near, reverse=True)
    assert len(hits) == 4
    vectors = {row.shot.shot_id: row.vector / np.linalg.norm(row.vector) for row in rows.values()}
    for hit in hits:
        assert hit.likeness == pytest.approx(float(vectors[hit.shot.shot_id] @ vectors[rows["pan0"].shot.shot_id]), abs=1e-5)
    only = search(workspace, "cup", like=rows["pan0"].shot.shot_id)
    assert {hit.shot.shot_id for hit in only} == {rows["a0"].shot.shot_id, rows["a1"].shot.shot_id}
    Image.fromarray((texture(5)[:64, :96] * 0.05).astype(np.uint8)).save(tmp_path / "dark.png")
    by_picture = search(workspace, "", like=str(tmp_path / "dark.png"), vision=tmp_path, load=lambda _: Brightness())
    assert by_picture[0].shot.shot_id == rows["pan0"].shot.shot_id, "the darkest shot"
    by_words = search(workspace, "something dark in a wood", vision=tmp_path, load=lambda _: Brightness())
    assert by_words[0].shot.shot_id == rows["pan0"].shot.shot_id


def test_an_untrained_model_ranks_nothing(workspace: Workspace, tiny_vision_folder: Path):
    assert search(workspace, "a zebra", vision=tiny_vision_folder) == []


def test_the_shipped_model_makes_vectors_and_is_asked_only_by_name(workspace: Workspace):
    def told() -> list[bool]:
        rows = by_name(workspace).values()
        assert all(row.vector is not None for row in rows)
        return ["clip" in tag.scores for row in rows for tag in row.shot.tags.values()]

    tag_shots(workspace, None, lambda _: Brightness())
    assert not any(told())
    assert search(workspace, "something dark in a wood") == []
    tag_shots(workspace, Path("nano"), lambda _: Brightness())
    assert any(told())
    assert search(workspace, "something dark in a wood", vision=Path("nano"), load=lambda _: Brightness())


@pytest.mark.parametrize(
    ("like", "told"), [("nowhere.png", "neither the id of a shot nor a picture"), ("brand.toml", "is no picture")]
)
def test_what_cannot_be_compared_says_so(workspace: Workspace, like: str, told: str, tiny_vision_folder: Path):
    path = str(workspace.root / like) if like == "brand.toml" else like
    with pytest.raises(FootageError, match=told):
        search(workspace, "", like=path, vision=tiny_vision_folder)


def test_an_index_finds_what_looking_at_all_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalog_module, "_INDEX_FROM", 500)
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(30, 16)).astype(np.float32)
    vectors = (centres[np.arange(1500) % 30] + 0.3 * chance.normal(size=(1500, 16))).astype(np.float32)
    scales = list(AXES["angle.scale"])
    rows = [
        ShotRow(shot(f"{number:04}", f"thing {number % 10}", angle_scale=scales[number % 7]), {}, vectors[number])
        for number in range(1500)
    ]
    catalog = Catalog(Workspace.at(tmp_path))
    catalog.put_shots(rows)
    exact = {q: [row.shot.shot_id for row, _ in catalog.find({}, (), vectors[q], 10)] for q in range(20)}
    catalog.index()
    again = {q: [row.shot.shot_id for row, _ in catalog.find({}, (), vectors[q], 10)] for q in range(20)}
    assert all(found[0] == f"{q:04}" for q, found in again.items())
    assert np.mean([len(set(exact[q]) & set(again[q])) / 10 for q in exact]) > 0.9
    wanted = {row.shot.shot_id for row in rows if row.shot.content == "thing 3" and row.shot.tags["angle.scale"].value == "wide"}
    found = catalog.find({"angle.scale": "wide"}, ["thing 3"], limit=1000)
    assert {row.shot.shot_id for row, _ in found} == wanted
    near = catalog.find({"angle.scale": "wide"}, ["thing 3"], vectors[0], 1000)
    assert {row.shot.shot_id for row, _ in near} == wanted, "with tags asked for, none is overlooked"
