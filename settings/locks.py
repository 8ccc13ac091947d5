"""Locks on folders and files that end with the process that holds them."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_held: set[IO[bytes]] = set()


@contextmanager
def alone(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock that dies with the process, whatever ends it; yields whether it was got.

    Where the folder of the file is gone nothing is got; on a file system without locks everybody gets it. The file says
    who holds it (`holder`).

    Args:
        path: file of the lock; it stays.
        wait: until whoever holds it is done.

    Raises:
        OSError: the file cannot be made.
    """
    file: IO[bytes] | None = None
    try:
        try:
            file = open(path, "ab")  # noqa: SIM115 (closed below)
            got = _lock(file, path, wait)
        except FileNotFoundError:
            got = False
        if got and file is not None:
            _held.add(file)
            with suppress(OSError):  # a full disk: the lock is held all the same
                file.truncate(0)
                about = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%d %b %H:%M")}
                file.write(json.dumps(about).encode())
                file.flush()
        yield got
    finally:
        if file is not None:
            _held.discard(file)
            with suppress(OSError):
                file.close()


def holder(path: Path) -> str:
    """Who took a lock last, in words."""
    try:
        about = json.loads(path.read_text())
        return f"process {about['process']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _lock(file: IO[bytes], path: Path, wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    # Whoever held it may have removed the file, with its folder: then this lock is one on nothing.
    return path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino


def _let_go() -> None:
    """In a forked child, which would keep its parent's locks when the parent is killed."""
    for file in _held:
        with suppress(OSError):
            file.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
