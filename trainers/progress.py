"""How far a command is: a line that renews itself on a terminal, a plain line now and then in a log file."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
_QUIET = 5.0  # seconds: what is done sooner says nothing


def follow(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The same items, with progress and the time left on standard error; nothing for what takes under five seconds.

    Args:
        items: what is gone through.
        what: a few words, such as "rendering frames".
        total: how many there are; left out, their length.
    """
    total = total if total is not None else len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    with Progress(what, total) as progress:
        for item in items:
            yield item
            progress.advance()


class Progress:
    """Progress of something that is counted by hand.

    Args:
        what: a few words, such as "measuring test".
        total: of all steps; None where it is not known.
        pause: seconds between lines in a log file.
    """

    def __init__(self, what: str, total: int | None = None, pause: float = 30.0):
        self.what, self.total, self.done = what, total, 0
        self.detail = ""
        self._terminal = sys.stderr.isatty()
        self._pause = 0.25 if self._terminal else pause
        self._started = time.monotonic()
        self._last = self._started + _QUIET - self._pause
        self._shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def advance(self, count: int = 1, detail: str = "") -> None:
        """So many steps more are done; `detail` says what comes next."""
        self.done += count
        self.detail = detail
        now = time.monotonic()
        if now - self._last >= self._pause:
            self._last = now
            self._show(now)

    def over(self, items: Iterable[Item], size: Callable[[Item], int] = lambda item: 1) -> Iterator[Item]:
        """The items in turn, each counted (as so many steps) once the next one is asked for."""
        for item in items:
            yield item
            self.advance(size(item))

    def expect(self, count: int) -> None:
        """So many steps more are to come."""
        self.total = (self.total or 0) + count

    def say(self, detail: str) -> None:
        """What is being done now."""
        self.advance(0, detail)

    def close(self) -> None:
        """Leave the terminal's line; say how long it took, where anything was said before."""
        if self._shown:
            took = duration(time.monotonic() - self._started)
            sys.stderr.write(("\r\033[K" if self._terminal else "") + f"{self.what}: {took}\n")
            sys.stderr.flush()
        self._shown = False

    def line(self, now: float) -> str:
        """What is shown."""
        passed = now - self._started
        parts = [self.what, f"{self.done}/{self.total}" if self.total else f"{self.done}"]
        if self.detail:
            parts.append(self.detail)
        if self.total and 0 < self.done <= self.total:
            parts.append(f"ETA {duration(passed / self.done * (self.total - self.done))}")
        else:
            parts.append(duration(passed))
        return "  ".join(parts)

    def _show(self, now: float) -> None:
        self._shown = True
        line = self.line(now)
        sys.stderr.write(f"\r\033[K{line}" if self._terminal else line + "\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
