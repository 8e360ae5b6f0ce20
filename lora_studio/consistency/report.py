"""takes/report.md: what was learned, in plain words, with every claim tied to a number. Knows scores and runs; measures nothing.

A direction is named only where its 95 % interval leaves zero out. The file holds no path outside the workspace and no
time of day, so writing it again changes nothing.
"""

from collections.abc import Sequence
from typing import Final

from lora_studio import files
from lora_studio.adapters.card import read_card
from lora_studio.brand import load_brand
from lora_studio.consistency.scores import METRICS, Difference, Scores, Side, read_scores
from lora_studio.errors import TrainingError
from lora_studio.records import Take
from lora_studio.runs import Run, finished_runs
from lora_studio.wall import base_caveat, current_takes, read_manifest
from lora_studio.workspace import Workspace

REPORT_NAME: Final = "report.md"
HEADLINES: Final = ("palette_distance", "identity", "flicker", "motion")  # the metrics told in words
ENOUGH: Final = 48  # 12 prompts x 4 seeds: from there on a middling difference stands out of the noise
READINGS: Final = {  # metric -> what a difference in the good and in the bad direction means
    "palette_distance": ("nearer to the palette", "further from the palette"),
    "palette_share": ("more of the picture in palette colours", "less of the picture in palette colours"),
    "identity": ("more like the held-out footage", "less like the held-out footage"),
    "flicker": ("steadier", "less steady"),
    "flicker_local": ("steadier", "less steady"),
    "motion": ("nearer to how real footage moves", "further from how real footage moves"),
}


def write_report(workspace: Workspace) -> str:
    """Writes takes/report.md.

    Returns:
        One paragraph in plain words: what was learned, how it compares, where things lie, what to do next.

    Raises:
        TrainingError: no run is finished.
    """
    runs = finished_runs(workspace)
    if not runs:
        raise TrainingError(
            f"nothing to report, no run in {workspace.runs} is finished: train one with "
            f"`accelerate launch train.py recipes/nano_look.toml --workspace {workspace.root}`"
        )
    scores, takes = read_scores(workspace), current_takes(workspace)
    paragraph = " ".join(_paragraph(workspace, runs, takes, scores))
    parts = [f"# {load_brand(workspace).name}: what the adapters learned", paragraph]
    parts += [_runs_section(runs)] + (_score_sections(scores) if scores is not None else [])
    text = "\n\n".join(parts) + "\n"
    path = workspace.takes / REPORT_NAME
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)
    return paragraph


def _paragraph(workspace: Workspace, runs: Sequence[Run], takes: Sequence[Take], scores: Scores | None) -> list[str]:
    names = [run.name for run in runs]
    sentences = [f"{_count(len(runs), 'adapter')} ({', '.join(names)}) trained for {load_brand(workspace).name}."]
    sentences += [f"{run.name}: {_learned(run)}" for run in runs]
    if scores is None:
        sentences.append("The takes are not scored yet, so nothing is said about how they look.")
    else:
        sentences += [_compared(name, scores) for name in names]
        sentences += [f"{METRICS[metric].name.capitalize()} {reason}." for metric, reason in scores.reasons.items()]
        unscored = len({take.take_id for take in takes} - {take.take_id for take in scores.takes})
        if unscored:
            sentences.append(f"{_count(unscored, 'take')} made since are not scored yet.")
    sentences += _caveats(workspace, scores)
    sentences.append("Adapters lie in runs/NAME/adapter of the workspace with a card.md beside each; takes and report in takes/.")
    sentences.append(_next_step(takes, scores))
    return sentences


def _learned(run: Run) -> str:
    """What the held-out loss says of a run, in one sentence."""
    if (run.folder / "card.json").is_file():
        loss = read_card(run.folder).held_out_loss
        if loss is not None:
            return loss.reading
    state = run.state()
    assert state is not None
    if state.validation_before is None or state.validation_after is None:
        return "no footage was held out, so nothing shows that it learned more than its own clips."
    figures = f"{state.validation_before:.4f} to {state.validation_after:.4f}"
    return f"held-out loss went from {figures}; how sure that is was not recorded."


def _compared(look: str, scores: Scores) -> str:
    clauses = [clause for metric in HEADLINES if (clause := _clause(scores, look, metric))]
    if not clauses:
        return f"No current take of {look} is scored."
    return f"{look} beside the bare base, same prompts and seeds: {'; '.join(clauses)}."


def _clause(scores: Scores, look: str, metric: str) -> str | None:
    """One metric of a look beside the base, in words; None when it was not measured."""
    difference, definition = scores.difference(look, "base", metric, "brand"), METRICS[metric]
    if difference is None:
        return None
    ours, base = scores.statistic(look, metric, "brand"), scores.statistic("base", metric, "brand")
    assert ours is not None
    assert base is not None
    figures = f"{ours.mean:.3g} against {base.mean:.3g}"
    real = scores.statistic("real", metric, "brand")
    if real is not None:
        figures += f", real footage {real.mean:.3g}"
        if definition.better != "near_real" and (real.mean < base.mean) != (definition.better == "lower"):
            return f"{definition.name} says nothing, for real footage scores no better than the base ({figures} {definition.unit})"
    return f"{definition.name} {_reading(scores, difference)} ({figures} {definition.unit})"


def _reading(scores: Scores, difference: Difference) -> str:
    if difference.half_width is None:
        return f"too few takes to tell, n = {difference.n}"
    if difference.verdict == "within noise":
        return "within noise"
    return READINGS[difference.metric][not _is_good(scores, difference)]


def _is_good(scores: Scores, difference: Difference) -> bool:
    better = METRICS[difference.metric].better
    if better != "near_real":
        return difference.verdict == better
    ours, base, real = (scores.statistic(look, difference.metric) for look in (difference.look, "base", "real"))
    if ours is None or base is None or real is None:
        return False
    return abs(ours.mean - real.mean) < abs(base.mean - real.mean)


def _caveats(workspace: Workspace, scores: Scores | None) -> list[str]:
    caveats = []
    if scores is not None and scores.palette_source != "brand.toml":
        caveats.append("The palette was measured from the training footage, because brand.toml has none.")
    built = read_manifest(workspace).get("dataset_sha256")
    older = [run.name for run in finished_runs(workspace) if (state := run.state()) and state.dataset_sha256 != built]
    if older:
        caveats.append(
            f"{', '.join(older)} learned from an earlier state of the dataset: what is held out now may have been trained on then."
        )
    return [*caveats, caveat] if (caveat := base_caveat(workspace)) else caveats


def _next_step(takes: Sequence[Take], scores: Scores | None) -> str:
    if not takes:
        return "Next: make takes with `lora-studio takes`."
    if scores is None:
        return "Next: score them with `lora-studio score`."
    pairs = len({score.cell for score in scores.takes if score.look == "base" and score.side == "brand"})
    more = ""
    if pairs < ENOUGH:
        here = "1 pair of prompt and seed tells" if pairs == 1 else f"{pairs} pairs of prompt and seed tell"
        more = f" {here} only large differences; about {ENOUGH} (12 prompts, 4 seeds) tell middling ones."
    return f"Next: scores do not say what is on brand, people do: open the review page (`python app.py`) and vote.{more}"


def _runs_section(runs: Sequence[Run]) -> str:
    lines = []
    for run in runs:
        state = run.state()
        assert state is not None
        size = f"{state.num_modules} layers, {state.num_parameters:,} parameters, {state.steps_done} steps"
        lines.append(f"- **{run.name}** on {state.model}: {size}. {_capital(_learned(run))} Adapter: `runs/{run.name}/adapter`.")
    return "## Runs\n\n" + "\n".join(lines)


def _score_sections(scores: Scores) -> list[str]:
    measured = [metric for metric in METRICS if any(metric in summary.statistics for summary in scores.looks)]
    sections = [_means_section(scores, measured, "brand", "Scores"), _differences_section(scores, "brand", "Differences")]
    if any(summary.side == "control" for summary in scores.looks):
        sections.append(_means_section(scores, measured, "control", "Prompts without the trigger"))
        leaks = _differences_section(scores, "control", "Leakage")
        sections.append(leaks + "\n\nWhat an adapter changes where nobody asked for the brand has leaked; near zero is good.")
    return [*sections, _definitions_section(scores)]


def _means_section(scores: Scores, measured: Sequence[str], side: Side, title: str) -> str:
    head = ["look", *(f"{METRICS[m].name} ({METRICS[m].unit})" for m in measured), "n"]
    rows = [head, ["---"] * len(head)]
    for summary in scores.looks:
        if summary.side == side:
            cells = [_cell(scores, summary.look, metric, side) for metric in measured]
            rows.append([summary.look, *cells, str(max(s.n for s in summary.statistics.values()))])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"## {title}\n\nMean ± standard error over prompts and seeds; for real footage over shots.\n\n{table}"


def _cell(scores: Scores, look: str, metric: str, side: Side) -> str:
    found = scores.statistic(look, metric, side)
    if found is None:
        return "not measured"
    error = f" ± {found.standard_error:.3f}" if found.standard_error is not None else ""
    return f"{found.mean:.3f}{error}"


def _differences_section(scores: Scores, side: Side, title: str) -> str:
    rows = [["look", "against", "metric", "difference", "what can be said"], ["---"] * 5]
    for difference in scores.differences:
        if difference.side == side:
            name = METRICS[difference.metric].name
            rows.append([difference.look, difference.against, name, f"{difference.mean:+.3f}", _verdict(difference)])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    note = "Against the base take by take (same prompt, same seed); 95 % intervals, no correction for many comparisons."
    return f"## {title}\n\n{note}\n\n{table}"


def _verdict(difference: Difference) -> str:
    interval = f"± {difference.half_width:.3f}, " if difference.half_width is not None else ""
    return f"{difference.verdict} ({interval}n = {difference.n})"


def _definitions_section(scores: Scores) -> str:
    lines = [f"- **{d.name}** ({d.unit}; {d.better.replace('_', ' ')} is better): {d.text}." for d in METRICS.values()]
    lines += [f"- {METRICS[metric].name}: {reason}." for metric, reason in scores.reasons.items()]
    lines.append(f"- Palette ({scores.palette_source}): {', '.join(scores.palette)}.")
    return "## How to read this\n\n" + "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
