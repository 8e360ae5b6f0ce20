"""Sample order and captions are pure functions of seed and step, however they are shared out."""

from collections import Counter

import pytest
import torch
from toy import LATENT, TEXT_DIM, toy_row

from lora_studio.recipe import DataSection
from lora_studio.training.samples import caption_of, decode, posterior_samples, samples_of_step, share_of_rank


@pytest.mark.parametrize(("batch", "clips"), [(4, 10), (3, 3), (7, 2), (1, 5)])
def test_every_epoch_shows_every_clip_once(batch: int, clips: int):
    stream = [sample for step in range(40) for sample in samples_of_step(3, step, batch, clips)]
    assert [sample.id for sample in stream] == list(range(40 * batch))
    for epoch in range(len(stream) // clips):
        assert sorted(sample.row for sample in stream[epoch * clips : (epoch + 1) * clips]) == list(range(clips))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(s.row for s in samples_of_step(seed, step, 20, 20)) for seed in range(3) for step in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 2, 5])
def test_shares_are_the_batch_whole(processes: int, accumulation: int):
    samples = samples_of_step(0, 5, 8, 30)
    shares = [share_of_rank(samples, rank, processes, accumulation) for rank in range(processes)]
    assert [s for share in shares for micro in share for s in micro] == samples
    assert all(len(share) <= accumulation for share in shares)


def test_captions_follow_their_shares():
    counts = Counter(caption_of(0, i, DataSection(caption_dropout=0.1, short_caption=0.5)) for i in range(4000))
    assert abs(counts["none"] / 4000 - 0.10) < 0.02
    assert abs(counts["short"] / 4000 - 0.45) < 0.03
    assert {caption_of(0, i, DataSection(caption_dropout=0.0, short_caption=0.0)) for i in range(50)} == {"long"}


def test_rows_become_tensors():
    rows = [toy_row(0), toy_row(1)]
    batch = decode(rows, [8, 9], ["none", "short"], torch.device("cpu"))
    assert batch.moments.shape == (2, 2 * LATENT[0], *LATENT[1:])
    assert [tuple(text.shape) for text in batch.text] == [(0, TEXT_DIM), (2, TEXT_DIM)]
    assert batch.motion_flow.tolist() == [5.0, 5.0]
    assert [tuple(text.shape) for text in batch.plain_text] == [(4, TEXT_DIM), (0, TEXT_DIM)], "the long one, the null prompt"
    later = decode(rows, [10, 11], ["none", "short"], torch.device("cpu"))
    assert [len(text) for text in later.plain_text] == [4, 3], "and that of another angle and light"


def test_latents_of_a_sample_do_not_depend_on_its_batch():
    batch = decode([toy_row(0), toy_row(1)], [8, 9], ["long", "long"], torch.device("cpu"))
    both = posterior_samples(batch.moments, 1, [8, 9])
    alone = posterior_samples(batch.moments[1:], 1, [9])
    assert torch.equal(both[1:], alone)
    assert both.shape == (2, *LATENT)
    assert abs(float((both - batch.moments[:, : LATENT[0]]).std()) - 0.05) < 0.01  # log-variance -6
