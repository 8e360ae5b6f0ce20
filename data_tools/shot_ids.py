"""What a normalised shot is called: by all that decides its pixels. Whatever changes them changes the id, so an id tells whether a
shot is what it would be today. Knows no folder and no machine: the same shot is called the same everywhere.
"""

from collections.abc import Sequence
from typing import Any

from data_tools import normalise
from lora_studio import files
from lora_studio.video import MIRRORED, VARIABLE, colour, rate

LUT = "lut:"  # how the colour of footage begins that a .cube file brings to BT.709


def way_of(stated: str, space: str, transform: str, warnings: Sequence[str]) -> list[Any]:
    """By what way the pixels of a file come to be, beyond what is done to all.

    Args:
        stated: what colour.toml says, in one word (`due.key_of`).
        space: how the file was recorded (`Footage.colour`).
        transform: how it is brought to BT.709; "" where nothing is to do.
        warnings: what the file was found to be.
    """
    way: list[Any] = []
    if transform:
        kind = "sha256" if space.startswith(LUT) else "space"
        way += [{kind: stated} if stated else space, colour.VERSION]
    way += ["mirrored"] * (MIRRORED in warnings) + ["rate", rate.VERSION] * (VARIABLE in warnings)
    return way


def shot_id(footage_id: str, start_pts: int, end_pts: int, way: list[Any]) -> str:
    """16 hexadecimal digits for the part of a file between two ticks of its clock."""
    return files.sha256_json([footage_id, start_pts, end_pts, normalise.VERSION, *way])[:16]
