"""In which colours a camera recorded: finding the statement that holds for a file, and the table that brings it to BT.709.

A `colour.toml` beside the footage or in a folder above it says it: `space = "slog3"`, or `lut = "camera_to_709.cube"`, or
`space = "bt709"` for footage that merely looks like log. Where there is none, the file's own words count (HLG, PQ), else BT.709.
"""

from pathlib import Path
from typing import Any, Final

from pydantic import model_validator

from data_tools.beside import Statements
from lora_studio import files
from lora_studio.errors import FootageError
from lora_studio.records import Record
from lora_studio.workspace import Workspace

COLOUR_FILE: Final = "colour.toml"
BT709: Final = "bt709"
SUSPECTED: Final = "log?"  # nobody stated a space, and the picture is as flat as log


class Colour(Record):
    """colour.toml: a space by name, or a .cube file that brings the footage to BT.709."""

    space: str | None = None
    lut: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "Colour":
        from lora_studio.video.colour import LOG_SPACES, WIDE_SPACES

        allowed = sorted([BT709, *WIDE_SPACES, *LOG_SPACES])
        if (self.space is None) == (self.lut is None):
            raise ValueError('state either space = "..." or lut = "FILE.cube"')
        if self.space is not None and self.space not in allowed:
            raise ValueError(f"space must be one of {', '.join(allowed)}; for any other camera state a lut")
        return self


class ColourFinder:
    """Looks up how each file of a workspace was recorded."""

    def __init__(self, workspace: Workspace) -> None:
        self._statements = Statements(workspace, COLOUR_FILE, Colour, FootageError)

    def of(self, path: Path) -> dict[str, Any]:
        """What is stated for a footage file: `{}`, `{"space": NAME}`, or `{"lut": path, "sha256": its hash}`.

        Raises:
            FootageError: a colour.toml on the way is wrong, or its LUT is not there.
        """
        found = self._statements.of(path)
        if found is None:
            return {}
        stated, folder = found
        if stated.space is not None:
            return {"space": stated.space}
        lut = folder / str(stated.lut)
        if lut.suffix.lower() != ".cube" or not lut.is_file():
            raise FootageError(f"{folder / COLOUR_FILE}: lut: there is no .cube file {lut}")
        return {"lut": str(lut), "sha256": files.sha256_file(lut)}
