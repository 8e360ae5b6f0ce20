"""A page under test: served by a process that always ends with the test, and watched for whatever goes wrong in the browser."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]

# Gradio closes its own stream when a page is left or reloaded, and says so as an error if a heartbeat was just under way.
_CLOSING = "AbortError: signal is aborted without reason"


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Starts `python ARGUMENTS` and hands out the first line it prints; stops it, also where the test fails."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline()
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()


def watch(page) -> list[str]:
    """A list that fills with what is logged as a warning or an error, refused, or asked of another host."""
    faults: list[str] = []

    def logged(message) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_CLOSING):
            faults.append(f"{message.type}: {message.text}")

    page.set_default_timeout(60_000)  # two cores, and other tests beside
    page.on("console", logged)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("response", lambda answer: faults.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on("request", lambda asked: faults.append(f"left: {asked.url}") if urlsplit(asked.url).hostname != "127.0.0.1" else None)
    return faults
