"""takes/scores.json: what was measured on each take, per look, and between looks. Knows arithmetic; opens no video.

A look is a column of the wall: `real`, `base`, or the name of a run. Takes of control prompts (which leave the brand's
trigger out) are summed up apart: what an adapter changes there has leaked.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field
from scipy.special import stdtrit

from lora_studio import files
from lora_studio.records import Record
from lora_studio.workspace import Workspace

SCORES_NAME: Final = "scores.json"
LEAST_TAKES: Final = 3  # fewer pairs give no interval
Side = Literal["brand", "control"]


class Definition(Record):
    """How to read one metric."""

    name: str
    unit: str
    better: Literal["lower", "higher", "near_real"]
    text: str
    noise: float = 0.0  # smaller differences come from encoding, however many takes agree on them


METRICS: Final[dict[str, Definition]] = {
    "palette_distance": Definition(
        name="palette distance", unit="ΔE00", better="lower",
        text="CIEDE2000 distance of a pixel to the nearest palette colour, median over the frames; below 1.5 is encoding noise",
        noise=1.5,
    ),
    "palette_share": Definition(
        name="palette share", unit="share", better="higher", text="share of pixels within 10 ΔE00 of a palette colour",
    ),
    "identity": Definition(
        name="identity", unit="cosine", better="higher",
        text="mean open_clip cosine between the take's frames and held-out real footage (real clips: without their own shot)",
    ),
    "flicker": Definition(
        name="flicker", unit="L*", better="lower", text="back-and-forth of the whole frame's lightness from frame to frame",
    ),
    "flicker_local": Definition(
        name="local flicker", unit="L*", better="lower", text="the same in the cells of a grid; fast texture raises it",
    ),
    "motion": Definition(
        name="motion", unit="% width/s", better="near_real",
        text="mean optical flow in percent of the frame's width per second; the mark is real footage, not high or low",
    ),
}  # fmt: skip


class TakeScore(Record):
    """One take. A value that could not be measured is None, and `reasons` says why."""

    take_id: str
    key: str  # hash of all that the values depend on
    look: str
    side: Side
    prompt_id: str
    seed: int
    shot_id: str | None = None  # of real footage
    values: dict[str, float | None]
    reasons: dict[str, str] = Field(default={})

    @property
    def cell(self) -> tuple[str, int]:
        """What counts once: prompt and seed, or the shot of real footage (two clips of one shot are one piece of evidence)."""
        return (self.shot_id, 0) if self.shot_id is not None else (self.prompt_id, self.seed)


class Statistic(Record):
    """Mean over prompts x seeds, or over the shots of real footage; the standard error is None for a single one."""

    mean: float
    standard_error: float | None
    n: int


class LookSummary(Record):
    """One look on one side of the sheet: metric -> statistic; metrics that no take has are absent."""

    look: str
    side: Side
    statistics: dict[str, Statistic]


class Difference(Record):
    """How a look differs from another in one metric: mean of `look` minus `against`.

    Against `base` the difference is taken take by take (same prompt and seed); against `real`, between means.
    `half_width` is that of the 95 % interval (Student's t); None when there are too few takes to say.
    """

    look: str
    against: Literal["base", "real"]
    side: Side
    metric: str
    mean: float
    half_width: float | None
    n: int

    @property
    def verdict(self) -> Literal["higher", "lower", "within noise", "too few"]:
        """What may be said: a direction only when the interval leaves zero out and the difference is above encoding noise."""
        if self.half_width is None:
            return "too few"
        if abs(self.mean) <= max(self.half_width, METRICS[self.metric].noise):
            return "within noise"
        return "higher" if self.mean > 0 else "lower"


class Scores(Record):
    """All of takes/scores.json."""

    palette: tuple[str, ...]
    palette_source: Literal["brand.toml", "measured from footage"]
    vision_sha256: str | None
    definitions: dict[str, Definition] = METRICS
    reasons: dict[str, str] = Field(default={})  # metric -> why no take has it
    takes: tuple[TakeScore, ...] = ()
    looks: tuple[LookSummary, ...] = ()
    differences: tuple[Difference, ...] = ()

    def statistic(self, look: str, metric: str, side: Side = "brand") -> Statistic | None:
        """One cell of the table; None when nothing was measured."""
        found = (summary.statistics.get(metric) for summary in self.looks if (summary.look, summary.side) == (look, side))
        return next(found, None)

    def difference(self, look: str, against: str, metric: str, side: Side = "brand") -> Difference | None:
        """One difference; None when one of the two looks was not measured."""
        wanted = (look, against, metric, side)
        return next((d for d in self.differences if (d.look, d.against, d.metric, d.side) == wanted), None)


def read_scores(workspace: Workspace) -> Scores | None:
    """takes/scores.json; None when nothing was scored yet, or by a version of this program with other columns."""
    path = workspace.takes / SCORES_NAME
    if not path.is_file():
        return None
    table = files.read_json(path)
    return Scores.model_validate_json(path.read_bytes()) if table.get("definitions", {}).keys() == METRICS.keys() else None


def summarise(takes: Sequence[TakeScore]) -> tuple[LookSummary, ...]:
    """Mean and standard error of each metric for each look and side, in the order the looks first appear."""
    found: list[LookSummary] = []
    groups: dict[tuple[str, Side], None] = {(take.look, take.side): None for take in takes}
    for look, side in groups:
        cells = {metric: _statistic(list(_cells(takes, look, side, metric).values())) for metric in METRICS}
        known = {metric: statistic for metric, statistic in cells.items() if statistic is not None}
        found.append(LookSummary(look=look, side=side, statistics=known))
    return tuple(found)


def _cells(takes: Sequence[TakeScore], look: str, side: Side, metric: str) -> dict[tuple[str, int], float]:
    cells: dict[tuple[str, int], list[float]] = {}
    for take in takes:
        if (take.look, take.side) == (look, side) and (value := take.values.get(metric)) is not None:
            cells.setdefault(take.cell, []).append(value)
    return {cell: statistics.fmean(values) for cell, values in cells.items()}


def _statistic(values: Sequence[float]) -> Statistic | None:
    if not values:
        return None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Statistic(mean=statistics.fmean(values), standard_error=error, n=len(values))


def compare(takes: Sequence[TakeScore]) -> tuple[Difference, ...]:
    """Every run against the base and against real footage, and the base against real, in each metric."""
    found = []
    for summary in summarise(takes):
        for against in ("base", "real"):
            if summary.look not in (against, "real"):
                found += [_difference(takes, summary.look, against, summary.side, metric) for metric in METRICS]
    return tuple(difference for difference in found if difference is not None)


def _difference(
    takes: Sequence[TakeScore], look: str, against: Literal["base", "real"], side: Side, metric: str
) -> Difference | None:
    ours, theirs = _cells(takes, look, side, metric), _cells(takes, against, side, metric)
    paired = [ours[cell] - theirs[cell] for cell in ours if cell in theirs]
    found = _unpaired(ours, theirs) if against == "real" else _statistic(paired)
    if found is None:
        return None
    half_width = None
    if found.n >= LEAST_TAKES and found.standard_error is not None:
        half_width = float(stdtrit(found.n - 1, 0.975)) * found.standard_error
    return Difference(look=look, against=against, side=side, metric=metric, mean=found.mean, half_width=half_width, n=found.n)


def _unpaired(ours: dict[tuple[str, int], float], theirs: dict[tuple[str, int], float]) -> Statistic | None:
    """Difference of means; n is the smaller of the two, which makes the interval rather too wide than too narrow."""
    one, two = _statistic(list(ours.values())), _statistic(list(theirs.values()))
    if one is None or two is None:
        return None
    error = None
    if one.standard_error is not None and two.standard_error is not None:
        error = math.hypot(one.standard_error, two.standard_error)
    return Statistic(mean=one.mean - two.mean, standard_error=error, n=min(one.n, two.n))
