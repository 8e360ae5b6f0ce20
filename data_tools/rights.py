"""Who owns footage, and whether it may be trained on: finding the statement that holds for a file.

A `rights.toml` beside the footage or in a folder above it, up to the folder that was taken in, speaks for everything below;
the nearest one wins. Where there is none, brand.toml's `[rights]` speak. Judges nothing: `Rights.objection` does.
"""

from pathlib import Path

from data_tools.beside import Statements
from data_tools.withdraw import read_book
from lora_studio.brand import load_brand
from lora_studio.errors import RightsError
from lora_studio.records import Footage, Rights
from lora_studio.workspace import Workspace

RIGHTS_FILE = "rights.toml"


class RightsFinder:
    """Looks rights up for one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._default = load_brand(workspace).rights
        self._workspace = workspace
        self._statements = Statements(workspace, RIGHTS_FILE, Rights, RightsError)
        self._withdrawn = {one.sha256 for one in read_book(workspace).withdrawn}

    def of(self, path: Path) -> Rights:
        """The rights stated for a footage file (absolute path).

        Raises:
            RightsError: a rights.toml on the way is wrong.
        """
        found = self._statements.of(path)
        return self._default if found is None else found[0]

    def refresh(self, footage: Footage) -> Footage:
        """The record with today's rights and withdrawals. A file that is away (an unplugged drive) keeps its rights."""
        path = self._workspace.absolute(footage.path)
        rights = self.of(path) if path.is_file() else footage.rights
        if footage.sha256 in self._withdrawn:
            rights = rights.model_copy(update={"withdrawn": True})
        return footage.model_copy(update={"rights": rights})
