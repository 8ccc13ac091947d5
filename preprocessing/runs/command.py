"""What the commands that make shards have in common: options, signals, faults as one line, exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from datamodules.shards.cache import ShardError
from datamodules.shards.index import IndexFileError
from preprocessing.runs.work import RunError
from preprocessing.runs.writer import OutputError
from preprocessing.sources.rows import ManifestError
from settings import ConfigError, build, command
from settings.output import faults_of

Options = TypeVar("Options")


def run_command(
    options: type[Options],
    argv: Sequence[str] | None,
    *,
    prog: str,
    make: Callable[[Options], dict[str, Any]],
    tell: Callable[[Options, dict[str, Any]], None],
) -> int:
    """Read a command line, do what it asks for, and give the exit status; SIGTERM and Ctrl-C stop it politely.

    Args:
        options: the command's, with `output`.
        argv: words of the command line; those of this process where None.
        prog: how the command is started.
        make: does it.
        tell: prints what came of it.
    """
    values = command(options, argv, prog=prog)
    signal.signal(signal.SIGTERM, _stop)
    try:
        asked: Any = build(values, options)
        with faults_of(Path(asked.output).expanduser()):
            tell(asked, make(asked))
    except (ConfigError, ManifestError) as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except (OutputError, RunError, ShardError, IndexFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; start it again with the same options and it goes on", file=sys.stderr)
        return 130
    return 0


def tell_first(what: str, told: Iterable[str], output: str | Path, most: int = 20) -> None:
    """Print the first lines of what is told of inputs one by one, and how many more the summary holds.

    Args:
        what: stands before each.
        told: the lines.
        output: the folder with summary.json.
        most: lines that are printed.
    """
    lines = list(told)
    for line in lines[:most]:
        print(f"  {what}: {line}")
    if len(lines) > most:
        print(f"  {what}: {len(lines) - most} more, see {Path(output) / 'summary.json'}")


def _stop(number: int, frame: FrameType | None) -> None:
    """A polite end by a cluster or a person: the same as Ctrl-C."""
    raise KeyboardInterrupt
