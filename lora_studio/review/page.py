"""The review page as gradio builds it: a header, the wall, and blind comparison. The only door to gradio.

No arithmetic, no SQL, no text of users in any template: a template runs as JavaScript, so every template here is
constant, and what people wrote reaches the browser as a value that the scripts in `static/` show as text.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import gradio as gr
from fastapi import FastAPI
from gradio.themes import Base

from lora_studio.errors import LoraStudioError, ReviewError
from lora_studio.review.room import Room
from lora_studio.review.screens import Screen, nothing

HEAD: Final = '<meta name="color-scheme" content="dark"><link rel="stylesheet" href="/ui/review.css">'
SYSTEM_FONTS: Final = ("system-ui", "sans-serif")  # no font is fetched from anywhere


def build_page(room: Room) -> gr.Blocks:
    """Lays the page out. Nothing of the workspace is in it yet: every visit asks `room` for its values."""
    with gr.Blocks(title="Review", analytics_enabled=False) as page:
        reviewer = gr.BrowserState("", storage_key="lora_studio_reviewer", secret="kept on this machine only")
        header = screen("header")
        with gr.Tabs(elem_id="rooms"):
            with gr.Tab("Wall"):
                take = gr.Radio(label="Take", elem_id="take", container=False, show_label=False)
                wall = screen("wall")
            with gr.Tab("Blind compare"):
                compare = screen("compare")
                with gr.Row(elem_id="who") as who:
                    name = gr.Textbox(label="Your name", max_length=60, elem_id="name")
                    start = gr.Button("Start comparing", variant="primary", elem_id="start", scale=0)

        def open_page(remembered: str) -> tuple[Any, ...]:
            return _header(room), _takes(room), _shown(room.wall), *begin(remembered)

        def show_take(seed: int) -> Screen:
            return _shown(lambda: room.wall(seed))

        def begin(typed: str) -> tuple[Any, ...]:
            if not typed:
                return "", gr.update(visible=True), _shown(room.welcome)
            try:
                known = room.reviewer(typed)
            except ReviewError as error:
                return "", gr.update(visible=True), nothing("A name is needed", str(error))
            return known, gr.update(visible=False), _shown(lambda: room.compare(known))

        def vote(remembered: str, sent: gr.EventData) -> tuple[Screen, Screen]:
            ballot, choice = (str(getattr(sent, name, "")) for name in ("ballot", "choice"))  # anything may have been sent
            return _shown(lambda: room.vote(remembered, ballot, choice)), _header(room)

        def leave() -> tuple[Any, ...]:
            return begin("")

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        begun = [reviewer, who, compare]
        page.load(open_page, reviewer, [header, take, wall, *begun], **private)
        take.input(show_take, take, wall, **private)
        gr.on([start.click, name.submit], begin, name, begun, **private)
        compare.submit(vote, reviewer, [compare, header], **private)
        compare.clear(leave, None, begun, **private)
    return page


def mount_page(app: FastAPI, page: gr.Blocks, port: int, styles: Sequence[str] = ()) -> FastAPI:
    """Puts the page at `/` of `app` with everything switched off that a review on one machine does not need.

    Args:
        app: what answers requests.
        page: as gradio built it.
        port: that `app` will listen on.
        styles: style sheets below `/ui/` that the page has beside the common one.
    """
    head = HEAD + "".join(f'<link rel="stylesheet" href="/ui/{style}">' for style in styles)
    return gr.mount_gradio_app(
        app, page, path="/", server_name="127.0.0.1", server_port=port, head=head, theme=_theme(), footer_links=[],
        run_history=False, allowed_paths=[], show_error=False, max_file_size="1kb", ssr_mode=False, enable_monitoring=False,
        pwa=False, mcp_server=False,
    )  # fmt: skip


def screen(name: str) -> gr.HTML:
    """A component drawn by `/ui/<name>.js`, which is given the component's value and sends back what people do."""
    return gr.HTML(
        html_template='<div class="screen"></div>',
        js_on_load=f"""
            const mounted = import('/ui/{name}.js').then((script) => script.mount(element, {{
                send: (detail) => trigger('submit', detail),
                leave: () => trigger('clear'),
            }}));
            const show = () => mounted.then((screen) => screen.show(props.value));
            watch('value', show);
            show();
        """,
        apply_default_css=False,
        elem_id=name.rpartition("/")[2],
    )


def _shown(ask: Callable[[], Screen]) -> Screen:
    """The screen a question is answered with; a fault that a person can mend becomes a screen that says so."""
    try:
        return ask()
    except LoraStudioError as error:
        return nothing("Something needs attention", str(error))


def _header(room: Room) -> Screen:
    return _shown(room.header)


def _takes(room: Room) -> Any:
    try:
        choices = room.takes()
    except LoraStudioError:  # the wall shows what is wrong
        choices = []
    return gr.update(choices=choices, value=choices[0][1] if choices else None, visible=len(choices) > 1)


def _theme() -> Base:
    return Base(font=SYSTEM_FONTS, font_mono=("ui-monospace", "monospace"))
