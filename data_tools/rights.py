"""Who owns footage, and whether it may be trained on: finding the statement that holds for a file.

A `rights.toml` beside the footage or in a folder above it, up to the folder that was taken in, speaks for everything below;
the nearest one wins. Where there is none, brand.toml's `[rights]` speak. Judges nothing: `Rights.objection` does.
"""

from pathlib import Path

from lora_studio import files, settings
from lora_studio.brand import load_brand
from lora_studio.errors import RightsError
from lora_studio.records import Footage, Rights
from lora_studio.workspace import Workspace

RIGHTS_FILE = "rights.toml"


class RightsFinder:
    """Looks rights up for one workspace, reading each rights.toml once."""

    def __init__(self, workspace: Workspace) -> None:
        self._default = load_brand(workspace).rights
        self._workspace = workspace
        self._roots = taken_in_folders(workspace)
        self._read: dict[Path, Rights | None] = {}

    def of(self, path: Path) -> Rights:
        """The rights stated for a footage file (absolute path).

        Raises:
            RightsError: a rights.toml on the way is wrong.
        """
        for folder in folders_above(path, self._roots):
            rights = self._stated_in(folder)
            if rights is not None:
                return rights
        return self._default

    def refresh(self, footage: Footage) -> Footage:
        """The record with today's rights. A file that is away (an unplugged drive) keeps those it was taken in with."""
        path = self._workspace.absolute(footage.path)
        return footage.model_copy(update={"rights": self.of(path)}) if path.is_file() else footage

    def _stated_in(self, folder: Path) -> Rights | None:
        if folder not in self._read:
            path = folder / RIGHTS_FILE
            table = settings.read_toml(path, RightsError) if path.is_file() else None
            self._read[folder] = None if table is None else settings.validate(Rights, table, path, RightsError)
        return self._read[folder]


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
