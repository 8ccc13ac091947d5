"""Keeping freed memory: counted by the pages that a process takes anew."""

import platform
import subprocess
import sys

import pytest

from datamodules.transport.memory import keep_freed_memory

STEPS = """
import resource, sys, torch
from datamodules.transport.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def step():
    kept = [torch.ones(10_000_000) for _ in range(4)]  # 40 MB each

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 4 * 40_000_000 // 4096  # of one step


def pages_taken(how: str) -> int:
    """Page faults of four steps, after three to warm up."""
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_not_taken_anew_in_every_step() -> None:
    taken = pages_taken("return")
    assert taken > PAGES  # else the test shows nothing
    assert pages_taken("keep") < taken / 2  # one step may still have to enlarge the heap


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1"))
    assert not keep_freed_memory()
