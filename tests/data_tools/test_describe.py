"""Descriptions by a model: asked once, checked, below reports and people; and the loading of a real one, tiny and random."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_corrections import desk_of, say
from test_tags import by_name

from data_tools.describe import QUESTION, describe_shots
from data_tools.tags import tag_shots
from data_tools.vlm import load_describer
from lora_studio.errors import ModelError
from lora_studio.workspace import Workspace


class Canned:
    """Answers one after the other, and keeps what it was shown."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers, self.shown = list(answers), []

    def describe(self, frames: np.ndarray, question: str) -> str:
        assert question == QUESTION
        self.shown.append(frames.shape)
        return self.answers.pop(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vlm").mkdir()
    (tmp_path / "vlm" / "config.json").write_text("{}")
    return tmp_path / "vlm"


def test_good_answers_are_used_below_reports_and_people(workspace: Workspace, folder: Path, tiny_vision_folder: Path):
    model = Canned(['"A wall of tinted stones."', "a wall of grey stones", "a round cup", "a square cup"])
    done = describe_shots(workspace, folder, lambda _: model)
    assert (done.num_shots, done.num_asked, done.left_out) == (4, 4, {})
    assert {shape[0] for shape in model.shown} == {3}
    rows = by_name(workspace)
    described = {row.shot.described_content for row in rows.values()}
    assert "A wall of tinted stones" in described
    assert rows["a0"].shot.content == "a red cup", "the camera report stands above a model"
    name = "pan0"
    assert rows[name].shot.content == rows[name].shot.described_content
    assert rows[name].shot.content in rows[name].shot.caption_long
    say(desk_of(workspace), rows[name].shot.shot_id, "content", "a stone wall")
    assert by_name(workspace)[name].shot.content == "a stone wall"
    tag_shots(workspace, tiny_vision_folder)
    assert by_name(workspace)[name].shot.content == "a stone wall"

    def must_not_load(_: Path):
        raise AssertionError

    assert describe_shots(workspace, folder, must_not_load).num_asked == 0


def test_bad_answers_are_left_out_and_said(workspace: Workspace, folder: Path):
    answers = ["The video shows a wall", "I'm sorry, I can't", "a wall of stones", "on a wall on a wall on a wall on a wall"]
    done = describe_shots(workspace, folder, lambda _: Canned(answers))
    assert done.left_out == {"it begins with a formula": 1, "it is a refusal": 1, "it repeats itself": 1}
    used = [row.shot.described_content for row in by_name(workspace).values() if row.shot.described_content]
    assert used == ["a wall of stones"]
    captions = " ".join(row.shot.caption_long for row in by_name(workspace).values())
    assert "sorry" not in captions
    assert "video" not in captions


def test_another_model_is_asked_anew(workspace: Workspace, folder: Path):
    describe_shots(workspace, folder, lambda _: Canned(["a wall"] * 4))
    (folder / "config.json").write_text('{"another": 1}')
    again = describe_shots(workspace, folder, lambda _: Canned(["a stone wall"] * 4))
    assert again.num_asked == 4
    assert again.repeated == {"a stone wall": 4}


@pytest.fixture(scope="module")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of random weights in the layout that transformers saves: the real classes, a processor, a chat template."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("tiny_vlm")
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "<image>", "a", "red", "bottle"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    template = (
        "{% for m in messages %}{% for part in m.content %}"
        "{% if part.type == 'image' %}<image> {% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    )
    pictures = CLIPImageProcessor(size={"height": 16, "width": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", chat_template=template,
                               num_additional_image_tokens=1)  # fmt: skip
    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                              patch_size=8)  # fmt: skip
    text = LlamaConfig(vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                       num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)  # fmt: skip
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=4))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_real_model_is_loaded_and_answers(tiny_vlm: Path):
    describer = load_describer(tiny_vlm)
    frames = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
    answer = describer.describe(frames, QUESTION)
    assert isinstance(answer, str)
    assert set(answer.split()) <= {"a", "red", "bottle", "<unk>"}
    assert "frames" not in answer, "the question is no part of the answer"
    assert describer.describe(frames, QUESTION) == answer


def test_a_real_model_describes_a_workspace(workspace: Workspace, tiny_vlm: Path):
    done = describe_shots(workspace, tiny_vlm)
    assert done.num_asked == 4


def test_what_is_no_such_model_is_refused(tmp_path: Path, tiny_vlm: Path):
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load_describer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "phi"}')
    with pytest.raises(ModelError, match="cannot be loaded as a vision-language model"):
        load_describer(tmp_path)
