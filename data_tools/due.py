"""Which files are to be read again, and why. Compares what the catalog holds with what is on disk; opens no video.

`ingest` reads what is due, `status` says it beforehand: both ask here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data_tools.shot_ids import shot_id, way_of
from lora_studio import files
from lora_studio.records import Footage, Shot
from lora_studio.workspace import Workspace

CHANGED: Final = "changed"  # another size or date
STATED_ANEW: Final = "stated anew"  # colour.toml says something else
WITHOUT_SHOTS: Final = "without shots"  # a normalised shot is not there any more

OLD: Final = "old"  # normalised in a way that is not today's


@dataclass(frozen=True)
class Known:
    """What a catalog holds."""

    workspace: Workspace
    footage: dict[str, Footage]  # by path, as stored
    shots: dict[str, list[Shot]]  # by footage id

    @classmethod
    def of(cls, workspace: Workspace, footage: Iterable[Footage], shots: Iterable[Shot]) -> "Known":
        """Sorts records."""
        parted: dict[str, list[Shot]] = {}
        for shot in shots:
            parted.setdefault(shot.footage_id, []).append(shot)
        return cls(workspace, {record.path: record for record in footage}, parted)

    def why_again(self, record: Footage, colour: dict[str, Any]) -> str:
        """Why a file that is there is to be read again; "" when it is not.

        Args:
            record: of the file.
            colour: what `ColourFinder` finds for it.
        """
        if not is_unchanged(record, self.workspace.absolute(record.path)):
            return CHANGED
        if record.colour_stated != key_of(colour):
            return STATED_ANEW
        return self.lack(record) if record.status == "usable" else ""

    def lack(self, record: Footage) -> str:
        """What is wrong with the normalised shots of usable footage; "" when nothing is."""
        shots = self.shots.get(record.footage_id, [])
        if not shots or not all(files.is_whole(self.workspace.absolute(shot.path)) for shot in shots):
            return WITHOUT_SHOTS
        way = way_of(record.colour_stated, record.colour, record.transform, record.warnings)
        today = all(shot.shot_id == shot_id(shot.footage_id, shot.start_pts, shot.end_pts, way) for shot in shots)
        return "" if today else OLD


def is_unchanged(record: Footage | None, path: Path) -> bool:
    """Whether a file still has the size and date it was taken in with."""
    return record is not None and (record.size_bytes, record.mtime_ns) == stamp(path)


def stamp(path: Path) -> tuple[int, int]:
    """Size and date; of the link itself where it leads nowhere; zeros of what is not there any more."""
    try:
        stat = path.stat() if path.exists() else path.lstat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def key_of(colour: dict[str, Any]) -> str:
    """What colour.toml says of a file, in one word that changes with it."""
    return str(colour.get("sha256") or colour.get("space", ""))
