"""The text encoder against the recording, and the shipped one's habits."""

import pytest
import torch
from parity import Recording

from lora_studio.nova.text import TextEncoder
from lora_studio.nova.weights import find_model, load_text


@pytest.fixture(scope="module")
def nano() -> TextEncoder:
    return load_text(find_model("nano"))


def test_rows_equal_the_recording() -> None:
    recording = Recording("text")
    from transformers import AutoTokenizer, PhiModel

    tokenizer = AutoTokenizer.from_pretrained(recording.folder / "tokenizer")
    model = PhiModel.from_pretrained(recording.folder / "text_encoder", dtype=torch.float32).eval()
    encoder = TextEncoder(tokenizer, model, 16)
    rows = encoder.encode(recording.meta["prompts"])
    assert [encoder.token_ids(prompt) for prompt in recording.meta["prompts"]] == recording.meta["input_ids"]
    for index, row in enumerate(rows):
        assert torch.allclose(row, recording["encode_prompts"][index, : len(row)], atol=1e-5)


def test_null_prompt_has_no_rows(nano: TextEncoder) -> None:
    (rows,) = nano.encode([""])
    assert rows.shape == (0, 128)


def test_any_text_encodes_and_decodes(nano: TextEncoder) -> None:
    for text in ("a red can, seen from a low angle", "Zwei Hunde, 猫! éß \n\t", "0123 <|>"):
        ids = nano.token_ids(text)
        assert nano.tokenizer.decode(ids) == text


def test_long_texts_are_cut_and_the_lost_end_is_told(nano: TextEncoder) -> None:
    text = "a red can and " * 60
    (rows,) = nano.encode([text])
    assert len(rows) == nano.max_rows == 96
    assert nano.cut_off(text).strip().endswith("and")
    assert nano.cut_off("a red can") == ""


def test_a_text_does_not_depend_on_its_neighbours(nano: TextEncoder) -> None:
    both = nano.encode(["a red can", "the camera pans left across a blue table"])
    assert torch.equal(both[0], nano.encode(["a red can"])[0])
