"""The steps of a demo: commands as a user would start them, one after the other."""

import subprocess
import sys
import time
from collections.abc import Sequence

from cospeech import shipped


class DemoError(RuntimeError):
    """A step of the demo failed; what it said stands above."""


def run_step(title: str, module: str, words: Sequence[str], threads: int = 1) -> None:
    """Run one command as a user would, in a process of its own.

    Raises:
        DemoError: it failed.
    """
    print(f"\n== {title}\n   python -m {module} {' '.join(words)}", flush=True)
    started = time.monotonic()
    environment = shipped.environment() | {"OMP_NUM_THREADS": str(threads)}
    status = subprocess.run([sys.executable, "-m", module, *words], check=False, env=environment).returncode
    if status:
        raise DemoError(
            f"`python -m {module}` ended with status {status}; the demo goes on from here when it is run again"
        )
    print(f"   {time.monotonic() - started:.0f} s", flush=True)
