"""What people state in TOML files beside the footage: the nearest one upwards from a file holds for it. Knows no file's meaning."""

import os
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from lora_studio import files, settings
from lora_studio.workspace import Workspace

Statement = TypeVar("Statement", bound=BaseModel)


class Statements(Generic[Statement]):
    """Looks up the statements of one kind (`rights.toml`, say) for one workspace, reading each file once."""

    def __init__(self, workspace: Workspace, name: str, kind: type[Statement], error: type[Exception]) -> None:
        self._roots = taken_in_folders(workspace)
        self._name, self._kind, self._error = name, kind, error
        self._read: dict[Path, Statement | None] = {}

    def of(self, path: Path) -> tuple[Statement, Path] | None:
        """What is stated for a footage file (absolute path) and the folder it stands in; None where nothing is.

        Raises:
            error: a file on the way is wrong.
        """
        for folder in folders_above(path, self._roots):
            stated = self._stated_in(folder)
            if stated is not None:
                return stated, folder
        return None

    def _stated_in(self, folder: Path) -> Statement | None:
        if folder not in self._read:
            path = file_named(folder, self._name, self._error)
            table = None if path is None else settings.read_toml(path, self._error)
            self._read[folder] = None if path is None else settings.validate(self._kind, table or {}, path, self._error)
        return self._read[folder]


def file_named(folder: Path, name: str, error: type[Exception]) -> Path | None:
    """The file of a name in a folder, be it `Rights.toml` for `rights.toml`: on some drives these are the same name.

    Raises:
        error: there are several.
    """
    try:
        found = sorted(entry.name for entry in os.scandir(folder) if entry.name.casefold() == name and entry.is_file())
    except OSError:  # gone, or it may be read only by those who know what is in it
        return folder / name if (folder / name).is_file() else None
    if len(found) > 1:
        raise error(f"{folder} holds {' and '.join(found)}: only one of them can hold; keep it as {name} and move the others away")
    return folder / found[0] if found else None


def taken_in_folders(workspace: Workspace) -> list[Path]:
    """Every folder that was ever given to `ingest`."""
    path = workspace.catalog / "folders.json"
    return [workspace.absolute(stored) for stored in files.read_json(path)] if path.is_file() else []


def remember_folder(workspace: Workspace, folder: Path) -> None:
    """Notes that a folder was taken in."""
    folders = {workspace.relative(known) for known in taken_in_folders(workspace)}
    stored = workspace.relative(folder)
    if stored not in folders:
        files.write_json(workspace.catalog / "folders.json", sorted(folders | {stored}))


def folders_above(path: Path, roots: list[Path]) -> list[Path]:
    """A file's folder and those above it, nearest first, up to the outermost of `roots` that holds it."""
    above = list(path.parents)
    holding = [index for index, folder in enumerate(above) if folder in roots]
    return above[: max(holding) + 1] if holding else above[:1]
