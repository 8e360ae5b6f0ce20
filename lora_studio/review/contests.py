"""Which blind comparisons a set of takes allows, which one a reviewer gets next, and who stands on the left.

Pure functions over records; knows no database, no page and no clock.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lora_studio.records import Record, Take

Choice = Literal["left", "right", "same", "neither"]
CHOICES: tuple[str, ...] = get_args(Choice)
ROUND = 36  # the most comparisons asked of one reviewer: 10 to 15 minutes


class Ballot(Record):
    """One comparison put to one reviewer; open until `choice` is made, then never changed."""

    id: str
    reviewer: str
    prompt_id: str
    seed: int
    left_take: str
    right_take: str
    opened_at: str  # UTC, ISO 8601
    decided_at: str | None = None
    choice: Choice | None = None

    @property
    def pair(self) -> frozenset[str]:
        """The two takes, whichever side they stood on."""
        return frozenset((self.left_take, self.right_take))


@dataclass(frozen=True)
class Contest:
    """Two takes of the same prompt and seed by two looks. `looks` is in alphabetical order, `takes` in that of `looks`."""

    prompt_id: str
    seed: int
    looks: tuple[str, str]
    takes: tuple[str, str]

    @property
    def pair(self) -> frozenset[str]:
        """The two takes without an order."""
        return frozenset(self.takes)


@dataclass(frozen=True)
class Progress:
    """How far a reviewer is: `done` of `total` comparisons."""

    done: int
    total: int

    @property
    def is_finished(self) -> bool:
        """Nothing is left to compare, and something was."""
        return self.total > 0 and self.done >= self.total


@dataclass(frozen=True)
class Tally:
    """How one reviewer's votes between two looks fell."""

    looks: tuple[str, str]
    first: int
    second: int
    same: int
    neither: int


def contests_between(takes: Iterable[Take]) -> list[Contest]:
    """Every pair of looks, the untrained base among them, for each prompt and seed both have a take of.

    Real footage is never a contestant: it was not made from the prompt.
    """
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for take in takes:
        if take.kind != "real":
            cells.setdefault((take.prompt_id, take.seed), {})[take.look] = take.take_id
    return [
        Contest(prompt_id, seed, (one, two), (by_look[one], by_look[two]))
        for (prompt_id, seed), by_look in cells.items()
        for one, two in itertools.combinations(sorted(by_look), 2)
    ]


def progress(contests: Sequence[Contest], ballots: Iterable[Ballot], reviewer: str) -> Progress:
    """How many of the comparisons that can be made now a reviewer has made; a round is `ROUND` comparisons at most."""
    total = min(ROUND, len(contests))
    return Progress(min(len(_decided_pairs(ballots, reviewer) & {c.pair for c in contests}), total), total)


def choose_contest(contests: Sequence[Contest], ballots: Sequence[Ballot], reviewer: str) -> Contest | None:
    """The comparison a reviewer should make next: of the pair of looks with the fewest votes, then of the clips with the fewest.

    Ties fall in an order of the reviewer's own, so that two people do not see the prompts in the same order.
    Returns None when the reviewer's round is over.
    """
    if progress(contests, ballots, reviewer).done >= min(ROUND, len(contests)):
        return None
    seen = _decided_pairs(ballots, reviewer)
    looks_of = {contest.pair: contest.looks for contest in contests}
    decided = [ballot for ballot in ballots if ballot.choice is not None and ballot.pair in looks_of]
    votes_on_looks = Counter(looks_of[ballot.pair] for ballot in decided)
    own_on_looks = Counter(looks_of[ballot.pair] for ballot in decided if ballot.reviewer == reviewer)
    votes_on_takes = Counter(ballot.pair for ballot in decided)
    return min(
        (contest for contest in contests if contest.pair not in seen),
        key=lambda c: (votes_on_looks[c.looks], own_on_looks[c.looks], votes_on_takes[c.pair], _shuffle(reviewer, c)),
    )


def order_sides(
    contest: Contest, contests: Sequence[Contest], ballots: Iterable[Ballot], reviewer: str, coin: bool
) -> tuple[str, str]:
    """(left take, right take): the look this reviewer saw less often on the left goes there; `coin` decides when even.

    Over any number of ballots of one reviewer and one pair of looks, left and right differ by one at most.
    """
    look_of = {take: look for c in contests for take, look in zip(c.takes, c.looks, strict=True)}
    lefts = Counter(
        look_of[ballot.left_take]
        for ballot in ballots
        if ballot.reviewer == reviewer and {look_of.get(ballot.left_take), look_of.get(ballot.right_take)} == set(contest.looks)
    )
    first, second = contest.takes
    ahead = lefts[contest.looks[0]] - lefts[contest.looks[1]]
    first_goes_left = coin if ahead == 0 else ahead < 0
    return (first, second) if first_goes_left else (second, first)


def picks(contests: Sequence[Contest], ballots: Iterable[Ballot], reviewer: str) -> list[Ballot]:
    """A reviewer's decided ballots over the present comparisons, in the order given."""
    pairs = {contest.pair for contest in contests}
    return [b for b in ballots if b.reviewer == reviewer and b.choice is not None and b.pair in pairs]


def tally(contests: Sequence[Contest], decided: Iterable[Ballot]) -> list[Tally]:
    """Counts decided ballots for each pair of looks, in order of the looks' names."""
    contest_of = {contest.pair: contest for contest in contests}
    counts: dict[tuple[str, str], Counter[str]] = {}
    for ballot in decided:
        contest = contest_of[ballot.pair]
        outcome = ballot.choice or "same"
        if outcome in ("left", "right"):
            chosen = ballot.left_take if outcome == "left" else ballot.right_take
            outcome = "first" if chosen == contest.takes[0] else "second"
        counts.setdefault(contest.looks, Counter())[outcome] += 1
    return [Tally(looks, c["first"], c["second"], c["same"], c["neither"]) for looks, c in sorted(counts.items())]


def _decided_pairs(ballots: Iterable[Ballot], reviewer: str) -> set[frozenset[str]]:
    return {ballot.pair for ballot in ballots if ballot.reviewer == reviewer and ballot.choice is not None}


def _shuffle(reviewer: str, contest: Contest) -> str:
    return hashlib.sha256("\0".join((reviewer, contest.prompt_id, str(contest.seed), *contest.takes)).encode()).hexdigest()
