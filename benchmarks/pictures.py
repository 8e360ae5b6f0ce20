"""Makes the README's two pictures from a finished demo: the review page, and a wall of takes.

    python benchmarks/pictures.py demo/acme docs/pictures

Needs Chromium. Shows whatever the workspace holds; chooses nothing by looks.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright

from lora_studio.brand import load_prompts
from lora_studio.records import Take
from lora_studio.video import read_frames
from lora_studio.wall import current_takes
from lora_studio.workspace import Workspace

FRAMES = (0, 4, 8)
MARGIN, LABEL = 6, 16


def contact_sheet(workspace: Workspace, path: Path) -> None:
    """Three frames of each look's first take of each prompt, one prompt a row."""
    takes, prompts = current_takes(workspace), load_prompts(workspace).prompts
    looks = list(dict.fromkeys(["real", "base", *sorted(take.look for take in takes if take.kind == "adapter")]))
    rows = [[_strip(workspace, takes, prompt.id, look) for look in looks] for prompt in prompts]
    sizes = [strip.shape[:2] for row in rows for strip in row if strip is not None]
    if not sizes:
        raise SystemExit(f"{workspace.root} has no takes: make some with `lora-studio takes {workspace.root}`")
    height, width = sizes[0]
    sheet = Image.new("RGB", (len(looks) * (width + MARGIN) + MARGIN, LABEL + len(rows) * (height + MARGIN)), (24, 24, 24))
    brush = ImageDraw.Draw(sheet)
    for column, look in enumerate(looks):
        brush.text((MARGIN + column * (width + MARGIN), 2), look, fill=(230, 230, 230))
        for row, strips in enumerate(rows):
            strip = strips[column]
            if strip is not None:
                sheet.paste(Image.fromarray(strip), (MARGIN + column * (width + MARGIN), LABEL + row * (height + MARGIN)))
    sheet.save(path, optimize=True)


def _strip(workspace: Workspace, takes: Sequence[Take], prompt: str, look: str) -> np.ndarray | None:
    found = [take for take in takes if take.prompt_id == prompt and take.look == look]
    if not found:
        return None
    take = min(found, key=lambda one: one.seed)
    frames = read_frames(workspace.takes / f"{take.take_id}.mp4", [(k + 0.5) / take.fps for k in FRAMES])
    return np.concatenate(list(frames), axis=1)[::2, ::2]  # (H / 2, 3 W / 2, 3)


def page_picture(workspace: Workspace, path: Path, port: int = 7899) -> None:
    """The first screen of the review page."""
    command = [sys.executable, "app.py", "--workspace", str(workspace.root), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"http://127.0.0.1:{port}", wait_until="networkidle")
            page.wait_for_function("[...document.querySelectorAll('video')].slice(0, 4).every(v => v.readyState >= 2)")
            page.screenshot(path=path)
            browser.close()
        finally:
            server.terminate()


def main() -> None:
    """Reads the command line."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python benchmarks/pictures.py WORKSPACE FOLDER")
    workspace, folder = Workspace.open(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(workspace, folder / "wall.png")
    page_picture(workspace, folder / "page.png")


if __name__ == "__main__":
    main()
