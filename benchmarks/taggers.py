"""How often the measured tags and the found cuts are right, on footage of the virtual stage, whose truth is known.

    data-tools stage /tmp/stage7 --seed 7 && data-tools ingest /tmp/stage7 /tmp/stage7/footage && data-tools tag /tmp/stage7
    python benchmarks/taggers.py /tmp/stage7

Looks only at what was measured from pixels: the stage's camera report is left out of the count. An axis that a tagger has no
answer for counts as not answered, never as wrong.
"""

import json
import sys
from pathlib import Path

from data_tools.catalog import Catalog
from lora_studio.files import read_json
from lora_studio.records import Shot
from lora_studio.workspace import Workspace

AXES = ("light.key", "light.contrast", "light.temperature", "angle.movement", "angle.dutch")


def measured(shot: Shot, axis: str) -> str | None:
    """What the pixels say of an axis, whoever else said something."""
    scores = shot.tags[axis].scores.get("measured", {}) if axis in shot.tags else {}
    return max(scores, key=lambda value: scores[value]) if scores else None


def compare(workspace: Workspace) -> dict[str, object]:
    """Counts per axis, and the cuts: how many were there, how many were found within one frame."""
    truth = read_json(workspace.root / "truth.json")["files"]
    catalog = Catalog(workspace)
    names = {record.footage_id: Path(record.path).name for record in catalog.footage()}
    shots = [row.shot for row in catalog.shots()]
    counts = {axis: {"shots": 0, "answered": 0, "right": 0} for axis in AXES}
    cuts = {"there": 0, "found": 0, "invented": 0}
    for name, file in truth.items():
        found = [shot for shot in shots if names[shot.footage_id] == name]
        starts = [shot.start_s for shot in found if shot.start_s > 0]
        hits = [cut for cut in file["cuts_s"] if any(abs(cut - start) <= 1 / file["fps"] for start in starts)]
        cuts["there"] += len(file["cuts_s"])
        cuts["found"] += len(hits)
        cuts["invented"] += len(starts) - len(hits)
        for row in file["shots"]:
            middle = (row["start_s"] + row["end_s"]) / 2
            shot = next((one for one in found if one.start_s <= middle < one.end_s), None)
            for axis in AXES:
                answer = measured(shot, axis) if shot is not None else None
                counts[axis]["shots"] += 1
                counts[axis]["answered"] += answer is not None
                counts[axis]["right"] += answer == row["tags"][axis]
    return {"tags": counts, "cuts": cuts}


def main() -> None:
    """Prints a table, then the same as one line of JSON."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python benchmarks/taggers.py WORKSPACE (one made by `data-tools stage`, ingested and tagged)")
    result = compare(Workspace.open(sys.argv[1]))
    print(f"{'axis':20}{'shots':>7}{'answered':>10}{'right':>7}")
    for axis, row in result["tags"].items():  # type: ignore[attr-defined]
        print(f"{axis:20}{row['shots']:>7}{row['answered']:>10}{row['right']:>7}")
    print("cuts: {there} there, {found} found within one frame, {invented} invented".format(**result["cuts"]))  # type: ignore[arg-type]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
