"""The book of a dataset: what became of every shot, and why some were left out. Pure; decides nothing but fitness.

Each shot is in it once, as `train`, `held_out` or `left_out`, so that the numbers balance.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from data_tools.clips import ClipFormat, PlannedClip, clip_starts
from lora_studio.records import Footage, Shot

_BLACK = 0.5
RIGHTS = "rights: "  # how the reasons that are about rights begin


def leave_out(shots: Sequence[Shot], footage: Sequence[Footage], form: ClipFormat, today: date) -> dict[str, str]:
    """Why each shot that cannot be used is left out, by shot id. What the rights of one of equal files forbid is forbidden."""
    objections: dict[str, str] = {}  # footage id -> the first one by path
    for record in sorted(footage, key=lambda one: one.path):
        if (said := record.rights.objection(today)) is not None:
            objections.setdefault(record.footage_id, said if record.status == "usable" else f"{said} (stated for {record.path})")
    reasons = {}
    for shot in shots:
        objection = objections.get(shot.footage_id)
        if objection is not None:
            reasons[shot.shot_id] = f"{RIGHTS}{objection}"
        elif shot.flags.get("black", 0.0) > _BLACK:
            reasons[shot.shot_id] = "black picture"
        elif not clip_starts(shot, form):
            reasons[shot.shot_id] = f"shorter than one clip ({(form.num_frames - 1) / form.fps:.2f} s)"
    return reasons


def balance(
    shots: Sequence[Shot], footage: Sequence[Footage], clips: Sequence[PlannedClip], reasons: dict[str, str], plan_sha256: str
) -> dict[str, Any]:
    """dataset/ledger.json: every shot is train, held out, or left out with a reason."""
    paths = {record.footage_id: record.path for record in footage if record.status == "usable"}
    cut: dict[str, list[PlannedClip]] = {}
    for clip in clips:
        cut.setdefault(clip.shot.shot_id, []).append(clip)
    lines = []
    for shot in shots:
        verdict = cut[shot.shot_id][0].split if shot.shot_id in cut else "left_out"
        reason = reasons.get(shot.shot_id, "" if shot.shot_id in cut else "too few usable shots for a dataset")
        lines.append({
            "shot_id": shot.shot_id, "footage_id": shot.footage_id, "path": paths[shot.footage_id], "start_s": shot.start_s,
            "end_s": shot.end_s, "verdict": verdict, "num_clips": len(cut.get(shot.shot_id, [])), "reason": reason,
        })  # fmt: skip
    verdicts = [line["verdict"] for line in lines]
    totals = {"shots": len(lines), **{verdict: verdicts.count(verdict) for verdict in ("train", "held_out", "left_out")}}
    return {
        "schema": 1, "plan_sha256": plan_sha256, "totals": {**totals, "clips": len(clips)}, "shots": lines,
        "quarantined": [{"path": record.path, "reason": record.reason} for record in footage if record.status == "quarantined"],
    }  # fmt: skip
