"""The page in a real browser: clips in step, exact frames, a vote that lasts, hostile text that stays text, no other host."""

import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from pages import serving, watch
from studio import FPS, Studio

from lora_studio.workspace import Workspace

pytestmark = pytest.mark.browser

BRAND = "${window.hit=1} Acme"
HOSTILE = "${window.hit=1} {{value}} {{#each value}} `<img src=x onerror=window.hit=1><script>window.hit=1</script>"
TEXTS = {"hostile": HOSTILE, "bottle": "a bottle on a table", "shoe": "a shoe on a plinth"}
LOOKS = ("real", "base", "autumn", "<img src=x onerror=window.hit=1>")
TIMES = "selector => [...document.querySelectorAll(selector)].map(video => video.currentTime)"
# The block's left edge in the middle row of the picture stands at 4 + 4 k pixels in frame k.
SHOWN = """selector => [...document.querySelectorAll(selector)].map(video => {
    const canvas = new OffscreenCanvas(video.videoWidth, 1);
    const brush = canvas.getContext('2d');
    brush.drawImage(video, 0, 48, video.videoWidth, 1, 0, 0, video.videoWidth, 1);
    const row = brush.getImageData(0, 0, video.videoWidth, 1).data;
    const value = (x) => Math.max(row[4 * x], row[4 * x + 1], row[4 * x + 2]);
    let x = 0;
    while (x < video.videoWidth && value(x) < 65) x += 1;
    return Math.round((x - 4) / 4);
})"""


@dataclass
class Visit:
    """One tab of the browser, and whatever went wrong in it."""

    page: object
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def home(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Studio]]:
    """(address, studio): the page as `python app.py` serves it."""
    studio = Studio(Workspace.at(tmp_path_factory.mktemp("browser") / "acme"), brand=BRAND)
    studio.render_all(LOOKS, TEXTS, seeds=(0, 1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving("app.py", "--workspace", str(studio.workspace.root), "--port", str(port)) as line:
        address = f"http://127.0.0.1:{port}"
        assert address in line
        yield address, studio


@pytest.fixture
def visit(browser, home) -> Iterator[Visit]:
    """A fresh visitor; fails the test when anything was logged, refused, or asked of another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    opened = Visit(page, watch(page))
    page.goto(home[0])
    page.wait_for_selector(".prompt .clip[src]")
    page.wait_for_function("[...document.querySelectorAll('.clip[src]')].every(video => video.readyState >= 3)")
    yield opened
    assert opened.faults == []
    assert page.evaluate("window.hit") is None
    context.close()


def begin_comparing(page, name: str) -> None:
    page.get_by_role("tab", name="Blind compare").click()
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start comparing").click()
    page.wait_for_function("[...document.querySelectorAll('.pair video')].filter(video => video.readyState >= 3).length === 2")


def votes(studio: Studio, reviewer: str) -> list[str]:
    with sqlite3.connect(studio.workspace.review_db) as database:
        query = "SELECT choice FROM ballots WHERE reviewer = ? AND choice IS NOT NULL ORDER BY decided_at"
        return [choice for (choice,) in database.execute(query, [reviewer])]


def spread(times: list[float]) -> float:
    assert len(times) >= 2
    return max(times) - min(times)


def test_the_wall_plays_in_step_steps_by_exact_frames_and_loops(visit: Visit):
    page = visit.page
    assert page.evaluate("[...document.querySelectorAll('video')].every(video => video.paused)")
    row = ".prompt:first-of-type .clip"
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(1000)
    times = page.evaluate(TIMES, row)
    assert len(times) == 4
    assert min(times) > 0.3
    assert spread(times) < 0.5 / FPS
    page.get_by_role("button", name="Pause").click()
    page.wait_for_function("document.querySelector('.play').textContent === 'Play'")
    page.wait_for_function(f"({TIMES})('{row}').every((time, _, all) => time === all[0])")
    page.wait_for_function(f"[...document.querySelectorAll('{row}')].every(video => !video.seeking)")
    before = round(page.evaluate(TIMES, row)[0] * FPS - 0.5)
    for key, frame in ((".", before + 1), (".", before + 2), (",", before + 1), (",", before)):
        page.keyboard.press(key)
        page.get_by_text(f"Frame {frame + 1} of 25").wait_for()
        page.wait_for_function(f"({SHOWN})('{row}').every(shown => shown === {frame})")
        assert page.evaluate(TIMES, row) == pytest.approx([(frame + 0.5) / FPS] * 4, abs=1e-3)
    page.keyboard.press("l")
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('.play').textContent === 'Play'")
    page.wait_for_function(f"({SHOWN})('{row}').every(shown => shown === 24)")  # without a loop, the last frame stays
    page.keyboard.press("l")
    page.keyboard.press("Space")
    page.wait_for_timeout(2700)  # longer than the clips
    assert page.locator(".play").first.inner_text() == "Pause"
    assert spread(page.evaluate(TIMES, row)) < 0.5 / FPS


def test_a_vote_lasts(visit: Visit, home):
    page, studio = visit.page, home[1]
    begin_comparing(page, "Ana Berg")
    assert page.locator(".counted").inner_text() == "0 of 18 compared"
    page.keyboard.press("Space")
    page.wait_for_timeout(1000)
    times = page.evaluate(TIMES, ".pair video")
    assert min(times) > 0.3
    assert spread(times) < 0.5 / FPS
    page.keyboard.press(".")
    page.wait_for_function("[...document.querySelectorAll('.pair video')].every(video => video.paused && !video.seeking)")
    left, right = page.evaluate(SHOWN, ".pair video")
    assert left == right
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('.counted').textContent === '1 of 18 compared'")
    assert page.locator("[aria-live=polite].notice").inner_text() == "Vote saved. 1 of 18 compared."
    assert votes(studio, "Ana Berg") == ["left"]
    page.reload()
    page.get_by_role("tab", name="Blind compare").click()
    page.wait_for_function("document.querySelector('.counted')?.textContent === '1 of 18 compared'")
    page.get_by_role("button", name="Both unacceptable").dblclick()
    page.wait_for_function("document.querySelector('.counted').textContent === '2 of 18 compared'")
    page.wait_for_timeout(500)
    assert votes(studio, "Ana Berg") == ["left", "neither"]


def test_names_are_told_only_after_the_last_vote(visit: Visit, home):
    page = visit.page
    begin_comparing(page, "Cy")
    for done in range(18):
        booth = page.locator("#compare").inner_text()
        assert "autumn" not in booth
        assert "Before brand" not in booth
        page.keyboard.press(("ArrowLeft", "n", "ArrowRight")[done % 3])
        page.get_by_text(f"{done + 1} of 18 compared." if done < 17 else "This is who was who").wait_for()
    assert page.locator(".reveal h2").inner_text() == "All 18 compared. This is who was who."
    assert page.locator(".reveal tbody tr").count() == 3 + 18
    assert len(votes(home[1], "Cy")) == 18


def test_hostile_text_is_shown_as_text_and_every_control_is_reached_by_tab(visit: Visit):
    page = visit.page
    assert page.locator("h1").inner_text() == BRAND
    assert page.locator(".prompt h2").first.inner_text() == HOSTILE
    assert "<img src=x onerror=window.hit=1>" in page.locator(".prompt").first.locator("figcaption").all_inner_texts()
    assert page.locator("#wall img, #wall script, #header img").count() == 0
    page.get_by_role("tab", name="Blind compare").click()
    page.get_by_label("Your name").fill("   ")
    page.get_by_role("button", name="Start comparing").click()
    page.get_by_text("A name is needed").wait_for()
    begin_comparing(page, HOSTILE[:60])
    assert page.locator("#compare img, #compare script").count() == 0
    page.get_by_role("button", name="Not you?").focus()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert [name.rstrip("\u2190\u2192NB") for name in reached] == [
        "\u2039", "Play", "\u203a", "Loop", "Left", "No preference", "Both unacceptable", "Right",
    ]  # fmt: skip


def test_it_fits_the_window(visit: Visit):
    page = visit.page
    begin_comparing(page, "Eve")
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for tab in ("Wall", "Blind compare"):
            page.get_by_role("tab", name=tab).click()
            assert page.evaluate("document.documentElement.scrollWidth") == width
        bottom = page.evaluate("Math.max(...[...document.querySelectorAll('.answer')].map(b => b.getBoundingClientRect().bottom))")
        assert bottom <= height
