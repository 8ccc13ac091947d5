"""Worker processes that may die: a crash or a hang costs the job at hand, and the others go on.

The standard pools give up as a whole when a process is killed, which one damaged video can bring about.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from preprocessing.options import Options
from preprocessing.runs.job import Job, do_job, fail_job
from preprocessing.runs.writer import OutputError
from settings import ConfigError

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
QUIET: Final = {"GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "2"}  # detectors chatter about their delegates

Done = tuple[Job, dict[str, Any]]
"""A job and its record."""


def run_jobs(jobs: Iterable[Job], options: Options, workers: int) -> Generator[Done, None, None]:
    """Yield each job with its record as it is finished, in any order.

    Args:
        jobs: taken one by one, when a worker is free.
        options: what every worker builds its steps from.
        workers: number of processes; 0 does the jobs in this one, where a crash is a crash.

    Raises:
        ConfigError: the steps cannot be built.
        OutputError: the output folder cannot be written.
    """
    if workers == 0:
        from preprocessing.pipeline import build_pipeline

        pipeline = None
        for job in jobs:
            pipeline = pipeline or build_pipeline(options)
            yield job, do_job(pipeline, job)
        return
    pool = [_Worker(options) for _ in range(workers)]
    try:
        yield from _share_out(iter(jobs), pool, options)
    finally:
        for worker in pool:
            worker.end()


def _share_out(jobs: Iterator[Job], pool: list[_Worker], options: Options) -> Iterator[Done]:
    for worker in pool:
        worker.start()
    left = True
    while left or any(worker.job for worker in pool):
        for worker in pool:
            if left and worker.job is None:
                job = next(jobs, None)
                left = job is not None
                if job is not None:
                    worker.give(job)
        busy = {worker.pipe: worker for worker in pool if worker.job is not None}
        ready = wait(list(busy), timeout=1.0) if busy else []
        for pipe in ready:
            worker = busy[pipe]  # type: ignore[index]
            record = worker.answer()
            if record is None:
                continue
            yield worker.take_back(), record
        for worker in busy.values():
            if (
                worker.job is not None
                and options.video_timeout
                and time.monotonic() - worker.since > options.video_timeout
            ):
                job = worker.take_back()
                worker.renew()
                yield job, fail_job(job, f"given up: it took longer than video_timeout={options.video_timeout:g} s")


class _Worker:
    """One process, its pipe, and the job it is at."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.job: Job | None = None
        self.since = 0.0
        self.pipe: Connection
        self._process: multiprocessing.process.BaseProcess | None = None

    def start(self) -> None:
        """Start the process."""
        # A forked child would inherit locks and threads of the libraries; a spawned one starts clean.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        with _environment():
            self._process = context.Process(target=_main, args=(theirs, self.options, os.getpid()), daemon=True)
            self._process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        """Hand it a job."""
        self.job, self.since = job, time.monotonic()
        try:
            self.pipe.send(job)
        except OSError:
            # It died between two jobs; a new one takes this job.
            self.renew()
            self.pipe.send(job)

    def take_back(self) -> Job:
        """Its job, which it has no longer."""
        if self.job is None:
            raise RuntimeError("a worker without a job was asked for it")
        job, self.job = self.job, None
        return job

    def busy_seconds(self) -> float:
        """How long it has been at its job."""
        return time.monotonic() - self.since

    def answer(self) -> dict[str, Any] | None:
        """Take its word on the job: the record; None for "steps are built, begin to count"."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return self._died()
        if kind == "begin":
            self.since = time.monotonic()
            return None
        if kind == "output":
            raise OutputError(value)
        if kind == "config":
            raise ConfigError(value)
        return value

    def _died(self) -> dict[str, Any]:
        # A signal to the whole group reaches this process a moment later: then it is no fault of the video.
        time.sleep(0.3)
        code = None
        if self._process is not None:
            self._process.join(5)
            code = self._process.exitcode
        self.renew()
        if self.job is None:
            raise RuntimeError("a worker without a job was asked for its answer")
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = "; out of memory?" if -code == signal.SIGKILL else ""
            return fail_job(self.job, f"the process that worked on it was ended by {name}{hint}")
        return fail_job(self.job, f"the process that worked on it ended itself with status {code}")

    def renew(self) -> None:
        """End the process at once and start another."""
        self.end()
        self.start()

    def end(self) -> None:
        """End the process at once; what it was writing has no final name yet."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.pipe.close()
            self._process = None
            if self.job is not None:
                self.job.sweep()


@contextmanager
def _environment() -> Iterator[None]:
    """One thread a process, said before the libraries are imported."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _main(pipe: Connection, options: Options, parent: int) -> None:
    """A worker: builds the steps at its first job, then does jobs until the pipe is closed."""
    for name in ("SIGINT", "SIGTERM"):
        # The parent decides when to stop, and ends its workers itself.
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _die_with(parent)
    import cv2

    cv2.setNumThreads(1)
    from preprocessing.pipeline import build_pipeline

    pipeline = None
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipeline = pipeline or build_pipeline(options)
            pipe.send(("begin", None))
            answer = ("done", do_job(pipeline, job))
        except ConfigError as error:
            answer = ("config", str(error))
        except OutputError as error:
            answer = ("output", str(error))
        pipe.send(answer)


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent is killed (Linux; elsewhere it ends after its job)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
