"""The web server of the review page: who may talk to it, where clips come from, and nothing else.

Listens on this machine only. Every request must name this machine as its host and, if it says where it comes from, this
page; only the addresses the page needs are answered. Knows no SQL and builds no page.
"""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lora_studio.errors import ReviewError
from lora_studio.review.media import Media

LOCAL_HOSTS: Final = ("127.0.0.1", "localhost")
UNSAFE_SETTINGS: Final = ("GRADIO_VIBE_MODE", "GRADIO_ALLOWED_PATHS", "GRADIO_LOCAL_DEV_MODE", "GRADIO_SHARE", "GRADIO_MCP_SERVER")
STATIC: Final = Path(__file__).parent / "static"

# What the page asks for while it is used. Gradio serves much more (uploads, files, a proxy): none of it is needed.
ANSWERED: Final = ("/ui/", "/media/", "/assets/", "/static/", "/gradio_api/queue/", "/gradio_api/heartbeat/")
ANSWERED_EXACTLY: Final = ("/", "/config", "/theme.css", "/favicon.ico")

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; media-src 'self'; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class OwnPageOnly:
    """ASGI middleware: refuses what no page of ours sends, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = _objection(scope["path"], Headers(scope=scope))
        answer = self._app if refusal is None else refusal
        await answer(scope, receive, send_with_headers)


def create_app(media: Media, mount: Callable[[FastAPI], FastAPI], more: Mapping[str, Path] | None = None) -> FastAPI:
    """The whole application.

    Args:
        media: the clips that may be asked for.
        mount: puts the page at `/`.
        more: folders of scripts beside those of this room: name -> folder, answered below `/ui/<name>/`.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=[])  # ours, so that gradio adds none of its own
    app.add_middleware(OwnPageOnly)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_HOSTS), www_redirect=False)
    for name, folder in (more or {}).items():
        app.mount(f"/ui/{name}", StaticFiles(directory=folder))
    app.mount("/ui", StaticFiles(directory=STATIC))

    @app.get("/media/{token}")
    def clip(token: str) -> FileResponse:
        file = media.file(token)
        if file is None:
            raise HTTPException(404, "no such clip: reload the page")
        response = FileResponse(file, media_type="video/mp4", headers={"Cache-Control": "no-store"}, stat_result=file.stat())
        del response.headers["etag"], response.headers["last-modified"]  # the same for the same file: they would name it
        return response

    return mount(app)


def check_environment(environment: dict[str, str]) -> None:
    """Refuses to start under settings that open gradio to more than this page.

    Raises:
        ReviewError: one of them is set.
    """
    found = [name for name in UNSAFE_SETTINGS if environment.get(name)]
    if found:
        raise ReviewError(f"{', '.join(found)} is set, which would serve more than the review page: unset it and start again")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on this machine; port 0 takes any free one.

    Raises:
        ReviewError: the host is not this machine, or the port is taken.
    """
    if host not in LOCAL_HOSTS:
        raise ReviewError(
            f"--host must be {' or '.join(LOCAL_HOSTS)}, got {host}: the page has no accounts yet, "
            "so it is shown on this machine only"
        )
    if not 0 <= port <= 65535:
        raise ReviewError(f"--port must be 0 to 65535, got {port}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as fault:
        listener.close()
        raise ReviewError(f"--port {port} cannot be used: {fault.strerror}; choose another, or 0 for any free one") from None
    listener.listen(128)
    return listener


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serves until interrupted."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none",
        timeout_graceful_shutdown=1,  # an open page never ends its event stream
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


def _objection(path: str, headers: Headers) -> PlainTextResponse | None:
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host', '')}":
        return PlainTextResponse("requests from other pages are refused", 403)
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and path != "/":
        return PlainTextResponse("requests from other pages are refused", 403)
    if path not in ANSWERED_EXACTLY and not path.startswith(ANSWERED):
        return PlainTextResponse("there is nothing here", 404)
    return None
