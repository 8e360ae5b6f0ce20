"""The correction page in a real browser, by keyboard and by mouse: what is said is on disk, and nothing leaves this machine."""

import pytest
from pages import serving, watch
from test_tags import by_name

from data_tools.corrections import read_corrections, said_by_people
from lora_studio.workspace import Workspace

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=window.hit=1> ${window.hit=1}"


def test_a_person_corrects_by_keyboard_and_mouse_and_takes_it_back(browser, workspace: Workspace):
    with serving("-m", "data_tools", "review", str(workspace.root), "--by", "Ana Berg", "--port", "0") as line:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        faults = watch(page)
        page.goto(line.split(": ", 1)[1].split()[0])
        _use(page, workspace)
        assert faults == []
        assert page.evaluate("window.hit") is None
        context.close()


def _use(page, workspace: Workspace) -> None:
    page.wait_for_selector(".axis")
    names = {row.shot.shot_id: name for name, row in by_name(workspace).items()}
    while not page.locator("h1").inner_text().startswith("pan.mp4"):
        here = page.locator("h1").inner_text()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("here => document.querySelector('h1').textContent !== here", arg=here)
    assert page.locator(".pictures img").count() == 5
    assert page.evaluate("[...document.querySelectorAll('.pictures img')].every(one => one.naturalWidth === 288)")
    page.wait_for_function("document.querySelector('video').readyState >= 3")
    movement = page.locator('[data-axis="angle.movement"]')
    assert movement.locator('[aria-pressed="true"]').inner_text().endswith("pan right")

    for _ in range(4):
        page.keyboard.press("ArrowDown")  # from scale to movement
    page.keyboard.press("1")
    page.get_by_text("Saved for 1 shot: angle.movement is static.").wait_for()
    assert movement.locator(".said").inner_text().endswith("static")
    assert by_name(workspace)["pan0"].shot.tags["angle.movement"].value == "static"
    assert "The camera is static." in page.locator(".desk .caption").inner_text()
    page.keyboard.press("Backspace")
    page.get_by_text("what was said of angle.movement is taken back").wait_for()
    assert by_name(workspace)["pan0"].shot.tags["angle.movement"].value == "pan_right"

    light = page.locator('[data-axis="light.direction"]')
    light.get_by_role("button", name="side left").click()
    page.get_by_text("light.direction is side_left.").wait_for()
    light.get_by_role("button", name="back", exact=True).click(modifiers=["Shift"])
    page.get_by_text("light.direction is side_left+back.").wait_for()
    assert light.locator('[aria-pressed="true"]').count() == 2
    light.get_by_role("button", name="side left").click(modifiers=["Shift"])
    page.get_by_text("light.direction is back.").wait_for()
    page.keyboard.press("-")
    page.get_by_text("light.direction is na.").wait_for()
    page.keyboard.press("Backspace")
    page.get_by_text("what was said of light.direction is taken back").wait_for()
    page.locator('[data-axis="light.quality"]').get_by_role("button", name="soft").click()
    page.get_by_text("Saved for 1 shot: light.quality is soft.").wait_for()
    page.get_by_label("What is in the picture").fill(HOSTILE)
    page.get_by_role("button", name="Save words").click()
    page.get_by_text("Saved for 1 shot: content is").wait_for()
    page.keyboard.press("u")
    page.get_by_text("Undone for 1 shot: content").wait_for()
    book = read_corrections(workspace)
    assert {line.by for line in book} == {"Ana Berg"}
    assert {names[shot]: words for shot, words in said_by_people(book).items()} == {"pan0": {"light.quality": "soft"}}
    _find(page)
    page.reload()
    page.wait_for_selector(".axis")
    assert by_name(workspace)["pan0"].shot.tags["light.quality"].source == "human"


def _find(page) -> None:
    page.get_by_label("Find shots").fill("cup")
    page.keyboard.press("Enter")
    page.get_by_text("Shot 1 of 2 found").wait_for()
    assert page.locator("h1").inner_text().startswith("a.mp4")
    page.get_by_label("Find shots").fill("light.key=dark")
    page.get_by_role("button", name="Find", exact=True).click()
    page.get_by_text("Not found: 'light.key=dark' names no tag").wait_for()
    page.get_by_label("Find shots").fill("blue cup")
    page.keyboard.press("Enter")
    page.get_by_text("Shot 1 of 1 found").wait_for()
    page.get_by_role("button", name="Find alike").click()
    page.get_by_text("Shot 1 of 4 found").wait_for()
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("Shot 1 of 4 \u00b7").wait_for()
