"""The review room: one workspace's takes, votes and clip addresses brought together for the page.

Each method answers one thing a person does, with the value of the screen they see next. Knows no gradio and no HTTP.
"""

from lora_studio.errors import ReviewError
from lora_studio.review import contests, screens
from lora_studio.review.catalogue import Catalogue, load_catalogue
from lora_studio.review.media import Media
from lora_studio.review.screens import Screen
from lora_studio.review.store import ReviewStore, checked_name
from lora_studio.workspace import Workspace


class Room:
    """What can be done on the page."""

    def __init__(self, workspace: Workspace, store: ReviewStore, media: Media) -> None:
        self._workspace = workspace
        self._store = store
        self._media = media

    def header(self) -> Screen:
        """The strip above everything."""
        verdicts = self._store.verdicts()
        catalogue = self._catalogue()
        return screens.header(catalogue, len(verdicts), len({verdict.reviewer for verdict in verdicts}))

    def takes(self) -> list[tuple[str, int]]:
        """The takes of the wall: a name and a seed each."""
        return screens.take_choices(self._catalogue())

    def wall(self, seed: int | None = None) -> Screen:
        """The wall for one seed; the first one when none is asked for."""
        catalogue = self._catalogue()
        first = next(iter(catalogue.seeds), None)
        return screens.wall(catalogue, seed if seed in catalogue.seeds else first, self._media)

    def welcome(self) -> Screen:
        """What blind comparison is, before the reviewer said who they are."""
        catalogue = self._catalogue()
        possible = catalogue.contests()
        return screens.welcome(catalogue, min(contests.ROUND, len(possible))) if possible else screens.too_few_looks(catalogue)

    def reviewer(self, typed: str) -> str:
        """A reviewer's name as it is kept.

        Raises:
            ReviewError: it is empty or too long.
        """
        return checked_name(typed)

    def compare(self, reviewer: str, notice: str = "") -> Screen:
        """The reviewer's open comparison, or their picks when the round is over."""
        reviewer = checked_name(reviewer)
        catalogue = self._catalogue()
        possible = catalogue.contests()
        if not possible:
            return screens.too_few_looks(catalogue)
        ballot = self._store.next_ballot(reviewer, possible)
        ballots = self._store.ballots()
        done = contests.progress(possible, ballots, reviewer)
        if ballot is not None:
            return screens.ballot(catalogue, ballot, done, self._media, notice)
        mine = contests.picks(possible, ballots, reviewer)
        return screens.reveal(catalogue, done, contests.tally(possible, mine), mine, notice)

    def vote(self, reviewer: str, ballot_id: str, choice: str) -> Screen:
        """Records a vote, if the reviewer may cast it, and goes on to the next comparison."""
        try:
            self._store.record_verdict(reviewer, ballot_id, choice)
        except ReviewError as error:
            return self.compare(reviewer, f"Not saved: {error}.")
        return self.compare(reviewer, "Vote saved.")

    def _catalogue(self) -> Catalogue:
        return load_catalogue(self._workspace)
