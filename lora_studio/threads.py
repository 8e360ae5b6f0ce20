"""How this project shares a machine's cores with others. Knows two environment variables, and only those."""

import os
from typing import Final

SPINS: Final = "4000"  # of a waiting OpenMP thread before it sleeps, well under a millisecond


def share_cores() -> None:
    """Lets threads that wait spin for a moment and then sleep; must be called before torch is imported.

    OpenMP's default is to spin for long. On a busy machine the threads of small models then mostly wait for each other: rendering
    one film of the stage took 59 s of CPU time instead of 9. Without any spinning, two threads train an adapter of nova-nano no
    faster than one, for its matrices are done before a sleeping thread wakes. A value that is set already is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
