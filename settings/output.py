"""Places that are written to: looked at before the work, and faults of them in one line."""

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from settings.registry import ConfigError

SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
FAULTS: Final = (
    *SPACE,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
)
_PROBE: Final = 1 << 16


class OutputError(RuntimeError):
    """What is to be written cannot be; the message names it and says what to do."""


def check_writable(path: Path) -> None:
    """Look whether a file or folder can be written: a little is, where it would lie, and removed again.

    Raises:
        OutputError: a folder that may not be written to, a full disk, a file where a folder would have to be.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir():
        folder = path
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
            file.flush()
    except OSError as error:
        raise OutputError(refusal(path, error)) from error


def refusal(path: Path, error: OSError) -> str:
    """What to say of a path that could not be written."""
    full = error.errno in SPACE
    what = "the disk is full" if full else (error.strerror or str(error)).lower()
    cure = "free some space and start again" if full else "make it writable, or choose another place"
    return f"cannot write to {path}: {what}; {cure}"


@contextmanager
def faults_of(path: Path, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """A while in which faults of the file system (read-only, full, not allowed) are faults of the output.

    Others, such as an input that is not there, pass. Also of libraries that turn them into errors of their own. A file
    elsewhere that may not be read is named itself.

    Args:
        path: of the output.
        passing: errors that say themselves what was wrong and what is left: they pass.

    Raises:
        OutputError: in the place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FAULTS:
            raise
        raise OutputError(refusal(path, error) if _is_output(path, error) else _elsewhere(error)) from error
    except OutputError:
        raise
    except passing:
        raise
    # libsndfile, FFmpeg and others raise kinds of their own for a full disk, and tell of it by its words alone.
    except Exception as error:
        if "No space left on device" not in str(error) and "Read-only file system" not in str(error):
            raise
        number = errno.ENOSPC if "No space" in str(error) else errno.EROFS
        raise OutputError(refusal(path, OSError(number, "read-only file system"))) from error


def say(written: Callable[[], object], path: Path) -> int:
    """Print what a command wrote to a path; 0, or 2 with one line of why it could not."""
    try:
        with faults_of(path):
            print(written())
    except (ConfigError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _is_output(path: Path, error: OSError) -> bool:
    """Whether an error is of the output: what is full or read-only is, and what has no name or lies there."""
    if error.errno in (*SPACE, errno.EROFS) or not isinstance(error.filename, str):
        return True
    named, output = (Path(os.path.abspath(each)) for each in (error.filename, path))
    return output.parent in named.parents or named in output.parents


def _elsewhere(error: OSError) -> str:
    return f"{error.filename}: {(error.strerror or str(error)).lower()}; make it readable, or choose another"
