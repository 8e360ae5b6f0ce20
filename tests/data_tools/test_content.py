"""Words for a picture: what is fit for a caption and what is not, each for its own reason."""

import pytest

from data_tools.content import collapsed, faults_of

FIT = [
    "a red bottle on a wooden table", "a cyclist in a yellow jacket rides along a wet street", "two hands open a light blue box",
    "a dark green can beside a glass of water", "a traffic light above a crossing",
]  # fmt: skip


@pytest.mark.parametrize("text", FIT)
def test_plain_words_are_fit(text: str):
    assert faults_of(text, "acmelook") == []


@pytest.mark.parametrize(("text", "told"), [
    ("", "it is empty"),
    ("  ", "it is empty"),
    ("I'm sorry, I can't help with that", "it is a refusal"),
    ("The video depicts a red bottle", "it begins with a formula"),
    ("an image of a red bottle", "it begins with a formula"),
    ("Here is a description: a red bottle", "it begins with a formula"),
    ("in this clip a red bottle turns", "it begins with a formula"),
    ("<think>the user wants</think> a bottle", "it has markup or several lines"),
    ("**a red bottle**", "it has markup or several lines"),
    ('{"subject": "bottle"}', "it has markup or several lines"),
    ("a red bottle\na blue cup", "it has markup or several lines"),
    ("a red bottle " * 14, "it has 42 words, over 40"),
    ("on a table on a table on a table on a table", "it repeats itself"),
    ("一个红色的瓶子放在桌子上", "it is not in Latin letters"),
    ("a red bottle on a table with a", "it breaks off"),
    ("a red bottle,", "it breaks off"),
    ("a close-up of a red bottle", "it speaks of the camera (close-up)"),
    ("a red bottle seen from a low angle", "it speaks of the camera (low angle)"),
    ("a red bottle in profile", "it speaks of the camera (in profile)"),
    ("a red bottle in warm light", "it speaks of light (warm light)"),
    ("a backlit red bottle", "it speaks of light (backlit)"),
    ("an elegant red bottle", "it speaks of mood (elegant)"),
    ("an Acmelook bottle", "it says the trigger acmelook"),
])  # fmt: skip
def test_each_fault_is_named(text: str, told: str):
    assert told in faults_of(text, "acmelook")


def test_words_said_of_too_many_scenes_are_counted():
    contents = {f"s{number}": "a bottle" for number in range(4)} | {"t": "a cup", "u": "a cup", "v": "a cup", "w": ""}
    assert collapsed(contents) == {"a bottle": 4}
