"""Ballots and votes: what is kept, what is refused, and what survives."""

import random
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lora_studio.errors import ReviewError
from lora_studio.review.contests import Contest
from lora_studio.review.store import ReviewStore

CONTESTS = [Contest(f"p{i}", 0, ("autumn", "base"), (f"autumn{i}", f"base{i}")) for i in range(6)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'review.db'}"


@pytest.fixture
def store(url: str):
    opened = ReviewStore(url, random.Random(0))
    yield opened
    opened.close()


def open_ballot(store: ReviewStore, reviewer: str = "Ana"):
    ballot = store.next_ballot(reviewer, CONTESTS)
    assert ballot is not None
    return ballot


def test_asking_twice_gives_the_same_open_ballot(store: ReviewStore):
    first = open_ballot(store)
    assert open_ballot(store) == first
    assert len(store.ballots()) == 1
    assert open_ballot(store, "Bo").id != first.id


def test_a_vote_decides_the_ballot_and_the_next_one_follows(store: ReviewStore):
    first = open_ballot(store)
    decided = store.record_verdict("Ana", first.id, "neither")
    assert (decided.choice, decided.left_take, decided.right_take) == ("neither", first.left_take, first.right_take)
    assert decided.decided_at is not None
    assert decided.decided_at >= first.opened_at
    assert open_ballot(store).pair != first.pair
    (verdict,) = store.verdicts()
    assert (verdict.ballot_id, verdict.reviewer, verdict.choice) == (first.id, "Ana", "neither")


def test_a_round_ends(store: ReviewStore):
    for _ in CONTESTS:
        store.record_verdict("Ana", open_ballot(store).id, "left")
    assert store.next_ballot("Ana", CONTESTS) is None
    assert {ballot.pair for ballot in store.ballots()} == {contest.pair for contest in CONTESTS}
    lefts = [ballot.left_take.startswith("autumn") for ballot in store.ballots()]
    assert sum(lefts) == 3


def test_over_many_reviewers_the_coin_is_fair(store: ReviewStore):
    lefts = [open_ballot(store, f"reviewer {i}").left_take.startswith("autumn") for i in range(200)]
    assert 72 <= sum(lefts) <= 128  # 4 standard deviations


@pytest.mark.parametrize(
    ("reviewer", "ballot_id", "choice"),
    [("Bo", None, "left"), ("Ana", "0" * 24, "left"), ("Ana", "' OR 1=1 --", "left"), ("Ana", None, "autumn"), ("", None, "left")],
)
def test_forged_votes_are_refused(store: ReviewStore, reviewer: str, ballot_id: str | None, choice: str):
    ballot = open_ballot(store)
    with pytest.raises(ReviewError):
        store.record_verdict(reviewer, ballot_id or ballot.id, choice)
    assert store.verdicts() == []
    assert open_ballot(store) == ballot


def test_the_same_vote_twice_counts_once_and_a_changed_mind_is_refused(store: ReviewStore):
    ballot = open_ballot(store)
    decided = store.record_verdict("Ana", ballot.id, "left")
    assert store.record_verdict("Ana", ballot.id, "left") == decided
    with pytest.raises(ReviewError, match="final"):
        store.record_verdict("Ana", ballot.id, "right")
    assert [verdict.choice for verdict in store.verdicts()] == ["left"]


def test_two_windows_of_one_person_get_the_same_ballot(store: ReviewStore):
    with ThreadPoolExecutor(8) as pool:
        ballots = list(pool.map(lambda _: open_ballot(store), range(16)))
    assert len({ballot.id for ballot in ballots}) == 1
    assert len(store.ballots()) == 1


def test_an_open_ballot_over_vanished_clips_is_dropped(store: ReviewStore):
    ballot = open_ballot(store)
    others = [contest for contest in CONTESTS if contest.pair != ballot.pair]
    following = store.next_ballot("Ana", others)
    assert following is not None
    assert following.pair != ballot.pair
    assert len(store.ballots()) == 1


def test_votes_survive_a_kill(url: str, tmp_path: Path):
    code = f"""
import os, signal
from lora_studio.review.contests import Contest
from lora_studio.review.store import ReviewStore
store = ReviewStore({url!r})
ballot = store.next_ballot("Ana", [Contest("p", 3, ("autumn", "base"), ("a", "b"))])
store.record_verdict("Ana", ballot.id, "left")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    store = ReviewStore(url)
    (verdict,) = store.verdicts()
    store.close()
    assert (verdict.reviewer, verdict.prompt_id, verdict.seed, verdict.choice) == ("Ana", "p", 3, "left")
    with sqlite3.connect(tmp_path / "review.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_names_are_tidied_and_bounded(store: ReviewStore):
    assert open_ballot(store, "  Ana   Berg ").reviewer == "Ana Berg"
    for name in ("   ", "x" * 61, "a\x00b"):
        with pytest.raises(ReviewError, match="name"):
            store.next_ballot(name, CONTESTS)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/review.db", "nosuchdriver://host/db"])
def test_a_database_that_cannot_be_opened_is_one_clear_message(url: str):
    with pytest.raises(ReviewError, match="cannot open the review database"):
        ReviewStore(url)


def test_the_password_of_a_database_is_not_repeated():
    with pytest.raises(ReviewError) as raised:
        ReviewStore("nosuchdriver://ana:secret@host/db")
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_database_is_one_clear_message(tmp_path: Path):
    (tmp_path / "review.db").write_text("not a database, but long enough to be read as the header of one " * 20)
    with pytest.raises(ReviewError, match="cannot open"):
        ReviewStore(f"sqlite:///{tmp_path / 'review.db'}")
