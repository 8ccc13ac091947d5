"""Also the process that hands tests to workers reads this: it may import Lightning for a warning's sake."""

import pytest

import models  # noqa: F401 - lets torchvision be imported beside a CPU torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: with several workers none of them is left with one when the others have done."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
