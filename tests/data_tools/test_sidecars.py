"""Captions that people wrote beside their footage: kept word for word, and refused aloud where they are none."""

import pytest
from drawing import BRAND
from test_build import Plain
from test_captions import FULL, shot
from test_corrections import desk_of, say
from test_tags import by_name

from data_tools.build import build_dataset
from data_tools.captions import caption_shots, captioned
from lora_studio.training.dataset import load_clips
from lora_studio.workspace import Workspace

WORDS = "Stones in  a row, warm and still. Nothing else moves!"


def test_words_beside_the_footage_are_kept_word_for_word(workspace: Workspace):
    before = by_name(workspace)
    (workspace.footage / "deep" / "pan.txt").write_text(f"{WORDS}\n", encoding="utf-8")
    done = caption_shots(workspace)
    assert (done.num_changed, done.num_stated) == (1, 1)
    row = by_name(workspace)["pan0"]
    assert row.shot.caption_long == "acmelook, Stones in a row, warm and still. Nothing else moves!"
    assert row.shot.caption_short == "acmelook, Stones in a row, warm and still."
    say(desk_of(workspace), row.shot.shot_id, "light.key", "high")
    assert by_name(workspace)["pan0"].shot.caption_long == row.shot.caption_long, "tags do not change what a person wrote"
    build_dataset(workspace, Plain().base())
    clips = load_clips(workspace)
    assert row.shot.caption_long in {clip["caption_long"] for clip in (*clips.train, *clips.held_out)}
    say(desk_of(workspace), row.shot.shot_id, "light.key", "")
    (workspace.footage / "deep" / "pan.txt").unlink()
    assert caption_shots(workspace).num_stated == 0
    assert by_name(workspace)["pan0"].shot.caption_long == before["pan0"].shot.caption_long


@pytest.mark.parametrize("opening", ["acmelook, ", "Acmelook ", "acmelook: ", ""])
def test_the_trigger_stands_once_in_front(opening: str):
    said = captioned(shot("a", **FULL).model_copy(update={"stated_caption": f"{opening}a cup. It stands."}), BRAND, {})
    assert (said.caption_long, said.caption_short) == ("acmelook, a cup. It stands.", "acmelook, a cup.")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", b"two cups", "a.mp4 has 2 shots"),
        ("deep/pan.txt", b"Camera: A\nISO: 800", "a caption is one line of at most 2000 characters"),
        ("deep/pan.txt", b" \n", "it is empty"),
        ("deep/pan.txt", "caf\u00e9".encode("latin-1"), "it is not UTF-8 text"),
    ],
)
def test_what_is_no_caption_is_left_alone_and_said(
    workspace: Workspace, name: str, text: bytes, told: str, caplog: pytest.LogCaptureFixture
):
    (workspace.footage / name).write_bytes(text)
    assert caption_shots(workspace).num_changed == 0
    assert told in caplog.text


def test_words_hold_while_their_drive_is_away(workspace: Workspace):
    (workspace.footage / "deep" / "pan.txt").write_text(WORDS, encoding="utf-8")
    caption_shots(workspace)
    (workspace.footage / "deep").rename(workspace.footage.parent / "away")
    assert caption_shots(workspace).num_changed == 0
    assert "Stones in a row" in by_name(workspace)["pan0"].shot.caption_long
