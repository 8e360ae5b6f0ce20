"""The correction page as gradio builds it: one screen, drawn by `static/tags.js`, and the desk behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gradio as gr

from data_tools.review.desk import Desk, Screen
from lora_studio.review import server
from lora_studio.review.media import Media
from lora_studio.review.page import mount_page, screen
from lora_studio.workspace import Workspace

STATIC: Final = Path(__file__).parent / "static"
_SENT: Final = ("do", "shot", "axis", "value", "scope", "query", "like")


def build_page(desk: Desk) -> gr.Blocks:
    """Lays the page out; every visit asks `desk` for its values."""
    with gr.Blocks(title="Correct tags", analytics_enabled=False) as page:
        tags = screen("tags/tags")

        def act(sent: gr.EventData) -> Screen:
            return desk.act({key: getattr(sent, key, "") for key in _SENT})  # anything may have been sent

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        page.load(desk.show, None, tags, **private)
        tags.submit(act, None, tags, concurrency_limit=1, **private)
    return page


def serve(workspace: Workspace, by: str, port: int, tell: Callable[[str], None]) -> None:
    """Serves the page on this machine until interrupted; `tell` is given its address once it can be opened.

    Raises:
        FootageError: there is no tagged shot yet.
        ReviewError: the port cannot be used.
    """
    media = Media()
    desk = Desk(workspace, media, by)
    listener = server.listen("127.0.0.1", port)
    port = listener.getsockname()[1]
    app = server.create_app(media, lambda app: mount_page(app, build_page(desk), port, ("tags/tags.css",)), {"tags": STATIC})
    tell(f"http://127.0.0.1:{port}")
    server.run(app, listener)
