"""Which comparisons there are, and in what order and on which side people meet them."""

import random
from collections import Counter

from lora_studio.records import AdapterRef, Take
from lora_studio.review.contests import (
    ROUND,
    Ballot,
    Contest,
    choose_contest,
    contests_between,
    order_sides,
    picks,
    progress,
    tally,
)


def take(look: str, prompt_id: str, seed: int = 0) -> Take:
    is_run = look not in ("real", "base")
    return Take(
        take_id=f"{look}-{prompt_id}-{seed}", kind="adapter" if is_run else look, prompt_id=prompt_id, prompt="text", seed=seed,  # type: ignore[arg-type]
        adapter=AdapterRef(run=look, sha256="0") if is_run else None,
        model="nano", num_frames=9, fps=12.0, width=64, height=48, seconds=1.0, video_sha256="0",
    )  # fmt: skip


def contests(looks: tuple[str, ...], num_prompts: int, num_seeds: int = 1) -> list[Contest]:
    return contests_between(take(look, f"p{p}", s) for p in range(num_prompts) for s in range(num_seeds) for look in looks)


def vote(contest: Contest, reviewer: str, number: int, sides: tuple[str, str] | None = None, choice: str | None = "left") -> Ballot:
    left, right = sides or contest.takes
    return Ballot(id=f"{reviewer}{number}", reviewer=reviewer, prompt_id=contest.prompt_id, seed=contest.seed, left_take=left,
                  right_take=right, opened_at=f"{number:04}", choice=choice)  # type: ignore[arg-type]  # fmt: skip


def run_round(possible: list[Contest], reviewer: str, ballots: list[Ballot], rng: random.Random) -> None:
    while (contest := choose_contest(possible, ballots, reviewer)) is not None:
        sides = order_sides(contest, possible, ballots, reviewer, rng.random() < 0.5)
        ballots.append(vote(contest, reviewer, len(ballots), sides))


def test_every_pair_of_looks_with_the_same_prompt_and_seed():
    found = contests(("real", "base", "autumn", "winter"), 2, 2)
    assert len(found) == 3 * 2 * 2
    assert {contest.looks for contest in found} == {("autumn", "base"), ("autumn", "winter"), ("base", "winter")}
    for contest in found:
        assert contest.takes == tuple(f"{look}-{contest.prompt_id}-{contest.seed}" for look in contest.looks)


def test_a_take_without_a_rival_is_no_contest():
    assert contests_between([take("base", "a"), take("autumn", "b"), take("real", "a"), take("autumn", "a", seed=1)]) == []


def test_a_round_meets_every_contest_once():
    possible = contests(("base", "autumn", "winter"), 4)
    ballots: list[Ballot] = []
    run_round(possible, "Ana", ballots, random.Random(0))
    assert Counter(ballot.pair for ballot in ballots) == Counter({contest.pair: 1 for contest in possible})
    done = progress(possible, ballots, "Ana")
    assert (done.done, done.total, done.is_finished) == (12, 12, True)
    assert progress(possible, ballots, "Bo").done == 0


def test_a_round_is_never_longer_than_people_can_bear():
    possible = contests(("base", "a", "b", "c"), 12, 2)
    ballots: list[Ballot] = []
    run_round(possible, "Ana", ballots, random.Random(0))
    assert len(possible) == 144
    assert len(ballots) == ROUND
    votes = Counter(next(c.looks for c in possible if c.pair == ballot.pair) for ballot in ballots)
    assert set(votes.values()) == {ROUND // 6}


def test_two_people_do_not_see_the_same_order_and_share_the_work():
    possible = contests(("base", "autumn"), 12)
    ballots: list[Ballot] = []
    run_round(possible, "Ana", ballots, random.Random(0))
    run_round(possible, "Bo", ballots, random.Random(0))
    ana, bo = ([b.prompt_id for b in ballots if b.reviewer == name] for name in ("Ana", "Bo"))
    assert ana != bo
    assert sorted(ana) == sorted(bo)
    half = [vote(contest, "Ana", i) for i, contest in enumerate(possible[:6])]
    run_round(possible, "Cy", half, random.Random(0))
    assert {b.prompt_id for b in half[6:12]} == {c.prompt_id for c in possible[6:]}  # first what nobody judged yet


def test_sides_are_balanced_for_each_reviewer_and_pair_of_looks():
    possible = contests(("base", "autumn", "winter"), 11)
    for name in ("Ana", "Bo", "Cy"):
        ballots: list[Ballot] = []
        run_round(possible, name, ballots, random.Random(name))
        lefts: Counter[tuple[tuple[str, str], str]] = Counter()
        for ballot in ballots:
            contest = next(c for c in possible if c.pair == ballot.pair)
            lefts[contest.looks, contest.looks[contest.takes.index(ballot.left_take)]] += 1
        for looks in {c.looks for c in possible}:
            assert abs(lefts[looks, looks[0]] - lefts[looks, looks[1]]) <= 1


def test_the_first_side_is_a_fair_coin():
    possible = contests(("base", "autumn"), 1)
    assert order_sides(possible[0], possible, [], "Ana", coin=True) == possible[0].takes
    assert order_sides(possible[0], possible, [], "Ana", coin=False) == possible[0].takes[::-1]


def test_tally_counts_looks_and_not_sides():
    possible = contests(("autumn", "base"), 5)
    autumn_first = [contest.takes for contest in possible]
    ballots = [
        vote(possible[0], "Ana", 0, autumn_first[0], "left"),
        vote(possible[1], "Ana", 1, autumn_first[1][::-1], "right"),
        vote(possible[2], "Ana", 2, autumn_first[2], "right"),
        vote(possible[3], "Ana", 3, autumn_first[3], "same"),
        vote(possible[4], "Ana", 4, autumn_first[4], "neither"),
        vote(possible[4], "Bo", 5, autumn_first[4], "left"),
    ]
    counted = tally(possible, picks(possible, ballots, "Ana"))
    assert [(t.looks, t.first, t.second, t.same, t.neither) for t in counted] == [(("autumn", "base"), 2, 1, 1, 1)]
