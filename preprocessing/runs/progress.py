"""How far the preprocessing of videos is. Time left is judged by their bytes, not their number."""

from __future__ import annotations

from typing import Any

from preprocessing.runs.job import Job
from settings import get_logger
from settings.progress import Progress

logger = get_logger(__name__)


class VideoProgress(Progress):
    """Progress that says what came of the videos: clips, dropped ones, errors.

    Args:
        jobs: all videos of this task.
        waiting: those that are still to do.
        shown: False says nothing.
    """

    def __init__(self, jobs: list[Job], waiting: list[Job], shown: bool = True) -> None:
        self.videos, self.finished = len(jobs), len(jobs) - len(waiting)
        self.clips = self.dropped = self.errors = 0
        total = sum(job.bytes for job in jobs)
        super().__init__("preprocessing", total, done=total - sum(job.bytes for job in waiting), unit="B", shown=shown)
        if shown and self.finished:
            logger.info("going on: %d of %d videos are done", self.finished, self.videos)

    def video_done(self, job: Job, record: dict[str, Any]) -> None:
        """One more video is done."""
        self.finished += 1
        self.clips += len(record["samples"])
        self.dropped += len(record["dropped"])
        if record["error"]:
            self.errors += 1
            if self.shown:
                # Said at once, so that a wrong folder or a missing codec shows before the night is over.
                logger.warning("%s: %s", job.source.name, record["error"])
        errors = f", {self.errors} errors" if self.errors else ""
        status = f"{self.finished}/{self.videos} videos, {self.clips} clips, {self.dropped} dropped{errors}"
        self.advance(job.bytes, status)
