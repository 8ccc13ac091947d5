"""Starting commands as real processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(module: str, *words: str) -> subprocess.Popen[str]:
    """Start `python -m module words...` with one thread, its output kept."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(module: str, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run `python -m module words...` to its end."""
    process = start(module, *words)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 90) -> None:
    """Wait until something holds; fails when the process ends before."""
    end = time.monotonic() + timeout
    while not condition():
        if process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"ended with {process.returncode} before its time:\n{out}\n{err}")
        if time.monotonic() > end:
            process.kill()
            raise AssertionError("waited too long")
        time.sleep(0.05)
