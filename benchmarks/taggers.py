"""How often the measured tags and the found cuts are right, on footage of the virtual stage, whose truth is known.

    for brand in acme lumen north; do
        data-tools stage /tmp/$brand --brand $brand --seed 13 --files 60
        data-tools ingest /tmp/$brand /tmp/$brand/footage && data-tools tag /tmp/$brand
    done
    python benchmarks/taggers.py /tmp/acme /tmp/lumen /tmp/north

Looks only at what was measured from pixels: the stage's camera report is left out of the count. An axis that a tagger has no
answer for counts as not answered, never as wrong. Writes benchmarks/results/taggers.json.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from data_tools.catalog import Catalog
from data_tools.fusion import MIN_CONFIDENCE
from lora_studio.files import read_json, write_json
from lora_studio.records import Shot
from lora_studio.workspace import Workspace

AXES = ("light.key", "light.temperature", "angle.movement", "angle.dutch")
RESULT = Path(__file__).parent / "results" / "taggers.json"


def measured(shot: Shot, axis: str) -> str | None:
    """What the pixels say of an axis, whoever else said something; None where they are not sure enough to be heard."""
    scores = shot.tags[axis].scores.get("measured", {}) if axis in shot.tags else {}
    best = max(scores, key=lambda value: scores[value]) if scores else None
    return best if best is not None and scores[best] >= MIN_CONFIDENCE else None


def compare(workspace: Workspace) -> tuple[dict[str, Counter], Counter]:
    """For each axis how often which (truth, answer) came up, and of cuts how many are there, found within a frame, and invented."""
    truth = read_json(workspace.root / "truth.json")["files"]
    catalog = Catalog(workspace)
    names = {record.footage_id: Path(record.path).name for record in catalog.footage()}
    shots = [row.shot for row in catalog.shots()]
    answers: dict[str, Counter] = {axis: Counter() for axis in AXES}
    cuts: Counter = Counter()
    for name, file in truth.items():
        found = [shot for shot in shots if names[shot.footage_id] == name]
        starts = [shot.start_s for shot in found if shot.start_s > 0]
        hits = [cut for cut in file["cuts_s"] if any(abs(cut - start) <= 1 / file["fps"] for start in starts)]
        cuts += Counter(there=len(file["cuts_s"]), found=len(hits), invented=len(starts) - len(hits))
        for row in file["shots"]:
            middle = (row["start_s"] + row["end_s"]) / 2
            shot = next((one for one in found if one.start_s <= middle < one.end_s), None)
            for axis in AXES:
                answers[axis][row["tags"][axis], measured(shot, axis) if shot is not None else None] += 1
    return answers, cuts


def summarise(answers: Counter) -> dict[str, Any]:
    """Shots, the share that is answered, the share of those that is right, and what was taken for what."""
    shots, answered = sum(answers.values()), sum(number for (_, told), number in answers.items() if told is not None)
    right = sum(number for (true, told), number in answers.items() if true == told)
    wrong = {f"{true} as {told}": number for (true, told), number in answers.most_common() if told not in (None, true)}
    share = {"answered": round(answered / shots, 3), "right": round(right / answered, 3) if answered else None}
    return {"shots": shots, **share, "wrong": wrong}


def main() -> None:
    """Counts over all workspaces, prints a table, and writes."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python benchmarks/taggers.py WORKSPACE... (made by `data-tools stage`, ingested and tagged)")
    answers, cuts = {axis: Counter() for axis in AXES}, Counter()
    for folder in sys.argv[1:]:
        more, more_cuts = compare(Workspace.open(folder))
        cuts += more_cuts
        for axis in AXES:
            answers[axis] += more[axis]
    f1 = 2 * cuts["found"] / max(1, 2 * cuts["found"] + cuts["invented"] + cuts["there"] - cuts["found"])
    result = {"axes": {axis: summarise(answers[axis]) for axis in AXES}, "cuts": {**cuts, "F1": round(f1, 3)}}
    write_json(RESULT, result)
    print(f"{'axis':20}{'shots':>7}{'answered':>10}{'right':>8}  wrong")
    for axis, row in result["axes"].items():
        wrong = ", ".join(f"{what} {number}" for what, number in list(row["wrong"].items())[:5])
        print(f"{axis:20}{row['shots']:>7}{row['answered']:>10.0%}{row['right'] or 0:>8.1%}  {wrong}")
    print(f"cuts: {cuts['there']} there, {cuts['found']} found within one frame, {cuts['invented']} invented; F1 {f1:.3f}")


if __name__ == "__main__":
    main()
