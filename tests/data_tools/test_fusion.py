"""Who is believed: people, then reports, then pixels, then the model; and when nobody is."""

import pytest

from data_tools.fusion import fuse, stated, sure_value

LOW, HIGH = {"low": 0.9, "high": 0.1}, {"low": 0.1, "high": 0.9}


@pytest.mark.parametrize(
    ("scores", "value", "status", "source"),
    [
        ({}, "unknown", "unknown", "none"),
        ({"clip": {"low": 0.4, "high": 0.3}}, "unknown", "unknown", "none"),
        ({"clip": LOW}, "low", "single", "clip"),
        ({"measured": LOW, "clip": LOW}, "low", "agree", "measured"),
        ({"measured": LOW, "clip": HIGH}, "low", "conflict", "measured"),
        ({"measured": LOW, "clip": {"high": 0.55, "low": 0.45}}, "low", "single", "measured"),
        ({"metadata": stated("metadata", "low"), "measured": HIGH}, "low", "conflict", "metadata"),
        ({"metadata": stated("metadata", "low"), "clip": HIGH}, "low", "single", "metadata"),
        ({"human": stated("human", "low"), "metadata": stated("metadata", "high"), "measured": HIGH}, "low", "single", "human"),
        ({"human": stated("human", "low"), "measured": LOW}, "low", "agree", "human"),
    ],
)
def test_fusion(scores: dict, value: str, status: str, source: str):
    tag = fuse(scores)
    assert (tag.value, tag.status, tag.source) == (value, status, source)
    assert tag.scores == scores
    assert 0 <= tag.confidence <= 1


def test_pixels_do_not_doubt_an_orbit():
    tag = fuse({"metadata": stated("metadata", "arc"), "measured": {"pan_left": 0.9}})
    assert (tag.value, tag.status) == ("arc", "single")


@pytest.mark.parametrize(
    ("measured", "status"), [("pan_left", "agree"), ("tilt_up", "agree"), ("dolly_in", "conflict"), ("static", "conflict")]
)
def test_of_several_words_each_may_be_agreed_to(measured: str, status: str):
    tag = fuse({"metadata": stated("metadata", "pan_left+tilt_up"), "measured": {measured: 0.9}})
    assert (tag.value, tag.status) == ("pan_left+tilt_up", status)
    assert fuse({"metadata": stated("metadata", "truck_left+tilt_up"), "measured": {"pan_left": 0.9}}).status == "single"


def test_what_does_not_apply_is_settled_and_used_nowhere():
    tag = fuse({"human": stated("human", "na"), "clip": HIGH})
    assert (tag.value, tag.status, sure_value(tag)) == ("na", "single", "unknown")


def test_only_undoubted_values_are_used():
    assert sure_value(fuse({"measured": LOW})) == "low"
    assert sure_value(fuse({"measured": LOW, "clip": HIGH})) == "unknown"
    assert sure_value(None) == "unknown"
