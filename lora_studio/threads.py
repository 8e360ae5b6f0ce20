"""How this project shares a machine's cores with others. Knows one environment variable, and only that."""

import os


def share_cores() -> None:
    """Lets threads that wait sleep instead of spin; must be called before torch is imported.

    OpenMP's default is to spin. On a busy machine the threads of small models then mostly wait for each other: rendering one
    film of the stage took 59 s of CPU time instead of 9. A value that is set already is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
