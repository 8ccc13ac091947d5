"""The console command: `cospeech fit --config mmgt/smga/tiny data.shards=SHARDS`, as `python -m trainers.fit ...`."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cospeech import __version__, names, shipped
from cospeech.commands import COMMANDS
from cospeech.started import started_as


def main(argv: Sequence[str] | None = None) -> int:
    """Start a command by its name; the exit status is the command's, 2 where there is none of that name."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("--version", "-V"):
        print(f"cospeech {__version__}")
        return 0
    name = words.pop(0)
    command = COMMANDS.get(name) or COMMANDS.get(name.replace("_", "-"))
    if command is None:
        close = difflib.get_close_matches(name, COMMANDS, 1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else "`cospeech --help` lists them"
        print(f"error: no command '{name}'; {hint}", file=sys.stderr)
        return 2
    _leave_out_the_current_folder()
    if problem := names.clash():
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return _start(f"cospeech {name}", command.main, words)


def usage() -> str:
    """Every command with one line each."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name.ljust(width)}  {command.line}" for name, command in COMMANDS.items())
    return (
        "usage: cospeech COMMAND [key=value ...] [--help] [--version]\n\n"
        f"{listed}\n\n"
        "`cospeech COMMAND --help` lists the keys of a command; every command also starts as `python -m MODULE`."
    )


def _start(prog: str, place: str, words: list[str]) -> int:
    module, _, attribute = place.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    with started_as(prog):
        return int(function(words) or 0)


def _leave_out_the_current_folder() -> None:
    """Modules do not come from the current folder, here and in processes started from here, unless ours lie there."""
    here = Path.cwd()
    if here != shipped.ROOT:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    os.environ.update(shipped.environment())


if __name__ == "__main__":
    raise SystemExit(main())
