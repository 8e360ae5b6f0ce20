"""Runs functions on untrusted files in child processes that may crash or hang without taking anything else along.

One child per task. A child that dies, or says nothing for too long, is one failed outcome; every other task goes on.
Knows no video: a task is a module-level function, plain JSON values in, plain JSON values out.
"""

import contextlib
import json
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from lora_studio.errors import LoraStudioError
from lora_studio.threads import usable_cores

Beat = Callable[[float], None]  # called with the share of the work done, 0..1
Job = Callable[[dict[str, Any], Beat], Any]
Progress = Callable[[float], None]  # called with how many tasks are done
Run = Callable[[Job, "Sequence[Task]", int, Progress | None], "Iterator[Outcome]"]  # `run_supervised`, or one like it

_MEMORY_LIMIT = 16 * 2**30  # bytes of address space: a file that asks for more is not footage
_RESIDENT_LIMIT = 4 * 2**30  # bytes in use: an 8K master needs half of it
_BEAT_EVERY_S = 0.2


@dataclass(frozen=True)
class Task:
    """One call. `silence_s` is how long the child may go without a beat before it is killed."""

    key: str
    arguments: dict[str, Any]
    silence_s: float = 120.0


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or the failure in words."""

    key: str
    value: Any = None
    failure: str | None = None


@dataclass
class _Child:
    task: Task
    process: Any
    connection: Connection
    heard_at: float
    share: float = 0.0


def num_workers() -> int:
    """How many children are worth running at once on this machine."""
    return min(8, usable_cores())


def run_supervised(
    job: Job, tasks: Sequence[Task], workers: int, progress: Callable[[float], None] | None = None
) -> Iterator[Outcome]:
    """Runs a job on every task, a child process each, and yields outcomes in the order in which they end.

    Args:
        job: a module-level function of (arguments, beat). A `LoraStudioError` it raises becomes the failure's words; of any
            other exception type, message and place are told.
        tasks: what to run it on.
        workers: children at once.
        progress: called now and then with the number of tasks done, the running ones counted in part.
    """
    waiting, running, num_done = list(reversed(tasks)), {}, 0
    context = _context(job)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                child = _start(context, job, waiting.pop())
                running[child.connection] = child
            for outcome in _listen(running):
                num_done += 1
                yield outcome
            if progress is not None:
                progress(num_done + sum(child.share for child in running.values()))
    finally:
        for child in running.values():
            _end(child)


def _context(job: Job) -> Any:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([job.__module__])  # children fork from a process that has the imports already
    return context


def _start(context: Any, job: Job, task: Task) -> _Child:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child_main, args=(job, task.arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Child(task, process, ours, time.monotonic())


def _listen(running: dict[Any, _Child]) -> Iterator[Outcome]:
    for connection in wait(list(running), timeout=0.5):
        child = running[connection]
        message: dict[str, Any]
        try:
            message = json.loads(child.connection.recv_bytes())
        except (EOFError, OSError):
            child.process.join(10)
            message = {"failure": f"the process that read it died (exit code {child.process.exitcode})"}
        child.heard_at = time.monotonic()
        if "share" in message:
            child.share = message["share"]
            continue
        del running[connection]
        _end(child)
        yield Outcome(child.task.key, message.get("value"), message.get("failure"))
    for connection, child in list(running.items()):
        failure = _overstepped(child)
        if failure is not None:
            del running[connection]
            child.process.kill()
            _end(child)
            yield Outcome(child.task.key, failure=failure)


def _overstepped(child: _Child) -> str | None:
    """What a child is to be killed for: silence, or the memory it has filled; None if it is within its limits."""
    if time.monotonic() - child.heard_at > child.task.silence_s:
        return f"reading it hung (nothing happened for {child.task.silence_s:.0f} s)"
    try:
        filled = psutil.Process(child.process.pid).memory_info().rss
    except psutil.NoSuchProcess:
        return None  # it has just ended: its last message is read next
    return f"it needs more than {_RESIDENT_LIMIT / 2**30:.3g} GB of memory to read" if filled > _RESIDENT_LIMIT else None


def _end(child: _Child) -> None:
    child.process.join(0.2)
    if child.process.is_alive():
        child.process.kill()
        child.process.join()
    child.connection.close()


def _child_main(job: Job, arguments: dict[str, Any], connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its children
    _limit_resources()
    last_beat = 0.0

    def beat(share: float) -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat >= _BEAT_EVERY_S:
            last_beat = time.monotonic()
            connection.send_bytes(json.dumps({"share": share}).encode())

    with contextlib.suppress(BrokenPipeError):  # the parent was killed: nobody is listening
        try:
            message = {"value": job(arguments, beat)}
        except LoraStudioError as error:
            message = {"failure": str(error)}
        except OSError as fault:  # a full disk, a share that went away
            message = {"failure": f"it could not be read through: {(fault.strerror or str(fault)).lower()}"}
        except MemoryError:
            message = {"failure": f"it needs more than {_MEMORY_LIMIT // 2**30} GB of memory to read"}
        except Exception as fault:  # noqa: BLE001  nothing is hidden: whatever it is becomes the task's failure, in words
            message = {"failure": _in_words(fault)}
        connection.send_bytes(json.dumps(message).encode())


def _in_words(fault: Exception) -> str:
    """What nobody foresaw, so that it can be told to whoever can mend it."""
    place = traceback.extract_tb(fault.__traceback__)[-1]
    said = " ".join(str(fault).split())
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"reading it failed with {type(fault).__name__}{f': {said}' if said else ''} ({where}): please report this"


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, hard))
