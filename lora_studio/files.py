"""Atomic writes and content hashes. Knows nothing of what the files mean.

Whatever is written under its final name is whole: a kill at any moment leaves the old file or the new one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_studio.errors import WorkspaceError

try:
    import fcntl
except ImportError:  # not on Windows: nothing is locked there
    fcntl = None

_BLOCK_BYTES = 4 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path` to write to; renames it over `path` when the block succeeds.

    The temporary name keeps the suffix (encoders choose the container by it) and starts with a dot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a fresh temporary folder; when the block succeeds it takes the place of `path`.

    A folder cannot be replaced in one step: a kill between the two renames leaves no `path` but loses nothing
    that its maker cannot make again, so callers treat an absent folder as "not made yet".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    yield temporary
    for file in temporary.rglob("*"):
        if file.is_file():
            _sync(file)
    if path.exists():
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old)
    else:
        os.replace(temporary, path)


@contextmanager
def only_one(path: Path, busy: str) -> Iterator[None]:
    """Holds the lock file `path` while the block runs; however a process ends, its lock ends with it.

    Raises:
        WorkspaceError: another process holds it; its words are `busy`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceError(busy) from None
        yield


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def is_whole(path: Path) -> bool:
    """Whether a file is there and not empty, which one left by a full disk or a power cut may be."""
    return path.is_file() and path.stat().st_size > 0


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; a file that says the same already is left alone."""
    if path.is_file() and path.read_bytes() == text.encode("utf-8"):
        return
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON with sorted keys atomically, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        WorkspaceError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise WorkspaceError(f"{path} is damaged ({fault}): delete it and run the step that makes it again") from None


def sha256_file(path: Path, tell: Callable[[float], None] | None = None) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Args:
        tell: called after every few megabytes with the share that is read, 0 to 1.
    """
    digest, size, read = hashlib.sha256(), max(path.stat().st_size, 1), 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            read += len(block)
            if tell:
                tell(min(1.0, read / size))
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: the content key of a piece of work."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
