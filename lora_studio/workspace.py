"""A workspace: one brand, one folder. Knows where each thing lies; reads none of it.

Every path stored inside a workspace is relative to it, so the folder can be moved to another machine.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from lora_studio.errors import WorkspaceError


@dataclass(frozen=True)
class Workspace:
    """The places of one workspace. `root` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> "Workspace":
        """Names a workspace folder that need not exist yet."""
        return cls(Path(os.path.abspath(Path(path).expanduser())))

    @classmethod
    def open(cls, path: str | Path) -> "Workspace":
        """Opens an existing workspace.

        Raises:
            WorkspaceError: there is no brand.toml in the folder.
        """
        workspace = cls.at(path)
        if not workspace.brand_file.is_file():
            raise WorkspaceError(
                f"no workspace at {path} (brand.toml is missing): make one with "
                f"`data-tools init {path} --name NAME --trigger WORD`, "
                f"or `data-tools stage {path}` for the virtual stage's demo brand"
            )
        return workspace

    @property
    def brand_file(self) -> Path:
        """brand.toml: name, trigger, palette, rights."""
        return self.root / "brand.toml"

    @property
    def prompts_file(self) -> Path:
        """prompts.toml: the prompt sheet."""
        return self.root / "prompts.toml"

    @property
    def footage(self) -> Path:
        """Originals that live inside the workspace; never modified."""
        return self.root / "footage"

    @property
    def catalog(self) -> Path:
        """LanceDB tables, and the normalised shots under `shots/`."""
        return self.root / "catalog"

    @property
    def shots(self) -> Path:
        """Normalised shot clips, one MP4 each, named by shot id."""
        return self.catalog / "shots"

    @property
    def dataset(self) -> Path:
        """What training reads: clips/ (a `datasets` folder), manifest.json, ledger.json, features/ (cache)."""
        return self.root / "dataset"

    @property
    def runs(self) -> Path:
        """One folder per training run."""
        return self.root / "runs"

    @property
    def takes(self) -> Path:
        """Generated videos with sidecars, and scores.json."""
        return self.root / "takes"

    @property
    def review_db(self) -> Path:
        """SQLite file of ballots and verdicts."""
        return self.root / "review.db"

    def relative(self, path: Path) -> str:
        """`path` as stored on disk: relative to the workspace, with forward slashes; may start with `..`."""
        return Path(os.path.relpath(path, self.root)).as_posix()

    def absolute(self, stored: str) -> Path:
        """The inverse of `relative`."""
        return Path(os.path.normpath(self.root / stored))
