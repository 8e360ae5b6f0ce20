"""Corrections: a book that only grows, statements that survive every re-run, and nothing changed but what follows from them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_build import Plain
from test_tags import by_name

from data_tools import captions
from data_tools.build import build_dataset
from data_tools.captions import caption_shots
from data_tools.catalog import Catalog
from data_tools.corrections import FILE, carry_over, read_corrections, said_by_people, undo_correction, write_correction
from data_tools.coverage import cover
from data_tools.review.desk import Desk
from data_tools.search import search
from data_tools.tags import tag_shots
from lora_studio.errors import FootageError, WorkspaceError
from lora_studio.review.media import Media
from lora_studio.training.dataset import load_clips
from lora_studio.workspace import Workspace

NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)


def desk_of(workspace: Workspace) -> Desk:
    return Desk(workspace, Media(), "Ana Berg")


def say(desk: Desk, shot: str, axis: str, value: str, scope: str = "shot") -> dict:
    return desk.act({"do": "say", "shot": shot, "axis": axis, "value": value, "scope": scope})


def on_screen(screen: dict, axis: str) -> dict:
    return next(one for one in screen["axes"] if one["axis"] == axis)


def test_words_follow_a_shot_that_gets_another_name_and_back(workspace: Workspace):
    write_correction(workspace, ["x", "z"], "light.key", "low", "Ana", NOW)
    carry_over(workspace, {"x": "y", "silent": "other"}, NOW)
    write_correction(workspace, ["y"], "content", "a red bottle", "Ana", NOW)
    said = said_by_people(read_corrections(workspace))
    assert said == {"y": {"light.key": "low", "content": "a red bottle"}, "z": {"light.key": "low"}}
    carry_over(workspace, {"y": "x"}, NOW)
    carry_over(workspace, {"y": "x"}, NOW)  # a run that was killed does it again
    assert len(read_corrections(workspace)) == 4
    assert said_by_people(read_corrections(workspace))["x"] == {"light.key": "low", "content": "a red bottle"}
    undone = [undo_correction(workspace, "Bo", NOW) for _ in range(3)]
    assert [None if one is None else (one.axis, one.shots) for one in undone] == [
        ("content", ("x",)), ("light.key", ("x", "z")), None,
    ]  # fmt: skip
    assert said_by_people(read_corrections(workspace)) == {}


def test_later_words_replace_earlier_ones_and_undo_goes_back_step_by_step(workspace: Workspace):
    for value in ("low", "high", "unknown", ""):
        write_correction(workspace, ["x", "y"], "light.key", value, "Ana", NOW)
    write_correction(workspace, ["x"], "content", "  a red \n bottle ", "Ana", NOW)
    seen = []
    while (undone := undo_correction(workspace, "Bo", NOW)) is not None:
        seen.append((undone.axis, undone.value, said_by_people(read_corrections(workspace)).get("y", {}).get("light.key", "")))
    assert seen == [
        ("content", "a red bottle", ""), ("light.key", "", "unknown"), ("light.key", "unknown", "high"),
        ("light.key", "high", "low"), ("light.key", "low", ""),
    ]  # fmt: skip
    assert len(read_corrections(workspace)) == 10, "nothing is ever struck from the book"
    assert said_by_people(read_corrections(workspace)) == {}


@pytest.mark.parametrize(("axis", "value", "by", "told"), [
    ("light.kee", "low", "Ana", "there is no axis 'light.kee': it is one of angle.scale"),
    ("light.key", "dark", "Ana", "light.key cannot be 'dark': it is one of high, mid, low, na, unknown"),
    ("content", "x" * 301, "Ana", "content has 301 characters: at most 300"),
    ("light.key", "low", " ", "needs the name of who makes it"),
])  # fmt: skip
def test_what_cannot_be_said_is_refused_and_not_written(workspace: Workspace, axis: str, value: str, by: str, told: str):
    with pytest.raises(FootageError, match=told):
        write_correction(workspace, ["x"], axis, value, by, NOW)
    assert not (workspace.root / FILE).exists()


def test_a_damaged_line_is_named_and_nothing_is_lost(workspace: Workspace, tiny_vision_folder: Path):
    write_correction(workspace, ["x"], "light.key", "low", "Ana", NOW)
    book = workspace.root / FILE
    book.write_text(book.read_text() + '{"at": "2026')
    before = by_name(workspace)
    with pytest.raises(WorkspaceError, match=r"corrections\.jsonl, line 2 is damaged"):
        tag_shots(workspace, tiny_vision_folder)
    assert by_name(workspace).keys() == before.keys()


def test_a_statement_survives_re_tagging_and_a_lost_catalog_table(workspace: Workspace, tiny_vision_folder: Path):
    shot_id = by_name(workspace)["a1"].shot.shot_id
    say(desk_of(workspace), shot_id, "angle.scale", "medium")
    say(desk_of(workspace), shot_id, "content", "a navy cup")
    corrected = by_name(workspace)["a1"].shot
    assert (corrected.tags["angle.scale"].value, corrected.tags["angle.scale"].source) == ("medium", "human")
    assert "a navy cup" in corrected.caption_long
    assert tag_shots(workspace, tiny_vision_folder).num_changed == 0, "the catalog is as the steps would have made it"
    assert caption_shots(workspace).num_changed == 0
    row = by_name(workspace)["a1"]
    bare = row.shot.model_copy(update={"tags": {}, "content": "", "caption_long": "", "caption_short": ""})
    Catalog(workspace).put_shots([type(row)(bare)])
    tag_shots(workspace, tiny_vision_folder)
    caption_shots(workspace)
    again = by_name(workspace)["a1"].shot
    assert (again.tags["angle.scale"], again.content, again.caption_long) == (
        corrected.tags["angle.scale"], "a navy cup", corrected.caption_long,
    )  # fmt: skip


def test_words_unfit_for_a_caption_are_used_and_told(workspace: Workspace):
    assert caption_shots(workspace).doubtful == {}
    say(desk_of(workspace), by_name(workspace)["a1"].shot.shot_id, "content", "a close-up of a cup")
    assert caption_shots(workspace).doubtful == {"it speaks of the camera (close-up)": 1}
    assert "a close-up of a cup" in by_name(workspace)["a1"].shot.caption_long


def test_the_way_leads_through_what_was_asked_for(workspace: Workspace):
    desk, names = desk_of(workspace), {row.shot.shot_id: name for name, row in by_name(workspace).items()}
    first = desk.act({"do": "show", "query": "cup"})
    second = desk.act({"do": "show", "query": "cup", "shot": first["next"]})
    assert {names[first["shot"]], names[second["shot"]]} == {"a0", "a1"}
    assert (first["place"], second["place"], second["next"]) == ("Shot 1 of 2 found", "Shot 2 of 2 found", "")
    said = desk.act({"do": "say", "query": "cup", "shot": first["shot"], "axis": "content", "value": "a jar", "scope": "shot"})
    assert (said["shot"], said["place"], said["next"]) == (first["shot"], "No longer among the 1 found", second["shot"])
    alike = desk.act({"do": "show", "like": first["shot"]})
    assert (alike["shot"], alike["place"]) == (first["shot"], "Shot 1 of 4 found")
    for query, told in (("zebra", "No shot is 'zebra'"), ("light.key=dark", "Not found: 'light.key=dark' names no tag")):
        none = desk.act({"do": "show", "query": query})
        assert none["notice"].startswith(told)
        assert (none["place"], none["query"], none["typed"]) == ("Shot 1 of 4", "", query)


def rows_of(workspace: Workspace) -> dict[str, dict]:
    """Every clip of the dataset without its arrays, by id, with the split it is in."""
    clips = load_clips(workspace)
    return {
        row["clip_id"]: {"split": split} | {key: value for key, value in row.items() if not isinstance(value, bytes)}
        for split, rows in (("train", clips.train), ("held_out", clips.held_out)) for row in rows
    }  # fmt: skip


def test_a_correction_changes_caption_coverage_and_dataset_and_nothing_else(workspace: Workspace):
    plain, shot_id = Plain(), by_name(workspace)["pan0"].shot.shot_id
    build_dataset(workspace, plain.base())
    before, counted, clips = by_name(workspace), cover(workspace, "light.key", "angle.movement"), rows_of(workspace)
    say(desk_of(workspace), shot_id, "light.key", "high")
    after = by_name(workspace)
    assert [name for name in after if after[name].shot != before[name].shot] == ["pan0"]
    changed = {key for key, value in after["pan0"].shot if value != getattr(before["pan0"].shot, key)}
    assert changed == {"tags", "caption_long"}, "the short caption says nothing of the key"
    assert [axis for axis, tag in after["pan0"].shot.tags.items() if tag != before["pan0"].shot.tags[axis]] == ["light.key"]
    assert before["pan0"].keys == after["pan0"].keys
    recounted = cover(workspace, "light.key", "angle.movement")
    moved = [(row, counted.at(row, "pan_right").shots, recounted.at(row, "pan_right").shots) for row in ("low", "high")]
    assert moved == [("low", 1, 0), ("high", 0, 1)]
    rebuilt = build_dataset(workspace, plain.base())
    assert (rebuilt.is_new, rebuilt.num_encoded_clips) == (True, 0)
    again = rows_of(workspace)
    assert again.keys() == clips.keys()
    assert {row["shot_id"] for key, row in again.items() if row != clips[key]} == {shot_id}
    fields = {name for key, row in again.items() for name in row if row[name] != clips[key][name]}
    touched = {"tags", "tag_value", "tag_confidence", "tag_source", "caption_long"}
    touched |= {"text_long", "rows_long", "text_plain_long", "rows_plain_long"}
    assert {"tags", "caption_long"} <= fields <= touched, "nothing of the clip, nothing of the short caption"


def test_bulk_words_reach_a_whole_file_and_one_undo_takes_all_back(workspace: Workspace):
    before = by_name(workspace)
    desk = desk_of(workspace)
    screen = say(desk, before["a0"].shot.shot_id, "light.quality", "soft", "file")
    assert screen["notice"] == "Saved for 2 shots: light.quality is soft."
    assert {name for name, row in by_name(workspace).items() if row.shot.tags["light.quality"].source == "human"} == {"a0", "a1"}
    screen = desk.act({"do": "undo", "shot": before["still0"].shot.shot_id})
    assert screen["notice"] == "Undone for 2 shots: light.quality soft."
    assert {name: row.shot for name, row in by_name(workspace).items()} == {name: row.shot for name, row in before.items()}
    assert desk.act({"do": "undo", "shot": ""})["notice"] == "There is nothing to undo."


def test_several_words_are_found_by_each_and_counted_by_the_first(workspace: Workspace):
    shot_id = by_name(workspace)["pan0"].shot.shot_id
    screen = say(desk_of(workspace), shot_id, "light.direction", "back+top")
    assert on_screen(screen, "light.direction")["value"] == "back+top"
    assert "lit from behind and lit from above" in screen["caption"].lower()
    for query in ("backlit", "top light"):
        assert [hit.shot.shot_id for hit in search(workspace, query)] == [shot_id]
    counted = cover(workspace, "light.direction", "light.key")
    assert (counted.margin(row="back"), counted.margin(row="top")) == (1, 0)
    for value in ("back+back", "back+unknown", "back+dark", "back+"):
        assert "Not saved: light.direction cannot be" in say(desk_of(workspace), shot_id, "light.direction", value)["notice"]
    assert "or several joined by +" in say(desk_of(workspace), shot_id, "light.direction", "left")["notice"]
    assert "Not saved" in say(desk_of(workspace), shot_id, "light.key", "low+high")["notice"]


def test_a_word_that_ends_a_constant_writes_every_caption_anew(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(captions, "_CONSTANT_SCENES", 2)
    desk, names = desk_of(workspace), by_name(workspace)
    for row in names.values():
        say(desk, row.shot.shot_id, "light.quality", "soft")
    assert not any("soft light" in row.shot.caption_long.lower() for row in by_name(workspace).values())
    say(desk, names["pan0"].shot.shot_id, "light.quality", "hard")
    said = [row.shot.caption_long.lower() for name, row in by_name(workspace).items() if name != "pan0"]
    assert all("soft light" in text for text in said)
    assert caption_shots(workspace).num_changed == 0


def test_nobody_can_tell_is_a_statement(workspace: Workspace):
    shot_id = by_name(workspace)["pan0"].shot.shot_id
    screen = say(desk_of(workspace), shot_id, "angle.movement", "unknown")
    assert on_screen(screen, "angle.movement")["value"] == "unknown"
    assert on_screen(screen, "angle.movement")["said"] == "unknown"
    assert "pans" not in by_name(workspace)["pan0"].shot.caption_long
    screen = say(desk_of(workspace), shot_id, "angle.movement", "")
    assert on_screen(screen, "angle.movement")["value"] == "pan_right"


def test_conflicts_come_first_and_the_way_leads_through_all(workspace: Workspace, tiny_vision_folder: Path):
    report = workspace.footage / "camera_report.csv"
    report.write_text("file,start_s,content,angle.movement\ndeep/still.mp4,0,,pan_left\n")
    tag_shots(workspace, tiny_vision_folder)
    desk = desk_of(workspace)
    names = {row.shot.shot_id: name for name, row in by_name(workspace).items()}
    screen, seen = desk.show(), []
    while True:
        seen.append(names[screen["shot"]])
        if not screen["next"]:
            break
        screen = desk.act({"do": "show", "shot": screen["next"]})
    assert seen[0] == "still0"
    assert sorted(seen) == ["a0", "a1", "pan0", "still0"]
    assert screen["open"] == "1 with a conflict"
    assert say(desk, desk.show()["shot"], "angle.movement", "static")["open"] == "no conflicts left"
    assert names[desk.show()["shot"]] == "still0", "the order stays while people work"


@pytest.mark.parametrize("sent", [
    {"do": "say", "shot": "nonsense", "axis": "light.key", "value": "low", "scope": "shot"},
    {"do": "say", "shot": "", "axis": "light.key", "value": "<b>", "scope": "all"},
])  # fmt: skip
def test_nonsense_from_a_page_is_refused(workspace: Workspace, sent: dict):
    assert desk_of(workspace).act(sent)["notice"].startswith("Not saved: ")
    assert not (workspace.root / FILE).exists()


def test_a_desk_needs_tagged_shots(tmp_path: Path):
    with pytest.raises(FootageError, match="run `data-tools ingest` and `data-tools tag` first"):
        desk_of(Workspace.at(tmp_path / "empty"))
