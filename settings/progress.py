"""How far a command is and how long it still takes: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Final, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
QUIET: Final = 5.0  # seconds: what is done sooner writes nothing into a log
PAUSE: Final = 30.0  # seconds between two lines of a log
_BAR: Final = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}  ETA {remaining}"
_LINE: Final = "{desc}  {n_fmt}/{total_fmt}{postfix}  ETA {remaining}"
_OPEN: Final = "{desc}  {n_fmt}{postfix}  {elapsed}"


def follow(items: Iterable[Item], what: str, total: int | None = None, **options: Any) -> Iterator[Item]:
    """The same items, with progress and the time left on standard error.

    Args:
        items: what is gone through.
        what: a few words, such as "rendering frames".
        total: how many there are; left out, their length.
        options: those of `Progress`.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(what, total, **options) as progress:
        yield from progress.over(items)


class Progress:
    """Progress of something that is counted by hand.

    A terminal shows a bar. Elsewhere nothing is said of what takes under five seconds; of all else a line, then one
    every `pause` seconds, and at the end how long it took.

    Args:
        what: a few words, such as "measuring test".
        total: of all steps; None where it is not known.
        pause: seconds between lines in a log file.
        done: steps that an earlier run has done.
        unit: "B" counts bytes and shows them as k, M, G.
        shown: False says nothing.
    """

    def __init__(
        self,
        what: str,
        total: float | None = None,
        *,
        pause: float = PAUSE,
        done: float = 0,
        unit: str = "",
        shown: bool = True,
    ):
        self.what, self.total, self.done, self.detail = what, total, done, ""
        self._first, self._unit, self._pause = done, unit, pause
        self.shown, self._said = shown, False
        self._bar: tqdm | None = None
        self._started = self._last = 0.0
        self._begin()

    def __enter__(self) -> "Progress":
        self._begin()
        self.advance(0)
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def advance(self, count: float = 1, detail: str | None = None) -> None:
        """So many steps more are done; `detail` says what is being done, and stays until another does."""
        self.done += count
        self.detail = self.detail if detail is None else detail
        if self.shown and sys.stderr.isatty():
            self._draw(count)
            return
        now = time.monotonic()
        if self.shown and now - self._last >= self._pause:
            self._last, self._said = now, True
            print(self.line(now), file=sys.stderr, flush=True)

    def over(self, items: Iterable[Item], size: Callable[[Item], float] = lambda item: 1) -> Iterator[Item]:
        """The items in turn, each counted (as so many steps) once the next one is asked for."""
        for item in items:
            yield item
            self.advance(size(item))

    def expect(self, count: float) -> None:
        """So many steps more are to come."""
        self.total = (self.total or 0) + count
        if self._bar is not None:
            self._bar.total, self._bar.bar_format = self.total, _BAR

    def reach(self, done: float, total: float) -> None:
        """So many of so many steps are done."""
        self.expect(total - (self.total or 0))
        self.advance(done - self.done)

    def print(self, text: str) -> None:
        """A line on standard output, above the bar."""
        with tqdm.external_write_mode():
            print(text, flush=True)

    def say(self, detail: str) -> None:
        """What is being done now."""
        self.advance(0, detail)

    def close(self) -> None:
        """Leave the terminal's line; say how long it took, where that was long."""
        took = time.monotonic() - self._started
        if self._bar is not None:
            self._bar.close()
            self._bar, self._said = None, took >= QUIET
        if self._said:
            print(f"{self.what}: {duration(took)}", file=sys.stderr, flush=True)
        self._said = False

    def line(self, now: float) -> str:
        """What a log is told."""
        passed = now - self._started
        return tqdm.format_meter(
            self.done, self.total or 0, passed, prefix=self.what, bar_format=_LINE if self.total else _OPEN,
            postfix=self.detail or None, unit_scale=self._unit == "B", initial=self._first,
        )  # fmt: skip

    def _begin(self) -> None:
        self._started = time.monotonic()
        self._last = self._started + QUIET - self._pause

    def _draw(self, count: float) -> None:
        if self._bar is None:
            self._bar = tqdm(
                desc=self.what, total=self.total, initial=self._first, leave=False, unit_scale=self._unit == "B",
                dynamic_ncols=True, miniters=0, mininterval=0.25, smoothing=0, bar_format=_BAR if self.total else _OPEN,
            )  # fmt: skip
            self._bar.start_t -= time.monotonic() - self._started
            count = self.done - self._first
        self._bar.set_postfix_str(self.detail, refresh=False)
        self._bar.update(count)


def duration(seconds: float) -> str:
    """Seconds as mm:ss, or h:mm:ss."""
    return tqdm.format_interval(max(0.0, seconds))
