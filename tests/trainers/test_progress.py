"""Progress of what takes a while: how far, how long still; silence for what is quick."""

import pytest

from trainers import progress
from trainers.progress import Progress, follow


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_what_is_quick_says_nothing(clock, capsys):
    for _ in follow(range(4), "counting"):
        clock.now += 1
    assert capsys.readouterr().err == ""


def test_what_takes_long_says_how_long_still(clock, capsys):
    for _ in follow(range(10), "rendering frames"):
        clock.now += 12
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "rendering frames  1/10  ETA 1:48"
    assert len(lines) == 5, "one at once, then every 30 s, and the end"
    assert lines[-1] == "rendering frames: 2:00"


def test_what_is_still_to_come_may_grow(clock, capsys):
    with Progress("measuring") as steps:
        clock.now = 6
        steps.say("reading")
        steps.expect(10)
        steps.expect(10)
        clock.now = 40
        steps.advance(5, "clips made")
    assert capsys.readouterr().err.splitlines()[:2] == [
        "measuring  0  reading  0:06",
        "measuring  5/20  clips made  ETA 2:00",
    ]


def test_items_may_count_for_more_than_one(clock, capsys):
    with Progress("frames", 40) as bar:
        for _ in bar.over(range(2), lambda item: 20):
            clock.now += 40
    assert capsys.readouterr().err.splitlines()[0] == "frames  20/40  ETA 0:40"
