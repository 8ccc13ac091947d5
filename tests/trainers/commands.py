"""Commands called as functions."""

from collections.abc import Callable, Sequence


def status(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int | str | None:
    """Exit status of a command, whether it returns it or ends the process, as it does on a bad config."""
    try:
        return main(words)
    except SystemExit as end:
        return end.code
