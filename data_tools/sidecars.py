"""Captions that people wrote before: `A001.txt` beside `A001.mp4`, as trainers of images and clips have them. Opens no video.

One line of text is a caption; several lines are something else (a camera's notes) and are left alone, and said. It holds for a
file of one shot: of several shots it would be wrong for all but one.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lora_studio.records import Footage, Shot
from lora_studio.workspace import Workspace

logger = logging.getLogger(__name__)

MOST_CHARACTERS: Final = 2000


def with_sidecars(workspace: Workspace, footage: Sequence[Footage], shots: Sequence[Shot]) -> list[Shot]:
    """The shots with what the text files beside their footage say; where a folder is not there now, what it said before holds.

    Args:
        workspace: of the footage.
        footage: its records.
        shots: all of the library.
    """
    num_shots = Counter(shot.footage_id for shot in shots)
    said: dict[str, str] = {}
    offline = set()
    for record in (record for record in footage if record.status == "usable"):
        path = workspace.absolute(record.path).with_suffix(".txt")
        if not path.parent.is_dir():
            offline.add(record.footage_id)
        elif path.is_file() and (text := _caption_in(path)):
            if num_shots[record.footage_id] == 1:
                said[record.footage_id] = text
            else:
                logger.warning("%s is not used: %s has %d shots", path, record.path, num_shots[record.footage_id])
    return [
        shot if shot.footage_id in offline else shot.model_copy(update={"stated_caption": said.get(shot.footage_id, "")})
        for shot in shots
    ]


def _caption_in(path: Path) -> str:
    try:
        lines = [" ".join(line.split()) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        logger.warning("%s is not used: it is not UTF-8 text", path)
        return ""
    if len(lines) != 1 or len(lines[0]) > MOST_CHARACTERS:
        what = "it is empty" if not lines else f"a caption is one line of at most {MOST_CHARACTERS} characters"
        logger.warning("%s is not used: %s", path, what)
        return ""
    return lines[0]
