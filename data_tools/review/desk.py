"""What can be done on the correction page: find a shot, say what it is, take that back. Knows no gradio and no HTTP.

A statement goes into the book of corrections and at once into tags and captions of the shots it names, and nowhere else: the
catalog is then as `data-tools tag` and `caption` would have made it. Every answer is a screen of plain JSON values.
"""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

import cv2

from data_tools.captions import captioned, constants_of
from data_tools.catalog import Catalog, ShotRow
from data_tools.corrections import CONTENT, read_corrections, said_by_people, undo_correction, write_correction
from data_tools.fusion import ORDER, sure_value
from data_tools.search import search
from data_tools.tags import LOOKED_AT, with_statements
from lora_studio import video
from lora_studio.brand import load_brand
from lora_studio.errors import FootageError, LoraStudioError
from lora_studio.records import Shot, Tag
from lora_studio.review.media import Media
from lora_studio.taxonomy import AXES, NA, SEVERAL, UNKNOWN
from lora_studio.workspace import Workspace

Screen = dict[str, Any]

SCOPES: Final = ("shot", "scene", "file")
_PICTURE_WIDTH: Final = 288
_WHO: Final = {"human": "a person", "metadata": "camera report", "measured": "measured", "probe": "learned", "clip": "open_clip"}


class Desk:
    """One person at one workspace. The order of the shots is that of the moment the desk was opened."""

    def __init__(self, workspace: Workspace, media: Media, by: str) -> None:
        """Raises FootageError when there is no tagged shot."""
        self._workspace, self._media, self._by = workspace, media, by
        rows = Catalog(workspace).shots()
        if not any(row.shot.tags for row in rows):
            raise FootageError(f"no tagged shot in {workspace.root}: run `data-tools ingest` and `data-tools tag` first")
        self._order = [row.shot.shot_id for row in sorted(rows, key=lambda row: _urgency(row.shot))]

    def act(self, sent: dict[str, Any]) -> Screen:
        """Does what the page asks for, and answers with the shot to look at now.

        Args:
            sent: `do` is "show", "say" or "undo"; `shot` the id on the screen; for "say" also `axis`, `value` and `scope`; at
                any time `query` and `like`, which shots to go through.
        """
        shot_id, query, like = (str(sent.get(key, "")) for key in ("shot", "query", "like"))
        try:
            if sent.get("do") == "say":
                notice = self._say(shot_id, *(str(sent.get(key, "")) for key in ("axis", "value", "scope")))
            elif sent.get("do") == "undo":
                shot_id, notice = self._undo(shot_id)
            else:
                notice = ""
        except LoraStudioError as error:
            notice = f"Not saved: {error}."
        return self.show(shot_id, notice, query, like)

    def show(self, shot_id: str = "", notice: str = "", query: str = "", like: str = "") -> Screen:
        """The screen of a shot; of the first one when none is named that is still there.

        Args:
            shot_id: which one.
            notice: what the person is told.
            query: as `data-tools search` takes it; the way then leads through what it finds. "" leads through all.
            like: the shot that all should be like, most alike first; "" for none.
        """
        rows = {row.shot.shot_id: row for row in Catalog(self._workspace).shots()}
        everything = [one for one in self._order if one in rows]
        if not everything:
            return {"kind": "nothing", "title": "No shots", "text": "The footage was withdrawn or taken away.", "command": ""}
        found, failure = self._find(everything, query, like)
        order, notice = found or everything, notice or failure
        at = shot_id if shot_id in rows else order[0]
        place = order.index(at) if at in order else None  # a corrected shot may no longer be what was asked for
        shot = rows[at].shot
        names = {record.footage_id: record.path for record in Catalog(self._workspace).footage() if record.status == "usable"}
        said = said_by_people(read_corrections(self._workspace)).get(shot.shot_id, {})
        open_conflicts = sum(bool(_conflicts(row.shot)) for row in rows.values())
        return {
            "kind": "shot",
            "brand": load_brand(self._workspace).name,
            "by": self._by,
            "place": _place(place, len(order), bool(found)),
            "query": query if found else "",
            "typed": query,
            "like": like if found else "",
            "open": f"{open_conflicts} with a conflict" if open_conflicts else "no conflicts left",
            "shot": shot.shot_id,
            "previous": order[place - 1] if place else "",
            "next": order[0] if place is None else order[place + 1] if place + 1 < len(order) else "",
            "name": f"{PurePosixPath(names.get(shot.footage_id, '?')).name}, {shot.start_s:.1f} to {shot.end_s:.1f} s",
            "flags": [f"{name} {score:.2f}" for name, score in sorted(shot.flags.items()) if score >= 0.5],
            "scopes": [{"id": scope, "name": _scope_name(scope, len(self._within(rows, shot, scope)))} for scope in SCOPES],
            "pictures": self._pictures(shot),
            "clip": {"src": self._media.address(self._workspace.absolute(shot.path), "desk")},
            "content": {"value": shot.content, "said": said.get(CONTENT, ""), "reported": shot.reported_content},
            "caption": shot.caption_long,
            "axes": [_axis(axis, shot.tags.get(axis, Tag()), said.get(axis, "")) for axis in AXES],
            "notice": notice,
        }  # fmt: skip

    def _find(self, everything: list[str], query: str, like: str) -> tuple[list[str], str]:
        """The shots that are asked for, and what to tell when there are none or the question is none."""
        if not query.strip() and not like:
            return [], ""
        try:
            hits = search(self._workspace, query, like, limit=len(everything))
        except LoraStudioError as error:
            return [], f"Not found: {error}."
        found = [hit.shot.shot_id for hit in hits if hit.shot.shot_id in everything]
        return found, "" if found else f"No shot is {query!r}: all are shown."

    def _say(self, shot_id: str, axis: str, value: str, scope: str) -> str:
        catalog = Catalog(self._workspace)
        rows = {row.shot.shot_id: row for row in catalog.shots()}
        if shot_id not in rows or scope not in SCOPES:
            raise FootageError(f"shot {shot_id!r}, scope {scope!r} is nothing that can be corrected: reload the page")
        meant = self._within(rows, rows[shot_id].shot, scope)
        write_correction(self._workspace, [row.shot.shot_id for row in meant], axis, value, self._by, datetime.now(UTC))
        self._renew(catalog, meant)
        what = f"{axis} is {value}" if value else f"what was said of {axis} is taken back"
        return f"Saved for {_count(len(meant))}: {what}."

    def _undo(self, shot_id: str) -> tuple[str, str]:
        undone = undo_correction(self._workspace, self._by, datetime.now(UTC))
        if undone is None:
            return shot_id, "There is nothing to undo."
        catalog = Catalog(self._workspace)
        self._renew(catalog, [row for row in catalog.shots() if row.shot.shot_id in undone.shots])
        what = f"{undone.axis} {undone.value}" if undone.value else f"{undone.axis} taken back"
        return shot_id if shot_id in undone.shots else undone.shots[0], f"Undone for {_count(len(undone.shots))}: {what}."

    def _renew(self, catalog: Catalog, rows: list[ShotRow]) -> None:
        brand, before = load_brand(self._workspace), {row.shot.shot_id: row for row in catalog.shots()}
        after = before | {row.shot.shot_id: row for row in with_statements(self._workspace, catalog, rows)}
        constant, was_constant = (constants_of([row.shot for row in shots.values()]) for shots in (after, before))
        touched = after.values() if constant != was_constant else [after[row.shot.shot_id] for row in rows]
        catalog.put_shots([replace(r, shot=captioned(r.shot, brand, constant)) if r.shot.caption_long else r for r in touched])

    def _within(self, rows: dict[str, ShotRow], shot: Shot, scope: str) -> list[ShotRow]:
        if scope == "shot":
            return [rows[shot.shot_id]]
        if scope == "scene":
            return [row for row in rows.values() if _scene(row.shot) == _scene(shot)]
        return [row for row in rows.values() if row.shot.footage_id == shot.footage_id]

    def _pictures(self, shot: Shot) -> list[str]:
        last = (shot.num_frames - 1) / shot.fps
        frames = video.read_frames(self._workspace.absolute(shot.path), [place * last for place in LOOKED_AT])
        height = round(_PICTURE_WIDTH * frames.shape[1] / frames.shape[2])
        small = [cv2.resize(frame, (_PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA) for frame in frames]
        jpegs = [cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1] for frame in small]
        return ["data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode() for jpeg in jpegs]


def _place(place: int | None, number: int, is_found: bool) -> str:
    among = f"{number} found" if is_found else f"{number}"
    return f"No longer among the {among}" if place is None else f"Shot {place + 1} of {among}"


def _axis(axis: str, tag: Tag, said: str) -> Screen:
    sources = [source for source in ORDER if tag.scores.get(source)]
    return {
        "axis": axis,
        "name": axis.replace(".", " ").replace("_", " "),
        "value": NA if tag.value == NA else sure_value(tag),
        "status": tag.status,
        "said": said,
        "sources": [_source(_WHO[source], tag.scores[source]) for source in sources],
        "choices": [*AXES[axis], NA, UNKNOWN],
        "several": axis in SEVERAL,
    }


def _source(who: str, scores: dict[str, float]) -> str:
    value = max(scores, key=lambda one: scores[one])
    return f"{who}: {value.replace('_', ' ')} {scores[value]:.0%}"


def _urgency(shot: Shot) -> tuple[int, int, str, int]:
    """Conflicts first, then what nobody knows, then as it was shot."""
    unknown = sum(tag.status == "unknown" for tag in shot.tags.values())
    return -len(_conflicts(shot)), -unknown, shot.footage_id, shot.index


def _conflicts(shot: Shot) -> list[str]:
    return [axis for axis, tag in shot.tags.items() if tag.status == "conflict"]


def _scene(shot: Shot) -> str:
    return shot.scene or shot.shot_id


def _scope_name(scope: str, number: int) -> str:
    return {"shot": "this shot", "scene": f"its scene ({number})", "file": f"its file ({number})"}[scope]


def _count(number: int) -> str:
    return f"{number} shot" if number == 1 else f"{number} shots"
