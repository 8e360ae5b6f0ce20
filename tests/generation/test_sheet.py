"""The default prompt sheet, and which real clip stands beside which prompt."""

from pathlib import Path

import pytest
from drawn import CLIPS, draw_workspace

from lora_studio.brand import load_prompts
from lora_studio.errors import WorkspaceError
from lora_studio.generation.sheet import default_sheet, open_sheet, real_clips, without_trigger
from lora_studio.records import Prompt
from lora_studio.wall import Clip, dataset_clips


def clip(name: str, caption: str) -> Clip:
    return Clip(clip_id=name, shot_id=f"shot-{name}", start_s=0.0, caption_long=caption, caption_short="")


def test_the_default_sheet_comes_from_held_out_captions(tmp_path: Path) -> None:
    workspace = draw_workspace(tmp_path)
    workspace.prompts_file.unlink()
    sheet = default_sheet(workspace)
    assert load_prompts(workspace) == sheet
    assert sheet.seeds == (0, 1)
    assert [(p.id, p.kind, p.clip_id) for p in sheet.prompts] == [
        ("prompt-1", "brand", "clip-c"), ("prompt-2", "brand", "clip-d"), ("control-1", "control", None),
    ]  # fmt: skip
    assert sheet.prompts[0].text == CLIPS["clip-c"][2]
    assert sheet.prompts[2].text == "a red cup on cream, seen at eye level."


def test_a_sheet_that_a_person_wrote_is_left_alone(tmp_path: Path) -> None:
    workspace = draw_workspace(tmp_path)
    before = workspace.prompts_file.read_bytes()
    assert [prompt.id for prompt in open_sheet(workspace).prompts] == ["cup", "bottle", "control"]
    assert workspace.prompts_file.read_bytes() == before


@pytest.mark.parametrize(
    ("caption", "control"),
    [
        ("acmelook, a red box.", "a red box."),
        ("acmelook a red box", "a red box"),
        ("A red box, acmelook", "A red box"),
        ("ACMELOOK: a red box. Soft light.", "a red box. Soft light."),
        ("a box in acmelooks", "a box in acmelooks"),
        ("acmelook", ""),
    ],
)
def test_the_control_prompt_leaves_the_trigger_out(caption: str, control: str) -> None:
    assert without_trigger(caption, "acmelook") == control


def test_the_real_clip_is_the_one_whose_caption_shares_most_words(tmp_path: Path) -> None:
    workspace = draw_workspace(tmp_path)
    chosen = real_clips(load_prompts(workspace).prompts, dataset_clips(workspace, "held_out"))
    assert {prompt: clip.clip_id for prompt, clip in chosen.items()} == {"cup": "clip-c", "bottle": "clip-d"}


def test_no_clip_is_shown_twice_while_there_are_others() -> None:
    clips = [clip("a", "red cup"), clip("b", "blue box"), clip("c", "green ball")]
    prompts = [Prompt(id="one", text="red cup"), Prompt(id="two", text="red cup"), Prompt(id="three", text="x", clip_id="b")]
    assert {k: v.clip_id for k, v in real_clips(prompts, clips).items()} == {"three": "b", "one": "a", "two": "c"}
    assert {v.clip_id for v in real_clips(prompts[:2], clips[:1]).values()} == {"a"}
    assert real_clips(prompts[:2], []) == {}


def test_a_clip_that_is_not_held_out_is_an_error() -> None:
    with pytest.raises(WorkspaceError, match="names clip gone"):
        real_clips([Prompt(id="one", text="x", clip_id="gone")], [clip("a", "red cup")])


def test_without_held_out_footage_a_person_must_write_the_sheet(tmp_path: Path) -> None:
    workspace = draw_workspace(tmp_path)
    from datasets import Dataset

    empty = Dataset.from_dict({name: [] for name in ("clip_id", "shot_id", "start_s", "caption_long", "caption_short")})
    empty.save_to_disk(str(workspace.dataset / "clips" / "held_out"), num_shards=1)
    with pytest.raises(WorkspaceError, match=r"prompts\.toml"):
        default_sheet(workspace)


@pytest.mark.parametrize("trigger", ["@acme", "acme!", "<acme>", "acme look"])
def test_any_trigger_can_be_left_out(trigger: str) -> None:
    assert without_trigger(f"{trigger}, a wide shot of a bottle.", trigger) == "a wide shot of a bottle."
