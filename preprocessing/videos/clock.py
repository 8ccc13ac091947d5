"""Where the time goes while a video is read and measured."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds and frames by step; a step that runs inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin at nothing."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.frames: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def step(self, name: str, frames: int = 0) -> Iterator[None]:
        """Time a block under a name and count the frames it deals with."""
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()
            self.frames[name] += frames

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now
