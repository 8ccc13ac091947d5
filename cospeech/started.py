"""How a command was started, for its help."""

from collections.abc import Iterator
from contextlib import contextmanager

_names: list[str] = []


@contextmanager
def started_as(name: str) -> Iterator[None]:
    """Inside, helps call the command by this name in place of `python -m ...`."""
    _names.append(name)
    try:
        yield
    finally:
        _names.pop()


def name() -> str | None:
    """The name in force; None where the command was started as a module."""
    return _names[-1] if _names else None
