"""Addresses of clips that say nothing: a random token per clip and place where it is shown, good until the server stops.

Knows no web framework. A clip has another token on the wall than on a ballot, so addresses do not tell a voter which
look they are judging.
"""

import secrets
import threading
from pathlib import Path


class Media:
    """Which token stands for which file. Only files that were handed out by `address` can be asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, Path], str] = {}
        self._files: dict[str, Path] = {}

    def address(self, file: Path, place: str) -> str:
        """The path of a clip's address on this server; the same one for the same `place` (the wall, or a ballot's id)."""
        with self._lock:
            token = self._tokens.setdefault((place, file), secrets.token_urlsafe(18))
            self._files[token] = file
        return f"/media/{token}"

    def file(self, token: str) -> Path | None:
        """The file behind a token; None when there is none, or it has gone from disk."""
        file = self._files.get(token)
        return file if file is not None and file.is_file() else None
