"""Which files below a folder are footage, and what is left out of it: said once each, never passed over in silence.

Tells a video by its suffix. Opens no video and no catalog.
"""

import logging
import os
import shlex
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lora_studio import files
from lora_studio.errors import FootageError, WorkspaceError
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gif", ".gxf", ".h264", ".hevc", ".ivf", ".m2t", ".m2ts", ".m2v", ".m4v"}
    | {".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
_EXPORT: Final = "export.json"  # marks a folder that `data-tools export` wrote


def find_videos(workspace: Workspace, folder: Path) -> list[Path]:
    """Every video file below a folder by its suffix, sorted.

    Hidden files and what the workspace itself made are left out. So are other workspaces, exports, linked folders (what rights.toml
    states above the place they lead to would not be found) and folders that cannot be opened: each is said once.

    Raises:
        FootageError: no such folder, it cannot be opened, or there is no video file in it.
    """
    if not folder.is_dir():
        what = "a file, not a folder" if folder.exists() else "not there"
        raise FootageError(f"{folder} is {what}: give a folder with video files")
    search = _Search(workspace, folder)
    found, num_files = [], 0
    for place, inner, names in os.walk(folder, onerror=search.note_closed):
        inner[:] = sorted(name for name in inner if search.may_enter(Path(place, name)))
        num_files += len(names)
        found += [Path(place, name) for name in names if _is_video_name(name)]
    if not found:
        held = f"none of its {num_files} files is a video" if num_files else "it is empty"
        held = "all that it holds is left out" if search.left_out else held
        raise FootageError(f"no footage in {folder}: {held}; video files end in {', '.join(sorted(SUFFIXES))}")
    return sorted(found)


@dataclass
class _Search:
    """One walk through a folder."""

    workspace: Workspace
    folder: Path
    left_out: list[Path] = field(default_factory=list)

    def may_enter(self, path: Path) -> bool:
        """Whether footage is looked for in a folder below."""
        if path.name.startswith(".") or path in _made_by(self.workspace):
            return False
        if path.is_symlink():
            self._note_link(path)
            return False
        whose = self._whose(path)
        number = _num_videos(path) if whose else 0
        if number:
            self._say(path, f"left out: {number} videos in {path}, {whose}")
        return not whose

    def note_closed(self, fault: OSError) -> None:
        """Notes a folder that cannot be opened."""
        reason = (fault.strerror or type(fault).__name__).lower()
        if str(fault.filename) == str(self.folder):
            raise FootageError(f"{self.folder} cannot be opened ({reason}): check its permissions") from None
        path = Path(str(fault.filename))
        self._say(path, f"left out: {path} cannot be opened ({reason}); check its permissions and run the same command again")

    def _note_link(self, path: Path) -> None:
        target = path.resolve()
        if not target.is_relative_to(self.folder.resolve()):  # else it is met where it lies
            command = f"data-tools ingest {shlex.quote(str(self.workspace.root))} {shlex.quote(str(target))}"
            self._say(path, f"left out: {path} is a link to another folder; to take that in: {command}")

    def _whose(self, path: Path) -> str:
        """What a folder is that holds no footage but what was made of it; "" when it is none."""
        if path != self.workspace.root and _is_workspace(path):
            return f"another workspace; its own footage is taken in when {path / 'footage'} is named"
        if path in _made_by(Workspace.at(self.folder)) and _is_workspace(self.folder):
            return "made by that workspace"
        return "an export of a dataset" if is_export(path) else ""

    def _say(self, path: Path, words: str) -> None:
        self.left_out.append(path)
        logger.warning("%s", words)


def _made_by(workspace: Workspace) -> set[Path]:
    return {workspace.catalog, workspace.dataset, workspace.runs, workspace.takes}


def _is_workspace(folder: Path) -> bool:
    place = Workspace.at(folder)
    return place.brand_file.is_file() and any(path.is_dir() for path in _made_by(place))


def is_export(folder: Path) -> bool:
    """Whether `data-tools export` wrote a folder."""
    if not (folder / _EXPORT).is_file():
        return False
    try:
        mark: Any = files.read_json(folder / _EXPORT)
    except (WorkspaceError, OSError):
        return False  # another program's
    return isinstance(mark, dict) and "dataset_sha256" in mark


def _num_videos(folder: Path) -> int:
    return sum(Path(name).suffix.lower() in SUFFIXES for _, _, names in os.walk(folder) for name in names)


def _is_video_name(name: str) -> bool:
    if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
        return False
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):  # line breaks, bytes that are no UTF-8
        logger.warning("left out, its name is not valid text: %a; rename it", name)
        return False
    return True
