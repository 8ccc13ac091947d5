"""The command `python -m preprocessing.motion input=DATA output=FOLDER [key=value ...]`."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from preprocessing.motion.clips import Read
from preprocessing.motion.options import Options
from preprocessing.motion.plan import ImportPlan, make_plan
from preprocessing.motion.work import MotionWork
from preprocessing.runs.command import run_command, tell_first
from preprocessing.runs.work import RunError
from settings import build
from settings.progress import Progress


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command(Options, argv, prog="python -m preprocessing.motion", make=import_motion, tell=_tell)


def _tell(options: Options, summary: dict[str, Any]) -> None:
    dropped = ", ".join(f"{count} {reason}" for reason, count in summary["dropped"].items()) or "none"
    print(f"{summary['files']} files, {summary['clips']} clips in {options.output}; left out: {dropped}")
    drops = (f"{one['file']}: {one['reason']} ({one['detail']})" for one in summary["drops"])
    tell_first("not usable", drops, options.output)
    tell_first("not in the data set's lists", summary["unlisted"], options.output)
    tell_first("warning", (f"{one['file']}: {one['warning']}" for one in summary["warnings"]), options.output)


def import_motion(options: Options) -> dict[str, Any]:
    """Write the shards; go on where an earlier run stopped.

    Returns:
        What `summary.json` holds: "files", "clips", "frames", "with_motion", "splits", "dropped" (counts by reason),
        "drops", "warnings", "unlisted".

    Raises:
        ConfigError: nothing there that can be imported, or output on top of the input.
        RunError, OutputError: the output folder holds something else, or cannot be written.
        IndexFileError, ShardError: the shards are not there.
    """
    options = build(vars(options), Options)  # in full, so that a default spelled out and one left out are the same
    output = Path(options.output).expanduser()
    plan = make_plan(options)
    work = MotionWork(output, options, plan)
    if not work.begin(options.restart):
        return work.summary()
    with ExitStack() as stack:
        left = {name: jobs for name, jobs in plan.shards if not work.is_made(name)}
        before = plan.jobs - sum(map(len, left.values()))
        bar = stack.enter_context(Progress("files of motion", plan.jobs, done=before, shown=options.progress))
        pool = None
        if options.workers:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(options.workers, context, torch.set_num_threads, (1,)))
        for name, jobs in left.items():
            work.write(name, _read_all(plan, jobs, pool, 2 * options.workers, bar))
    return work.finish()


def _read_all(
    plan: ImportPlan, jobs: list[Any], pool: ProcessPoolExecutor | None, ahead: int, bar: Progress
) -> Iterator[Read]:
    """What became of each job, in order; with a pool some are read ahead."""
    waiting: deque[Future[Read]] = deque()
    left = iter(jobs)
    for _ in jobs:
        if pool is None:
            read = plan.read(next(left))
        else:
            while len(waiting) < ahead and (job := next(left, None)) is not None:
                waiting.append(pool.submit(plan.read, job))
            try:
                read = waiting.popleft().result()
            except BrokenProcessPool:
                raise RunError(
                    "a process that reads files was killed, perhaps for memory; take fewer workers"
                ) from None
        bar.advance()
        yield read
