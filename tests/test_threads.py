"""How commands share the cores of a machine with whoever else is at work on it."""

import os
import subprocess
import sys

import pytest

from lora_studio.threads import SPINS, share_cores


@pytest.mark.parametrize(("given", "kept"), [(None, SPINS), ("7", "7")])
def test_waiting_threads_spin_for_a_moment_unless_told_otherwise(monkeypatch, given, kept):
    monkeypatch.setattr(os, "environ", {} if given is None else {"GOMP_SPINCOUNT": given})
    share_cores()
    assert os.environ == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": kept}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_a_process_bound_to_one_core_counts_one():
    bound = """
import os
from lora_studio.threads import usable_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(usable_cores())
"""
    assert subprocess.run([sys.executable, "-c", bound], capture_output=True, text=True, check=True).stdout == "1\n"
