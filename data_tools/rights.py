"""Who owns footage, and whether it may be trained on: finding the statement that holds for a file.

A `rights.toml` beside the footage or in a folder above it, up to the folder that was taken in, speaks for everything below;
the nearest one wins. Where there is none, brand.toml's `[rights]` speak. Its `[files."PATTERN"]` tables state what is different for
some of the files below. Judges nothing: `Rights.objection` does.
"""

import logging
import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import Field

from data_tools.beside import Statements, file_named, folders_above, taken_in_folders
from data_tools.withdraw import read_book
from lora_studio.brand import load_brand
from lora_studio.errors import RightsError
from lora_studio.records import Footage, Rights
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

RIGHTS_FILE = "rights.toml"
_LOOK_UP = 3  # in so many folders above the footage a rights.toml is looked for that does not count


class Stated(Rights):
    """rights.toml: what holds for all footage below it, and what is different for files whose name or path fits a pattern."""

    files: dict[str, Rights] = Field(default_factory=dict)

    def of(self, path: str) -> Rights:
        """The rights of one file; `path` is below the folder of this rights.toml. Of patterns that fit, the later one counts."""
        rights = Rights(**{key: getattr(self, key) for key in Rights.model_fields})
        for pattern, other in self.files.items():
            if _fits(path, pattern):
                rights = rights.model_copy(update={key: getattr(other, key) for key in other.model_fields_set})
        return rights


class RightsFinder:
    """Looks rights up for one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._default = load_brand(workspace).rights
        self._workspace = workspace
        self._statements = Statements(workspace, RIGHTS_FILE, Stated, RightsError)
        self._withdrawn = {one.sha256 for one in read_book(workspace).withdrawn}

    def of(self, path: Path) -> Rights:
        """The rights stated for a footage file (absolute path).

        Raises:
            RightsError: a rights.toml on the way is wrong.
        """
        found = self._statements.of(path)
        return self._default if found is None else found[0].of(path.relative_to(found[1]).as_posix())

    def warn_of_unread(self, folder: Path) -> None:
        """Says so when a rights.toml lies above a folder that is taken in, where it does not hold."""
        top = folders_above(folder / "any", taken_in_folders(self._workspace))[-1]
        for inner, above in zip([top, *top.parents], top.parents[:_LOOK_UP], strict=False):
            path = None if inner.is_mount() else file_named(above, RIGHTS_FILE, RightsError)
            if path is not None:
                logger.warning("%s is not read, for it lies above %s: copy it into that folder, or take in %s", path, top, above)
            if path is not None or inner.is_mount():
                return

    def warn_of_idle_patterns(self, folder: Path, paths: Iterable[Path]) -> None:
        """Says once of each pattern at or below a folder that it fits none of the files its rights.toml speaks for: a typo?"""
        idle: dict[tuple[Path, str], None] = {}
        used: set[tuple[Path, str]] = set()
        for path in paths:
            found = self._statements.of(path)
            if found is None or not found[1].is_relative_to(folder):
                continue
            stated, place = found
            idle |= dict.fromkeys((place, pattern) for pattern in stated.files)
            used |= {(place, one) for one in stated.files if _fits(path.relative_to(place).as_posix(), one)}
        for place, pattern in idle:
            if (place, pattern) not in used:
                what = f'{place / RIGHTS_FILE}: [files."{pattern}"] fits no footage it speaks for, so it changes nothing'
                logger.warning("%s; it is compared with file names and with paths below that folder: correct or delete it", what)

    def refresh(self, footage: Footage) -> Footage:
        """The record with today's rights and withdrawals. A file that is away (an unplugged drive) keeps its rights."""
        path = self._workspace.absolute(footage.path)
        rights = self.of(path) if path.is_file() else footage.rights
        if footage.sha256 in self._withdrawn:
            rights = rights.model_copy(update={"withdrawn": True})
        return footage.model_copy(update={"rights": rights})


def _fits(path: str, pattern: str) -> bool:
    """Whether a pattern fits a path or the name at its end; large and small letters, and ways to write an accent, are the same."""
    path, pattern = _folded(path), _folded(pattern)
    return fnmatchcase(path, pattern) or fnmatchcase(path.rsplit("/", 1)[-1], pattern)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
