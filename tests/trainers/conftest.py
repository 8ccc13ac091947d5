"""What tests of training share."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The project's log, from INFO on, in `caplog`: its own handler passes nothing on."""
    logger = logging.getLogger("cospeech")
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(caplog.handler)
        yield
        logger.removeHandler(caplog.handler)
