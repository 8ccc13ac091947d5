"""Progress of what takes a while: how far, how long still; silence in a log for what is quick."""

import io
import logging
import sys

import pytest

from settings import progress
from settings.log import Handler
from settings.progress import Progress, duration, follow


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch) -> Clock:
    output = Clock()
    monkeypatch.setattr(progress, "time", output)
    return output


def terminal(monkeypatch) -> Terminal:
    """Standard error as a terminal. Called within a test: pytest sets its own between fixtures and test."""
    output = Terminal()
    monkeypatch.setattr(sys, "stderr", output)
    return output


def test_what_is_quick_says_nothing(clock, capsys):
    for _ in follow(range(4), "counting"):
        clock.now += 1
    assert capsys.readouterr().err == ""


def test_what_takes_long_says_how_long_still(clock, capsys):
    for _ in follow(range(10), "rendering frames"):
        clock.now += 12
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "rendering frames  1/10  ETA 01:48"
    assert len(lines) == 5, "one at once, then every 30 s, and the end"
    assert lines[-1] == "rendering frames: 02:00"


def test_what_is_still_to_come_may_grow(clock, capsys):
    with Progress("measuring") as steps:
        clock.now = 6
        steps.say("reading")
        steps.expect(10)
        steps.expect(10)
        clock.now = 40
        steps.advance(5, "clips made")
        clock.now = 80
        steps.reach(10, 20)
    assert capsys.readouterr().err.splitlines()[:3] == [
        "measuring  0, reading  00:06",
        "measuring  5/20, clips made  ETA 02:00",
        "measuring  10/20, clips made  ETA 01:20",
    ]


def test_items_may_count_for_more_than_one(clock, capsys):
    with Progress("frames", 40) as bar:
        for _ in bar.over(range(2), lambda item: 20):
            clock.now += 40
    assert capsys.readouterr().err.splitlines()[0] == "frames  20/40  ETA 00:40"


def test_what_an_earlier_run_has_done_took_no_time_of_this_one(clock, capsys):
    with Progress("preprocessing", 100e6, done=50e6, unit="B") as bar:
        clock.now = 60
        bar.advance(25e6, "3/4 videos")
    assert capsys.readouterr().err.splitlines()[0] == "preprocessing  75.0M/100M, 3/4 videos  ETA 01:00"


def test_nothing_is_said_where_nothing_is_wanted(clock, monkeypatch):
    screen = terminal(monkeypatch)
    with Progress("silent", 2, shown=False) as bar:
        clock.now = 100
        bar.advance()
    assert screen.getvalue() == ""


def test_a_terminal_shows_a_bar_and_keeps_no_trace_but_the_time(monkeypatch):
    screen = terminal(monkeypatch)
    with Progress("rendering frames", 4) as bar:
        bar.advance(2, "of two")
        bar._bar.refresh()  # type: ignore[union-attr]
        bar._started -= 90
    said = screen.getvalue()
    assert "rendering frames  50%|" in said
    assert "2/4, of two" in said
    assert said.count("\n") == 1, "the bar takes one line, which is wiped"
    assert said.rstrip("\n").endswith("rendering frames: 01:30")


def test_lines_of_the_log_and_of_results_stand_above_the_bar(monkeypatch, capsys):
    screen = terminal(monkeypatch)
    log = logging.Logger("test")
    log.addHandler(Handler(screen))
    with Progress("rendering frames", 4) as bar:
        bar.advance(1)
        log.warning("a video is broken")
        bar.print("a fault")
    said = screen.getvalue()
    before, after = said.split("a video is broken\n")
    assert before.endswith("\r"), "the bar was wiped"
    assert "rendering frames" in after, "and drawn again below"
    assert capsys.readouterr().out == "a fault\n"


def test_times_are_written_as_people_read_them():
    assert [duration(seconds) for seconds in (0, 59.9, 61, 3723)] == ["00:00", "00:59", "01:01", "1:02:03"]
