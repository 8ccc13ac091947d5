"""What tests of training share."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoded import before_encoding


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The project's log, from INFO on, in `caplog`: its own handler passes nothing on."""
    logger = logging.getLogger("cospeech")
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(caplog.handler)
        yield
        logger.removeHandler(caplog.handler)


@pytest.fixture(scope="module")
def kept() -> dict[Path, np.ndarray]:
    """Frames (T, H, W, 3) of animations before they were encoded, by their files."""
    return {}


@pytest.fixture
def encoded(kept: dict[Path, np.ndarray]) -> Iterator[dict[Path, np.ndarray]]:
    """The same, and those of all animations of a test."""
    with before_encoding(kept):
        yield kept


@pytest.fixture(scope="module")
def once_a_config() -> Iterator[None]:
    """A step takes and a network holds the same under every strategy and on every GPU: each is counted once."""
    from trainers.planning import measure as planning  # brings torch and more, which other tests need not wait for

    count, build = planning.measure, planning.build_stage
    measured: dict[str, Any] = {}
    stages: dict[str, Any] = {}

    def step(values: Any, size: int) -> Any:
        about = [
            values["stage"],
            values["data"],
            values["trainer"]["precision"],
            values["gradient_checkpointing"],
            size,
        ]
        key = json.dumps(about, default=str, sort_keys=True)
        if key not in measured:
            measured[key] = count(values, size)
        return measured[key]

    def built(options: Any, device: str = "meta", precision: str = "32-true") -> Any:
        key = json.dumps([options, device, precision], default=str, sort_keys=True)
        if key not in stages:
            stages[key] = build(options, device, precision)
        return stages[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "measure", step)
        patch.setattr(planning, "build_stage", built)
        yield
