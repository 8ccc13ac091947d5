"""Ctrl-C, SIGTERM and SIGUSR1 only set a flag: saving in the middle of a step would save half a step."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_received = 0
_process = 0


def listen() -> None:
    """Take note of SIGINT, SIGTERM and SIGUSR1 (a scheduler's word that time is nearly up) from now on.

    Call it first thing: a signal before it ends the process.
    """
    global _process
    _process = os.getpid()
    signal.signal(signal.SIGINT, _take_note)
    signal.signal(signal.SIGTERM, _take_note)
    signal.signal(signal.SIGUSR1, _take_note)


def listening() -> bool:
    """Whether this process takes note."""
    return _process == os.getpid()


def received() -> int:
    """Number of the signal that was received, 0 if none was."""
    return _received


def forget() -> None:
    """Back to Python's own handling, nothing received."""
    global _received, _process
    _received = _process = 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


class PatientWorker:
    """First thing in a loader worker: let signals to the whole process group pass.

    A terminal sends its Ctrl-C, and a scheduler its SIGTERM, to workers as well, and the batch at hand needs them. They
    leave with their parent, or ten seconds after a SIGTERM.

    Args:
        then: what the loader wants to run first in a worker.
    """

    def __init__(self, then: Callable[[int], None] | None):
        self.then = then

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(10) and None)
        if self.then is not None:
            self.then(worker)


def ask_to_requeue(reason: str) -> None:
    """Tell the batch script, which names a file in COSPEECH_REQUEUE_FILE, that the job is to be queued again."""
    path = os.environ.get("COSPEECH_REQUEUE_FILE")
    if path:
        with open(path, "a") as file:
            file.write(f"{reason}\n")


def _take_note(number: int, frame: FrameType | None) -> None:
    global _received
    if os.getpid() != _process:
        return  # a process forked from this one
    if number == signal.SIGINT and _received == signal.SIGINT:
        _say("stopped at once, without saving")
        os._exit(128 + number)
    _received = number
    repeated = "; Ctrl-C again stops at once" if number == signal.SIGINT else ""
    _say(f"{signal.Signals(number).name}: finishing the batch and saving{repeated}")


def _say(text: str) -> None:
    # Not print: its buffer may be in use by what the signal broke into.
    os.write(sys.stderr.fileno(), f"\n{text}\n".encode())
