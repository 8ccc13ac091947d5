"""Ends of a run that are nobody's bug: a line for the person, no traceback."""

import signal


class RunStopped(RuntimeError):
    """A run that cannot or may not go on; the message says why and what to do."""


class LossLost(RunStopped):
    """The loss became NaN, infinite or far larger than before; the message says where and what to try."""


class CheckpointError(RunStopped):
    """A checkpoint that cannot be written or read; the message says which file and what to do."""


class Interrupted(RunStopped):
    """A run was asked to stop by a signal.

    Args:
        number: the signal.
        saved: what was saved.
    """

    def __init__(self, number: int, saved: str):
        super().__init__(f"{signal.Signals(number).name}: {saved}")
        self.number = number
