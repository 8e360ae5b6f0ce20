"""What each screen of the review page is given: plain JSON values, in words for people who judge films.

Everything here becomes text or an address in the browser, never markup. Knows no gradio and no SQL. A ballot's value
names no look: who was who is told only when the reviewer's round is over.
"""

import shlex
from typing import Any

from lora_studio.consistency.scores import Definition
from lora_studio.records import Take
from lora_studio.review.catalogue import Catalogue
from lora_studio.review.contests import Ballot, Progress, Tally
from lora_studio.review.media import Media
from lora_studio.wall import base_caveat

Screen = dict[str, Any]

WALL = "wall"
PLAIN_NAMES = {
    "palette_share": "In brand colours",
    "palette_distance": "Distance to palette",
    "identity": "Likeness to real",
    "flicker": "Flicker",
    "flicker_local": "Flicker in places",
    "motion": "Movement",
}


def header(catalogue: Catalogue, num_votes: int, num_reviewers: int) -> Screen:
    """The strip above everything: whose page this is, its colours, how things stand, what to know of the base."""
    return {
        "brand": catalogue.brand.name,
        "palette": list(catalogue.brand.palette),
        "state": _state(catalogue, num_votes, num_reviewers),
        "caveat": base_caveat(catalogue.workspace),
    }


def wall(catalogue: Catalogue, seed: int | None, media: Media) -> Screen:
    """The wall for one seed: a row for each prompt, a clip for each look."""
    if not catalogue.takes or seed is None:
        return nothing(
            "No takes yet",
            "The wall shows every prompt beside real footage, before brand training and with each Look. Render it with:",
            _takes_command(catalogue),
        )
    return {
        "kind": "wall",
        "legend": _legend(catalogue),
        "rows": [
            {
                "prompt": prompt.text,
                "control": prompt.kind == "control",
                "cells": [_cell(catalogue, catalogue.on_wall(prompt, seed, look), look, media) for look in catalogue.looks],
            }
            for prompt in catalogue.prompts
        ],
    }


def welcome(catalogue: Catalogue, total: int) -> Screen:
    """Before a reviewer says who they are."""
    return {
        "kind": "welcome",
        "title": "Compare without knowing which is which",
        "text": f"Two clips of the same prompt play side by side, without names. Say which looks more like {catalogue.brand.name}. "
        f"There are {_count(total, 'comparison')}; you see which was which after the last one.",
    }


def ballot(catalogue: Catalogue, open_ballot: Ballot, done: Progress, media: Media, notice: str = "") -> Screen:
    """Two clips without names, and how far the reviewer is."""
    left, right = catalogue.take(open_ballot.left_take), catalogue.take(open_ballot.right_take)
    prompt = catalogue.prompt(open_ballot.prompt_id)
    assert left is not None and right is not None and prompt is not None  # noqa: PT018 - a ballot is over current takes
    return {
        "kind": "ballot",
        "ballot": open_ballot.id,
        "question": f"Which clip looks more like {catalogue.brand.name}?",
        "prompt": prompt.text,
        "take": _take_name(catalogue, open_ballot.seed),
        "clips": [_clip(catalogue, take, media, open_ballot.id) for take in (left, right)],
        "done": done.done,
        "total": done.total,
        "notice": notice,
    }


def reveal(catalogue: Catalogue, done: Progress, tallies: list[Tally], picks: list[Ballot], notice: str = "") -> Screen:
    """A finished round: what the reviewer chose, with names."""
    return {
        "kind": "reveal",
        "done": done.done,
        "total": done.total,
        "tallies": [_tally(tally) for tally in tallies],
        "picks": [_pick(catalogue, pick) for pick in picks],
        "notice": notice,
    }


def too_few_looks(catalogue: Catalogue) -> Screen:
    """Blind comparison has nothing to compare yet."""
    if not catalogue.takes:
        return nothing("Nothing to compare yet", "Render the takes first:", _takes_command(catalogue))
    return nothing(
        "Nothing to compare yet",
        "A blind comparison needs two sides: clips from before brand training, and from at least one Look. "
        "Train a Look, then render the takes again:",
        _takes_command(catalogue),
    )


def nothing(title: str, text: str, command: str = "") -> Screen:
    """A screen without clips: what is missing, and what to do about it."""
    return {"kind": "nothing", "title": title, "text": text, "command": command}


def look_name(look: str) -> str:
    """A look in the words of the page."""
    return {"real": "Real footage", "base": "Before brand training"}.get(look, look)


def take_choices(catalogue: Catalogue) -> list[tuple[str, int]]:
    """What the reader can choose on the wall: (Take 1, seed), (Take 2, seed), ..."""
    return [(_take_name(catalogue, seed), seed) for seed in catalogue.seeds]


def _takes_command(catalogue: Catalogue) -> str:
    return f"lora-studio takes {shlex.quote(str(catalogue.workspace.root))}"


def _take_name(catalogue: Catalogue, seed: int) -> str:
    return f"Take {catalogue.seeds.index(seed) + 1}" if seed in catalogue.seeds else f"Take with seed {seed}"


def _cell(catalogue: Catalogue, take: Take | None, look: str, media: Media) -> Screen:
    cell: Screen = {"look": look_name(look), "kind": look if look in ("real", "base") else "look"}
    if take is None:
        return {**cell, "missing": "No held-out clip for this prompt." if look == "real" else "Not rendered yet."}
    if take.take_id in catalogue.faults:
        return {**cell, "missing": catalogue.faults[take.take_id]}
    return {**cell, "clip": _clip(catalogue, take, media, WALL), "scores": _scores(catalogue, take)}


def _scores(catalogue: Catalogue, take: Take) -> list[Screen]:
    if catalogue.scores is None:
        return []
    score = catalogue.score(take.take_id)
    lines = []
    for metric, definition in _in_order(catalogue.scores.definitions):
        value = score.values.get(metric) if score else None
        reason = (score.reasons.get(metric) or "not measured") if score else "this take was rendered after the last scoring"
        lines.append({
            "name": PLAIN_NAMES.get(metric, definition.name),
            "value": "not measured" if value is None else _figure(value, definition.unit),
            "about": definition.text if value is not None else reason,
            "measured": value is not None,
        })  # fmt: skip
    return lines


def _legend(catalogue: Catalogue) -> list[Screen]:
    if catalogue.scores is None:
        return []
    definitions = _in_order(catalogue.scores.definitions)
    reasons = catalogue.scores.reasons
    return [{"name": PLAIN_NAMES.get(m, d.name), "text": ". ".join(filter(None, (d.text, reasons.get(m))))} for m, d in definitions]


def _in_order(definitions: dict[str, Definition]) -> list[tuple[str, Definition]]:
    known = [*PLAIN_NAMES, *(metric for metric in definitions if metric not in PLAIN_NAMES)]
    return [(metric, definitions[metric]) for metric in known if metric in definitions]


def _figure(value: float, unit: str) -> str:
    if unit == "share":
        return f"{value:.0%}"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


def _clip(catalogue: Catalogue, take: Take, media: Media, place: str) -> Screen:
    return {
        "src": media.address(catalogue.video(take.take_id), place),
        "fps": take.fps,
        "frames": take.num_frames,
        "width": take.width,
        "height": take.height,
    }


def _state(catalogue: Catalogue, num_votes: int, num_reviewers: int) -> str:
    if not catalogue.takes:
        return "Nothing has been rendered yet."
    num_looks = sum(look not in ("real", "base") for look in catalogue.looks)
    shown = f"{_count(num_looks, 'Look')} on {_count(len(catalogue.prompts), 'prompt')}"
    shown += f", {_count(len(catalogue.seeds), 'take')} each." if len(catalogue.seeds) > 1 else "."
    if num_votes == 0:
        return f"{shown} No blind comparisons so far."
    return f"{shown} {_count(num_votes, 'blind comparison')} by {_count(num_reviewers, 'person', 'people')} so far."


def _count(number: int, word: str, plural: str = "") -> str:
    return f"{number} {word if number == 1 else plural or word + 's'}"


def _tally(tally: Tally) -> list[str | int]:
    first, second = (look_name(look) for look in tally.looks)
    return [first, tally.first, second, tally.second, tally.same, tally.neither]


def _pick(catalogue: Catalogue, pick: Ballot) -> list[str]:
    sides = [catalogue.take(take_id) for take_id in (pick.left_take, pick.right_take)]
    left, right = (look_name(take.look) if take is not None else "a clip that is gone" for take in sides)
    prompt = catalogue.prompt(pick.prompt_id)
    chosen = {"left": left, "right": right, "same": "No preference", "neither": "Both unacceptable"}[pick.choice or "same"]
    return [f"{prompt.text if prompt else pick.prompt_id} · {_take_name(catalogue, pick.seed)}", left, right, chosen]
