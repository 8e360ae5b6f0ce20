"""What the screens are given: the right clips in the right cells, plain words, and no names before the end."""

import json

import pytest
from studio import FPS, FRAMES, HEIGHT, WIDTH, Studio

from lora_studio import files
from lora_studio.consistency.scores import METRICS, Scores, TakeScore
from lora_studio.errors import ReviewError
from lora_studio.records import Take
from lora_studio.review.media import Media
from lora_studio.review.room import Room
from lora_studio.review.store import ReviewStore

TEXTS = {"bottle": "a bottle on a table", "shoe": "a shoe on a plinth"}
LOOKS = ("real", "base", "autumn", "winter")


@pytest.fixture
def media() -> Media:
    return Media()


@pytest.fixture
def room(studio: Studio, media: Media):
    store = ReviewStore(f"sqlite:///{studio.workspace.review_db}")
    yield Room(studio.workspace, store, media)
    store.close()


def served(media: Media, clip: dict) -> str:
    file = media.file(clip["src"].removeprefix("/media/"))
    assert file is not None
    return file.stem


def test_the_wall_hangs_each_take_in_its_cell(studio: Studio, room: Room, media: Media):
    studio.render_all(LOOKS, TEXTS, seeds=(0, 7))
    assert room.takes() == [("Take 1", 0), ("Take 2", 7)]
    for seed in (0, 7):
        wall = room.wall(seed)
        assert [row["prompt"] for row in wall["rows"]] == list(TEXTS.values())
        for row, prompt_id in zip(wall["rows"], TEXTS, strict=True):
            assert [cell["look"] for cell in row["cells"]] == ["Real footage", "Before brand training", "autumn", "winter"]
            expected = [next(t for t in studio.takes if (t.look, t.prompt_id, t.seed) == (look, prompt_id, seed)) for look in LOOKS]
            assert [served(media, cell["clip"]) for cell in row["cells"]] == [take.take_id for take in expected]
            clip = row["cells"][0]["clip"]
            assert (clip["fps"], clip["frames"], clip["width"], clip["height"]) == (FPS, FRAMES, WIDTH, HEIGHT)


def test_real_footage_stands_beside_every_take(studio: Studio, room: Room, media: Media):
    studio.write_sheet(TEXTS, (0, 7))
    real = studio.render("real", "bottle", TEXTS["bottle"], 0)
    studio.render("base", "bottle", TEXTS["bottle"], 7)
    cells = room.wall(7)["rows"][0]["cells"]
    assert served(media, cells[0]["clip"]) == real.take_id
    assert room.wall(7)["rows"][1]["cells"][0]["missing"] == "No held-out clip for this prompt."
    other = next(prompt for prompt in TEXTS if prompt != "bottle")
    studio.render("base", other, TEXTS[other], 0)
    assert room.wall(0)["rows"][0]["cells"][1]["missing"] == "Not rendered yet."


def test_a_damaged_clip_is_named_and_never_voted_on(studio: Studio, room: Room):
    studio.render_all(("base", "autumn"), TEXTS)
    broken = studio.takes[1]
    video = studio.workspace.takes / f"{broken.take_id}.mp4"
    video.write_bytes(video.read_bytes()[:-40])
    cell = room.wall()["rows"][0]["cells"][1]
    assert "damaged" in cell["missing"]
    assert "clip" not in cell
    assert room.compare("Ana")["total"] == 1


def test_control_prompts_are_shown_but_not_voted_on(studio: Studio, room: Room):
    studio.render_all(("base", "autumn"), TEXTS)
    studio.write_sheet(TEXTS, controls=("shoe",))
    assert [row["control"] for row in room.wall()["rows"]] == [False, True]
    assert room.compare("Ana")["total"] == 1


def test_empty_states_say_what_to_do(studio: Studio, room: Room):
    assert room.header()["state"] == "Nothing has been rendered yet."
    assert room.takes() == []
    for screen in (room.wall(), room.compare("Ana"), room.welcome()):
        assert screen["kind"] == "nothing"
        assert screen["command"] == f"lora-studio takes {studio.workspace.root}"
    studio.render("base", "bottle", "a bottle on a table")
    assert "at least one Look" in room.compare("Ana")["text"]
    wall = room.wall()
    assert (wall["legend"], wall["rows"][0]["cells"][0]["scores"]) == ([], [])


def test_scores_in_plain_words(studio: Studio, room: Room):
    studio.render_all(("base", "autumn"), {"bottle": TEXTS["bottle"]})

    def score(take: Take, share: float) -> TakeScore:
        values = {**dict.fromkeys(METRICS), "palette_share": share, "flicker": 0.1234, "motion": 12.7}
        return TakeScore(take_id=take.take_id, key="k", look=take.look, side="brand", prompt_id=take.prompt_id, seed=take.seed,
                         values=values, reasons={"identity": "not measured: no vision model"})  # fmt: skip

    scores = Scores(
        palette=(), palette_source="brand.toml", vision_sha256=None, takes=(score(studio.takes[0], 0.314),),
        reasons={"identity": "not measured: no vision model"},
    )  # fmt: skip
    files.write_json(studio.workspace.takes / "scores.json", scores.model_dump(mode="json"))
    wall = room.wall()
    base, autumn = ({s["name"]: (s["value"], s["about"]) for s in cell["scores"]} for cell in wall["rows"][0]["cells"])
    assert next(iter(base)) == "In brand colours"
    assert base["In brand colours"][0] == "31%"
    assert base["Flicker"][0] == "0.12"
    assert base["Movement"][0] == "13"
    assert base["Likeness to real"] == ("not measured", "not measured: no vision model")
    assert autumn["Flicker"] == ("not measured", "this take was rendered after the last scoring")
    words = json.dumps([s["name"] for s in wall["rows"][0]["cells"][0]["scores"]]).lower()
    assert not any(jargon in words for jargon in ("cosine", "elo", "rank", "adapter", "seed", "checkpoint"))
    assert next(line for line in wall["legend"] if line["name"] == "Likeness to real")["text"].endswith("no vision model")


def test_a_ballot_names_nothing_and_shows_the_stored_sides(studio: Studio, room: Room, media: Media):
    studio.render_all(LOOKS, TEXTS)
    wall_text = json.dumps(room.wall())
    screen = room.compare("Ana")
    text = json.dumps(screen)
    assert (screen["done"], screen["total"]) == (0, 6)
    for secret in ("autumn", "winter", "base", "before brand", *(take.take_id for take in studio.takes)):
        assert secret not in text.lower()
    assert not any(clip["src"] in wall_text for clip in screen["clips"])
    assert {key: clip[key] for clip in screen["clips"] for key in clip if key != "src"} == {
        "fps": FPS, "frames": FRAMES, "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip
    store = ReviewStore(f"sqlite:///{studio.workspace.review_db}")
    (ballot,) = store.ballots()
    store.close()
    assert [served(media, clip) for clip in screen["clips"]] == [ballot.left_take, ballot.right_take]
    assert room.compare("Ana")["clips"] == screen["clips"]


def test_who_was_who_is_told_after_the_last_vote(studio: Studio, room: Room):
    studio.render_all(("base", "autumn"), TEXTS)
    screen = room.compare("Ana")
    for choice, counted in (("left", 1), ("neither", 2)):
        assert screen["kind"] == "ballot"
        screen = room.vote("Ana", screen["ballot"], choice)
        assert (screen["notice"], screen["done"]) == ("Vote saved.", counted)
    assert screen["kind"] == "reveal"
    assert [len(row) for row in screen["picks"]] == [4, 4]
    for row, chosen in zip(screen["picks"], (None, "Both unacceptable"), strict=True):
        assert {row[1], row[2]} == {"autumn", "Before brand training"}
        assert row[3] == (chosen or row[1])
    ((first, _, second, _, same, neither),) = screen["tallies"]
    assert (first, second, same, neither) == ("autumn", "Before brand training", 0, 1)
    assert room.header()["state"] == "1 Look on 2 prompts. 2 blind comparisons by 1 person so far."
    assert room.compare("Bo")["kind"] == "ballot"


def test_a_foreign_vote_is_answered_in_words_and_not_counted(studio: Studio, room: Room):
    studio.render_all(("base", "autumn"), TEXTS)
    anas = room.compare("Ana")["ballot"]
    screen = room.vote("Bo", anas, "left")
    assert screen["notice"].startswith("Not saved:")
    assert screen["done"] == 0
    assert room.compare("Ana")["ballot"] == anas
    with pytest.raises(ReviewError, match="name"):
        room.compare("")


def test_text_of_people_is_passed_on_as_it_is(studio: Studio, room: Room):
    hostile = "${alert(1)} {{value}} <img src=x onerror=alert(1)> `"
    studio.brand = hostile
    studio.write_sheet({"bottle": hostile})
    for look in ("base", "autumn"):
        studio.render(look, "bottle", hostile)
    assert room.header()["brand"] == hostile
    assert room.wall()["rows"][0]["prompt"] == hostile
    assert room.compare("Ana")["prompt"] == hostile
