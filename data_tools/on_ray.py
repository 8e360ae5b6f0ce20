"""The same work on a Ray cluster: what `workers` does on one machine, Ray Data does on many. Needs the extra `lora-studio[ray]`.

Each task is run by `workers` on the node it falls to, in a child process there, so that a file which crashes or hangs a decoder
costs that child and no worker of Ray. If Ray's own worker dies all the same, it is tried once more and then told as a failure:
left to itself, Ray Data would try for ever.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from data_tools.workers import Job, Outcome, Task, run_supervised
from lora_studio.errors import FootageError

_TRIES_AGAIN = 1


def run_on_ray(
    job: Job, tasks: Sequence[Task], workers: int, progress: Callable[[float], None] | None = None
) -> Iterator[Outcome]:
    """Runs a job on every task and yields outcomes in the order in which they end.

    Connects to the cluster that the environment names (RAY_ADDRESS), or starts Ray on this machine. Every node must see footage
    and workspace under the same paths.

    Args:
        job: as for `workers.run_supervised`.
        tasks: what to run it on.
        workers: tasks at once, at most.
        progress: called with the number of tasks done.

    Raises:
        FootageError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
    except ImportError:
        raise FootageError("Ray is not installed: `pip install 'lora-studio[ray]'`, or leave --ray out") from None
    if not tasks:
        return
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # one file must not end the others
    context.enable_progress_bars = False
    rows = [{"key": task.key, "arguments": json.dumps(task.arguments), "silence_s": task.silence_s} for task in tasks]
    told = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        partial(_run_one, job), compute=ray.data.TaskPoolStrategy(size=workers), max_retries=_TRIES_AGAIN
    )
    missing = {task.key for task in tasks}
    for row in told.iter_rows():
        missing.remove(row["key"])
        if progress is not None:
            progress(len(tasks) - len(missing))
        yield Outcome(**json.loads(row["outcome"]))
    for key in sorted(missing):
        yield Outcome(key, failure=f"the worker that read it died {_TRIES_AGAIN + 1} times")


def _run_one(job: Job, row: dict[str, Any]) -> dict[str, str]:
    task = Task(row["key"], json.loads(row["arguments"]), float(row["silence_s"]))
    (outcome,) = run_supervised(job, [task], 1)
    return {"key": task.key, "outcome": json.dumps({"key": outcome.key, "value": outcome.value, "failure": outcome.failure})}
