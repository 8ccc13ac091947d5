"""The command: `python -m preprocessing.run input=VIDEOS output=FOLDER [key=value ...]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from preprocessing.options import Options, output_folder, worker_count
from preprocessing.runs.command import run_command, tell_first
from preprocessing.runs.job import Job
from preprocessing.runs.merge import merge, missing_shards, summarise
from preprocessing.runs.pool import run_jobs
from preprocessing.runs.progress import VideoProgress
from preprocessing.runs.shards import DamagedPart, assemble, is_assembled, is_done
from preprocessing.runs.videos import VideoWork
from preprocessing.runs.writer import write_json
from preprocessing.sources.discovery import Skipped
from preprocessing.sources.manifest import assign_splits, read_sources
from settings import ConfigError, build, get_logger

logger = get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command(Options, argv, prog="python -m preprocessing.run", make=preprocess, tell=report)


def preprocess(options: Options) -> dict[str, Any]:
    """Make the shards; go on where an earlier run stopped.

    Args:
        options: what to make.

    Returns:
        The summary as in `summary.json`, with `state`: "finished", "complete" (there was nothing to do) or "waiting"
        (other tasks of the array are not done; the summary is this task's own).

    Raises:
        ManifestError: the input cannot be used as a whole.
        RunError: the output folder holds something else.
        OutputError: the output folder cannot be written.
        settings.ConfigError: wrong options.
    """
    begun = time.monotonic()
    # Written in full, so that a default spelled out and one left out are the same run.
    options = build(vars(options), Options)
    output = output_folder(options)
    index, count = options.task()
    if options.restart and count > 1:
        raise ConfigError("'restart' would throw away the other tasks' shards; empty the folder before the job array")
    skipped: list[Skipped] = []
    sources = read_sources(options.input, output, skipped)
    splits = assign_splits(sources, options.splits, options.split_by, options.seed)
    work = VideoWork(output, options, sources, splits, skipped)
    if not work.begin(options.restart):
        return {"state": "complete"}
    mine = [shard for shard in work.shards if shard % count == index]
    run = _Run(work, mine)
    run.do()
    wall = {"wall_seconds": round(time.monotonic() - begun, 3), "workers": run.workers}
    if count > 1:
        write_json(output / f"summary-{index:05d}.json", summarise(run.videos) | wall)
    left = missing_shards(work)
    summary = merge(work, wall) if not left else None
    if summary is not None:
        return summary | {"state": "finished"}
    if work.is_complete():
        return {"state": "complete"}
    return {"state": "waiting", "missing": left}


class _Run:
    """The shards of one task: hands out their videos, assembles each shard when its last video is done."""

    def __init__(self, work: VideoWork, shards: list[int]) -> None:
        self.work = work
        self.videos: list[dict[str, Any]] = []
        self._todo = [shard for shard in shards if not self._is_finished(shard)]
        self._open: dict[int, int] = {}
        self._again: list[Job] = []
        self._locks: dict[int, ExitStack] = {}
        jobs = [job for shard in shards for job in work.jobs(shard)]
        waiting = [job for shard in self._todo for job in work.jobs(shard) if not is_done(work, job)]
        self.workers = worker_count(work.options, len(waiting))
        self.progress = VideoProgress(jobs, waiting, work.options.progress)

    def do(self) -> None:
        """Do everything that is left."""
        try:
            # Closed on every way out, so that no worker outlives an interrupt.
            with self.progress, closing(run_jobs(self._jobs(), self.work.options, self.workers)) as results:
                for job, record in results:
                    self.progress.video_done(job, record)
                    self._close(job.number // self.work.options.videos_per_shard)
                    self._repeat()
        finally:
            for lock in self._locks.values():
                lock.close()

    def _is_finished(self, shard: int) -> bool:
        if not is_assembled(self.work, shard):
            return False
        record = self.work.read_record(self.work.record_path(self.work.name(shard)))
        self.videos += record["videos"] if record is not None else []
        return True

    def _repeat(self) -> None:
        """Do again the videos whose parts were found damaged on the disk."""
        while self._again:
            repeated, self._again = self._again, []
            with closing(run_jobs(repeated, self.work.options, min(1, self.workers))) as results:
                for job, _ in results:
                    self._close(job.number // self.work.options.videos_per_shard)

    def _jobs(self) -> Iterator[Job]:
        for shard in self._todo:
            stack = ExitStack()
            if not stack.enter_context(self.work.alone(f"shards/{shard:06d}", wait=False)):
                logger.warning("shard %06d is being made by another process: left to it", shard)
                stack.close()
                continue
            if self._is_finished(shard):
                stack.close()  # another process was faster
                continue
            self._locks[shard] = stack
            left = [job for job in self.work.jobs(shard) if not is_done(self.work, job)]
            # The longest first, so that no worker idles while the last one ends.
            left.sort(key=lambda job: -job.bytes)
            for job in left:
                job.sweep()
            self._open[shard] = max(len(left), 1)
            if not left:
                self._close(shard)
                left, self._again = self._again, []
            yield from left

    def _close(self, shard: int) -> None:
        """One video of a shard is done; the last one makes the shard."""
        self._open[shard] -= 1
        if self._open[shard]:
            return
        try:
            self.videos += assemble(self.work, shard)
        except DamagedPart as damage:
            logger.warning("%s; the video is done again", damage)
            self._open[shard] = 1
            self._again.append(damage.job)
            return
        self._locks.pop(shard).close()


def report(options: Options, summary: dict[str, Any]) -> None:
    """Say in a few lines what came of it."""
    output = output_folder(options)
    if summary["state"] == "complete":
        print(f"already complete: {output} (restart=true makes it anew)")
        return
    if summary["state"] == "waiting":
        missing = summary["missing"]
        print(f"this task is done; {len(missing)} shards of other tasks are missing, the last task writes the index")
        return
    dropped = ", ".join(f"{count} {reason}" for reason, count in summary["dropped"].items()) or "none"
    what = (
        f"{summary['spans']} spans of {summary['videos']} videos" if summary["spans"] else f"{summary['videos']} videos"
    )
    print(f"{what}, {summary['clips']} clips kept in {output}; dropped: {dropped}")
    if summary["cut_short"]:
        print(f"  {len(summary['cut_short'])} spans reach past the end of their video and were cut to what is there")
    tell_first("cut short", (f"{span['file']}: {span['detail']}" for span in summary["cut_short"]), output)
    tell_first("not usable", (f"{error['file']}: {error['reason']}" for error in summary["errors"]), output)
    skips = (
        f"{skip['file']}: {skip['reason']}" + (f" ({skip['count']})" if skip["count"] > 1 else "")
        for skip in summary["skips"]
        if not skip["file"].startswith(("*.", "hidden files"))
    )
    tell_first("not taken", skips, output)
    tell_first("warning", (f"{one['file']}: {one['warning']}" for one in summary["warnings"]), output)
    if not summary["clips"]:
        print(f"no clip was kept; {output / 'summary.json'} says why for each", file=sys.stderr)
    if summary["report"] != "report.html":
        print(f"report.html {summary['report']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
