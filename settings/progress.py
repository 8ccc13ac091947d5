"""How far something long is: a bar on a terminal, a line every ten seconds elsewhere; nothing for what is short."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, TypeVar

from tqdm import tqdm

from settings.log import get_logger

FIRST: Final = 5.0
PAUSE: Final = 10.0
"""Seconds until the first line where there is no terminal, and between two lines."""
Item = TypeVar("Item")
logger = get_logger(__name__)


class Progress:
    """Counts what is done and says how long the rest takes. Used as a context: `with Progress("frames", 250) as bar:`.

    Args:
        what: what is being done, "writing the video".
        total: how much there is to do; None where nobody knows, and then there is no time left.
        unit: what is counted.
        clock: seconds; for tests.
    """

    def __init__(
        self, what: str, total: float | None, unit: str = "frames", clock: Callable[[], float] = time.monotonic
    ):
        self._what, self._total, self._unit, self._clock = what, total, unit, clock
        self._done = 0.0
        self._begun, self._next = clock(), clock() + FIRST
        self._live = sys.stderr.isatty()
        self._spoken = False
        self._bar: Any = tqdm(total=total, desc=what, unit=f" {unit}", delay=1, leave=False, disable=not self._live)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._spoken and kind is None:
            logger.info("%s: done in %s", self._what, _clock_time(self._clock() - self._begun))

    def add(self, count: float = 1) -> None:
        """So much more is done."""
        self._done += count
        self._bar.update(count)
        now = self._clock()
        if not self._live and now >= self._next:
            self._next, self._spoken = now + PAUSE, True
            logger.info("%s: %s", self._what, self._said(now))

    def over(self, items: Iterable[Item], size: Callable[[Item], float] = lambda item: 1) -> Iterator[Item]:
        """The items in turn, each counted once the next one is asked for."""
        for item in items:
            yield item
            self.add(size(item))

    def _said(self, now: float) -> str:
        if self._total is None:
            return f"{self._done:.0f} {self._unit}"
        left = (now - self._begun) * (self._total - self._done) / self._done if self._done else None
        said = f"{self._done:.0f} of {self._total:.0f} {self._unit}"
        return said if left is None else f"{said}, {_clock_time(max(0.0, left))} left"


def _clock_time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
