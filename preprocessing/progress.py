"""How far a run is and how long it will take, on a terminal and in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any, Final

from tqdm import tqdm

from preprocessing.job import Job
from settings import get_logger

logger = get_logger(__name__)
PAUSE: Final = 30.0  # seconds between two lines where there is no terminal


class Progress:
    """A bar on a terminal, a line now and then elsewhere. Time left is judged by the videos' bytes, not their number.

    Args:
        jobs: all videos of this task.
        waiting: those that are still to do.
        shown: False says nothing.
    """

    def __init__(self, jobs: list[Job], waiting: list[Job], shown: bool = True) -> None:
        self.videos, self.finished = len(jobs), len(jobs) - len(waiting)
        self.clips = self.dropped = self.errors = 0
        self._shown, self._live = shown, shown and sys.stderr.isatty()
        total = sum(job.bytes for job in jobs)
        self._todo, self._bytes = sum(job.bytes for job in waiting), 0
        self._begun = self._said = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=total - self._todo,
            unit="B",
            unit_scale=True,
            disable=not self._live,
            desc=self._text(),
        )
        if shown and self.finished:
            logger.info("going on: %d of %d videos are done", self.finished, self.videos)

    def done(self, job: Job, record: dict[str, Any]) -> None:
        """One more video is done."""
        self.finished += 1
        self._bytes += job.bytes
        self.clips += len(record["samples"])
        self.dropped += len(record["dropped"])
        if record["error"]:
            self.errors += 1
            # Said at once, so that a wrong folder or a missing codec shows before the night is over.
            self._say(f"{job.source.name}: {record['error']}")
        self._bar.set_description_str(self._text(), refresh=False)
        self._bar.update(job.bytes)
        now = time.monotonic()
        if self._shown and not self._live and (now - self._said >= PAUSE or self.finished == self.videos):
            self._said = now
            logger.info("%s, %s left", self._text(), self._left(now))

    def close(self) -> None:
        """Leave the terminal tidy."""
        self._bar.close()

    def _text(self) -> str:
        text = f"{self.finished}/{self.videos} videos, {self.clips} clips, {self.dropped} dropped"
        return f"{text}, {self.errors} errors" if self.errors else text

    def _left(self, now: float) -> str:
        if not self._bytes:
            return "unknown time"
        seconds = int((now - self._begun) * (self._todo - self._bytes) / self._bytes)
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def _say(self, text: str) -> None:
        if not self._shown:
            return
        with tqdm.external_write_mode(file=sys.stderr):
            logger.warning("%s", text)
