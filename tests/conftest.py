"""Also the process that hands tests to workers reads this: it may import Lightning for a warning's sake."""

import itertools
from types import SimpleNamespace

import pytest

import models  # noqa: F401 - lets torchvision be imported beside a CPU torch


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress finds that a minute has passed at each look: a log gets a line for every step."""
    minutes = itertools.count()
    monkeypatch.setattr("settings.progress.time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: with several workers none of them is left with one when the others have done."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
