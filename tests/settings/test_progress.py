"""Long work speaks: lines with the time left where there is no terminal, nothing for what is short."""

import logging

import pytest

from settings.progress import FIRST, PAUSE, Progress


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("cospeech"), "propagate", True)


def run(seconds_each: float, count: int, total: float | None, caplog: pytest.LogCaptureFixture) -> list[str]:
    now = 0.0
    caplog.set_level(logging.INFO)
    with Progress("frames of the video", total, clock=lambda: now) as bar:
        for _ in bar.over(range(count)):
            now += seconds_each
    return [record.getMessage() for record in caplog.records]


def test_lines_with_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    lines = run(1.0, 40, 40, caplog)
    assert lines[0] == f"frames of the video: {FIRST:.0f} of 40 frames, 0:00:35 left"
    assert lines[1] == f"frames of the video: {FIRST + PAUSE:.0f} of 40 frames, 0:00:25 left"
    assert lines[-1] == "frames of the video: done in 0:00:40"
    assert len(lines) == 5


def test_nothing_is_said_of_what_is_short(caplog: pytest.LogCaptureFixture) -> None:
    assert run(0.1, 40, 40, caplog) == []


def test_without_a_total_there_is_no_time_left(caplog: pytest.LogCaptureFixture) -> None:
    assert run(1.0, 6, None, caplog)[0] == "frames of the video: 5 frames"
