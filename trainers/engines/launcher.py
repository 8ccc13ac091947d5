"""The other ranks of a machine, where this process starts them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

GRACE = 20.0
"""Seconds that a rank gets to end by itself after another has failed."""

_children: list[subprocess.Popen[bytes]] = []


class Launcher(_SubprocessScriptLauncher):
    """Lightning's launcher; a rank that fails gives the others time to say why before they are killed."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other ranks, then call the function."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            _children.extend(self.procs)
            threading.Thread(target=_watch, args=(self.procs,), daemon=True, name="ranks").start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


def end_children(seconds: float = GRACE) -> None:
    """Wait for the ranks that this process has started, and kill those that do not end."""
    end = time.monotonic() + seconds
    while any(child.poll() is None for child in _children) and time.monotonic() < end:
        time.sleep(0.1)
    for child in _children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _watch(children: list[subprocess.Popen[bytes]]) -> None:
    """End this process when another rank has failed and this one waits for it in vain."""
    while True:
        time.sleep(1)
        if all(child.poll() == 0 for child in children):
            return
        failed = next((child for child in children if child.poll()), None)
        if failed is not None:
            break
    time.sleep(GRACE)
    end_children(0)
    from trainers.failures import describe, first
    from trainers.run.folder import current

    folder = current()
    failure = first(folder) if folder else None
    message = describe(failure) if failure else f"another rank ended with status {failed.returncode}"
    sys.stderr.write(f"stopped: {message}\n")
    sys.stderr.flush()
    os._exit(failed.returncode if failed.returncode > 0 else 1)
