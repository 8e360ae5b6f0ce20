"""The card says what is known, in words that follow the numbers."""

import json

import pytest

from lora_studio.adapters import card


def loss(change: float, low: float | None, high: float | None) -> card.HeldOutLoss:
    frames = (0.5, 0.6)
    return card.HeldOutLoss(
        before=1.0, after=1.0 + change, change=change, low=low, high=high,
        per_frame_before=frames, per_frame_after=frames, shots=4, draws=4,
    )  # fmt: skip


DATA = card.Data(
    train_clips=20, train_shots=6, train_seconds=15.0, held_out_clips=4, held_out_shots=4,
    num_frames=9, fps=12.0, width=64, height=32,
    dataset_sha256="d" * 64, rights_sha256="r" * 64, footage_sha256=("f" * 64,), held_out_footage_sha256=("e" * 64,),
    owners=("Acme Studios",), licences=("owned",), earliest_expiry="2027-01-01",
)  # fmt: skip


def make(held_out: card.HeldOutLoss | None) -> card.Card:
    return card.Card(
        identity=card.Identity(
            name="look", created_at="2026-01-01T00:00:00+00:00", made_with="lora-studio", adapter_sha256="a" * 64,
            tensors_sha256="b" * 64, size_bytes=1234,
        ),
        base=card.Base(name="nano", sha256="c" * 64, precision="float32"),
        method=card.Method(
            preset="image_encoder", pattern="x", rank=8, alpha=8.0, num_modules=16, num_parameters=4096, steps=300, batch_size=4,
            lr=1e-3, seed=0, caption_dropout=0.1, prior=0.5, recipe_sha256="e" * 64,
        ),
        data=DATA,
        held_out_loss=held_out,
        trigger="acmelook",
        limits=card.known_limits(DATA, held_out),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "low", "high", "words"),
    [
        (-0.2, -0.3, -0.1, "learned something"),
        (0.2, 0.1, 0.3, "got worse"),
        (-0.01, -0.1, 0.1, "no change that can be told from chance"),
        (-0.2, None, None, "fewer than two held-out shots"),
    ],
)
def test_the_reading_follows_the_band(change: float, low: float | None, high: float | None, words: str):
    assert words in loss(change, low, high).reading


def test_a_card_is_written_for_machines_and_for_people(tmp_path):
    made = make(loss(-0.2, -0.3, -0.1))
    card.write_card(tmp_path, made)
    assert card.read_card(tmp_path) == made
    text = (tmp_path / "card.md").read_text()
    facts = ("acmelook", "a" * 64, "f" * 64, "Acme Studios", "16 layers", "2027-01-01", "None yet.", "fewer than ten shots")
    for fact in (*facts, "prior 0.5"):
        assert fact in text


def test_a_card_from_before_the_prior_was_kept_is_read(tmp_path):
    card.write_card(tmp_path, make(None))
    told = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))
    assert told["method"].pop("prior") == 0.5
    (tmp_path / "card.json").write_text(json.dumps(told), encoding="utf-8")
    assert card.read_card(tmp_path).method.prior is None


def test_without_held_out_clips_the_card_says_so():
    made = make(None)
    assert any("no evidence" in limit for limit in made.limits)
    assert "nothing was measured" in card.card_to_markdown(made)
