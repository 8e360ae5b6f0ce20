"""A child that crashes, hangs or raises is one failure; the others go on."""

import os
import re
import signal
import sys
import time
from typing import Any

import pytest

from data_tools import workers
from data_tools.on_ray import run_on_ray
from data_tools.workers import Beat, Task, run_supervised
from lora_studio.errors import FootageError, MediaError


def job(arguments: dict[str, Any], beat: Beat) -> Any:
    beat(0.5)
    match arguments["do"]:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(60)
        case "raise":
            raise MediaError("no good")
        case "bug":
            return {}["a key that nobody thought of"]
        case "disk":
            raise OSError(28, "No space left on device")
        case "hog":
            return len(bytearray(2**40))
        case "swell":
            kept = []
            for _ in range(2000):
                kept.append(b"x" * 2**20)
                time.sleep(0.002)
            return len(kept)
    return arguments["do"] * 2


def test_every_task_ends_in_one_outcome():
    dos = ("crash", "hang", "raise", "bug", "disk", "hog", "work")
    tasks = [Task(do, {"do": do}, silence_s=2.0 if do == "hang" else 60.0) for do in dos]
    seen: list[float] = []
    outcomes = {outcome.key: outcome for outcome in run_supervised(job, tasks, 3, seen.append)}
    assert outcomes["work"].value == "workwork"
    assert outcomes["work"].failure is None
    assert outcomes["raise"].failure == "no good"
    assert re.fullmatch(
        r"reading it failed with KeyError: 'a key that nobody thought of' \(test_workers.py, line \d+\): please report this",
        outcomes["bug"].failure or "",
    )
    assert outcomes["disk"].failure == "it could not be read through: no space left on device"
    assert outcomes["crash"].failure == "the process that read it died (exit code -11)"
    assert outcomes["hang"].failure == "reading it hung (nothing happened for 2 s)"
    assert outcomes["hog"].failure == "it needs more than 16 GB of memory to read"
    assert max(seen) <= 7


def test_a_child_that_fills_memory_little_by_little_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "_RESIDENT_LIMIT", 700 * 2**20)
    outcomes = {outcome.key: outcome for outcome in run_supervised(job, [Task(do, {"do": do}) for do in ("swell", "work")], 2)}
    assert outcomes["swell"].failure == "it needs more than 0.684 GB of memory to read"
    assert outcomes["work"].value == "workwork"


def test_no_tasks_no_outcomes():
    assert list(run_supervised(job, [], 2)) == []


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FootageError, match=r"pip install 'lora-studio\[ray\]'`, or leave --ray out"):
        next(run_on_ray(job, [Task("a", {"do": "a"})], 1))
