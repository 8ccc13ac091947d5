"""Which rank failed first: `python -m trainers.failures RUN`.

When one rank of many fails, the others fail after it, with errors of the network between them. Every rank leaves a note
in `RUN/logs/errors/`, and what is shown is the first of them.
"""

import json
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainers.run.errors import RunStopped

_STARTED = time.time()
# What ranks say of others that are gone.
_OF_OTHERS = re.compile(
    r"connection (closed|reset|refused)|broken pipe|socket|nccl|gloo|timed out|timeout|dist(\w+)?error",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Failure:
    """What a rank left behind.

    Attributes:
        rank: its number.
        host: its machine.
        time: seconds since 1970.
        message: what went wrong, in one text.
        trace: the traceback, empty where the message says it all.
        of_others: whether it only noticed that another rank was gone.
        status: with which the run ends.
    """

    rank: int
    host: str
    time: float
    message: str
    trace: str
    of_others: bool
    status: int = 1


def folder_of(run: str | os.PathLike[str]) -> Path:
    """Where the ranks of a run leave their notes."""
    return Path(run) / "logs" / "errors"


def world() -> tuple[int, int]:
    """Rank and number of ranks, before and after Lightning knows them."""
    rank = next((os.environ[n] for n in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if os.environ.get(n)), "0")
    ranks = next((os.environ[n] for n in ("WORLD_SIZE", "SLURM_NTASKS") if os.environ.get(n)), "1")
    try:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
    except ImportError:
        pass
    return int(rank), int(ranks)


def record(run: str | os.PathLike[str], error: BaseException, status: int = 1) -> Failure:
    """Leave a note of this rank's error. A disk that does not take it is no further error."""
    expected = isinstance(error, RunStopped)
    message = str(error).strip() or type(error).__name__
    failure = Failure(
        world()[0],
        socket.gethostname(),
        time.time(),
        message if expected else f"{type(error).__name__}: {message}",
        "" if expected else "".join(traceback.format_exception(error)),
        not expected and bool(_OF_OTHERS.search(f"{type(error).__name__} {message}")),
        status,
    )
    path = folder_of(run) / f"rank-{failure.rank:04d}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".writing")
        temporary.write_text(json.dumps(asdict(failure)))
        os.replace(temporary, path)
    except OSError as problem:
        print(f"no note of this error in {path}: {problem}", file=sys.stderr)
    return failure


def first(run: str | os.PathLike[str]) -> Failure | None:
    """The failure that came first; one that only notices others' comes after all that do not."""
    found = []
    for path in folder_of(run).glob("rank-*.json"):
        try:
            found.append(Failure(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue  # half written
    return min(found, key=lambda f: (f.of_others, f.time, f.rank), default=None)


def wait_for_first(run: str | os.PathLike[str], own: Failure, seconds: float = 3.0) -> Failure:
    """The first failure; one that is of others waits a little for theirs."""
    end = time.monotonic() + (seconds if own.of_others else 0)
    while True:
        found = first(run) or own
        if not found.of_others or time.monotonic() > end:
            return found
        time.sleep(0.1)


def forget_earlier(run: str | os.PathLike[str]) -> None:
    """Drop the notes of an earlier start of the run."""
    for path in folder_of(run).glob("rank-*.json"):
        try:
            if path.stat().st_mtime < _STARTED - 5:
                path.unlink()
        except OSError:
            continue


def describe(failure: Failure) -> str:
    """A failure as text, its rank on top."""
    trace = f"\n{failure.trace.rstrip()}" if failure.trace else ""
    return f"rank {failure.rank} on {failure.host}: {failure.message}{trace}"


def failures(*, run: Path) -> Failure | None:
    """Show which rank of a run failed first, and with which error.

    Args:
        run: the run folder.

    Returns:
        The failure; None when no rank has left one.
    """
    return first(run)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 when no rank has left a note."""
    from settings import command

    values = command(failures, argv, prog="python -m trainers.failures", positional="run")
    failure = failures(**values)
    print(f"no rank of {values['run']} has left an error" if failure is None else describe(failure))
    return failure is None


if __name__ == "__main__":
    raise SystemExit(main())
