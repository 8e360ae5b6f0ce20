"""Where ballots and votes are kept: one SQL table, SQLite in the workspace by default. Knows nothing of takes but their ids.

A vote is on disk before it is confirmed. Every rule about who may vote on what is checked here, and only here: whatever
the page sends is taken as a claim.
"""

import random
import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Integer, String, create_engine, delete, event, insert, select, update
from sqlalchemy.engine import Row, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from lora_studio.errors import ReviewError
from lora_studio.records import Verdict
from lora_studio.review.contests import CHOICES, Ballot, Contest, choose_contest, order_sides

MAX_NAME = 60


class _Base(DeclarativeBase):
    pass


class _BallotRow(_Base):
    __tablename__ = "ballots"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    reviewer: Mapped[str] = mapped_column(String(MAX_NAME), index=True)
    prompt_id: Mapped[str] = mapped_column(String(60))
    seed: Mapped[int] = mapped_column(Integer)
    left_take: Mapped[str] = mapped_column(String(100))
    right_take: Mapped[str] = mapped_column(String(100))
    opened_at: Mapped[str] = mapped_column(String(40))
    decided_at: Mapped[str | None] = mapped_column(String(40))
    choice: Mapped[str | None] = mapped_column(String(10))
    open_for: Mapped[str | None] = mapped_column(String(MAX_NAME), unique=True)  # the reviewer while open: one at a time


_COLUMNS = [_BallotRow.__table__.c[name] for name in Ballot.model_fields]


class ReviewStore:
    """Ballots and verdicts of one workspace.

    Args:
        url: any SQLAlchemy URL, such as `sqlite:////studio/acme/review.db` or `postgresql+psycopg://...`.
        rng: the coin that decides sides; the system's own by default.

    Raises:
        ReviewError: the URL is not one, its driver is missing, or the database cannot be opened.
    """

    def __init__(self, url: str, rng: random.Random | None = None) -> None:
        self._rng = rng or random.SystemRandom()
        try:
            self._engine = _open_engine(url)
            _Base.metadata.create_all(self._engine)
        except (ArgumentError, ModuleNotFoundError, DatabaseError) as fault:
            reason = str(fault).splitlines()[0]
            name = _without_password(url)
            raise ReviewError(f"cannot open the review database {name}: {reason}; give a SQLAlchemy URL that exists") from None

    def next_ballot(self, reviewer: str, contests: list[Contest]) -> Ballot | None:
        """The reviewer's open ballot, or a new one; None when their round is over.

        An open ballot whose clips are no longer among `contests` is dropped: no vote was cast on it.

        Raises:
            ReviewError: the reviewer's name is empty or too long.
        """
        reviewer = checked_name(reviewer)
        ballot = self._open_ballot(reviewer)
        if ballot is not None and ballot.pair in {contest.pair for contest in contests}:
            return ballot
        if ballot is not None:
            self._drop(ballot)
        return self._make_ballot(reviewer, contests)

    def record_verdict(self, reviewer: str, ballot_id: str, choice: str) -> Ballot:
        """Decides a ballot for good. Sending the same vote again changes nothing and is no error.

        Raises:
            ReviewError: no such ballot for this reviewer, an unknown choice, or another choice was already recorded.
        """
        if choice not in CHOICES:
            raise ReviewError(f"a vote is one of {', '.join(CHOICES)}, got {str(choice)[:40]!r}")
        mine = (_BallotRow.id == ballot_id, _BallotRow.reviewer == checked_name(reviewer))
        with self._engine.begin() as connection:
            connection.execute(
                update(_BallotRow).where(*mine, _BallotRow.choice.is_(None)).values(choice=choice, decided_at=_now(), open_for=None)
            )
            row = connection.execute(select(*_COLUMNS).where(*mine)).one_or_none()
        if row is None:
            raise ReviewError("this comparison is not open for you: reload the page to get your next one")
        ballot = _ballot(row)
        if ballot.choice != choice:
            raise ReviewError("you already voted on this comparison, and votes are final: reload the page to get your next one")
        return ballot

    def ballots(self) -> list[Ballot]:
        """Every ballot, open or decided, in the order they were opened."""
        with self._engine.connect() as connection:
            return [_ballot(row) for row in connection.execute(select(*_COLUMNS).order_by(_BallotRow.opened_at, _BallotRow.id))]

    def verdicts(self) -> list[Verdict]:
        """Every vote cast, in the order the comparisons were opened."""
        return [
            Verdict(
                ballot_id=ballot.id,
                **ballot.model_dump(include={"reviewer", "prompt_id", "seed", "left_take", "right_take", "choice"}),
                created_at=ballot.decided_at,
            )
            for ballot in self.ballots()
            if ballot.decided_at is not None
        ]

    def close(self) -> None:
        """Gives the database back; the store is not usable afterwards."""
        self._engine.dispose()

    def _open_ballot(self, reviewer: str) -> Ballot | None:
        with self._engine.connect() as connection:
            row = connection.execute(select(*_COLUMNS).where(_BallotRow.open_for == reviewer)).one_or_none()
        return None if row is None else _ballot(row)

    def _drop(self, ballot: Ballot) -> None:
        with self._engine.begin() as connection:
            connection.execute(delete(_BallotRow).where(_BallotRow.id == ballot.id, _BallotRow.choice.is_(None)))

    def _make_ballot(self, reviewer: str, contests: list[Contest]) -> Ballot | None:
        ballots = self.ballots()
        contest = choose_contest(contests, ballots, reviewer)
        if contest is None:
            return None
        coin = self._rng.random() < 0.5
        left, right = order_sides(contest, contests, ballots, reviewer, coin)
        ballot = Ballot(
            id=secrets.token_hex(12), reviewer=reviewer, prompt_id=contest.prompt_id, seed=contest.seed,
            left_take=left, right_take=right, opened_at=_now(),
        )  # fmt: skip
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_BallotRow).values(**ballot.model_dump(), open_for=reviewer))
        except IntegrityError:  # another window of the same reviewer was faster: both show the ballot it opened
            return self.next_ballot(reviewer, contests)
        return ballot


def checked_name(reviewer: str) -> str:
    """A reviewer's name as it is stored: spaces tidied.

    Raises:
        ReviewError: it is empty, longer than 60 characters, or holds characters that cannot be printed.
    """
    name = " ".join(str(reviewer).split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise ReviewError(f"your name must have 1 to {MAX_NAME} printable characters, got {len(name)}")
    return name


def _open_engine(url: str) -> Engine:
    engine = create_engine(url)
    if make_url(url).get_backend_name() == "sqlite":
        event.listen(engine, "connect", _make_sqlite_durable)
    return engine


def _make_sqlite_durable(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers never wait for a writer
    cursor.execute("PRAGMA synchronous=FULL")  # a confirmed vote survives a power cut
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a database URL)"


def _ballot(row: Row[Any]) -> Ballot:
    return Ballot.model_validate(dict(row._mapping))


def _now() -> str:
    return datetime.now(UTC).isoformat()
