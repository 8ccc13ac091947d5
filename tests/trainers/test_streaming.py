"""Streams of any person: the same frames in any pieces, bounds, late frames, errors, ends (CA-15)."""

import gc
import threading
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from tests.trainers.live import FPS, RATE, WINDOW, number_of, simple, span, talk, until
from trainers.stream import Stream, StreamError
from trainers.streaming.ear import Ear
from trainers.streaming.stream import Frame
from trainers.streaming.window import Window


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("stream: ")])


def pushed(stream: Stream, sound: np.ndarray, milliseconds: float, rate: int = RATE) -> list[Frame]:
    step, frames = round(milliseconds * rate / 1000), []
    for start in range(0, len(sound), step):
        frames += stream.push(sound[start : start + step], rate)
    return frames + stream.finish()


@pytest.mark.paper("CA-15")
@pytest.mark.parametrize("rate", [RATE, 44_100, 11_025])
def test_frames_are_the_same_in_whatever_pieces_sound_comes(rate):
    sound, made = talk(2.3, rate), []
    for milliseconds in (40, 200, 1000, 2300, 13):
        frames = pushed(Stream(simple(), sound_rate=8000), sound, milliseconds, rate)
        assert [frame.number for frame in frames] == list(range(round(2.3 * FPS)))
        assert all(frame.made and number_of(frame.picture) == frame.number for frame in frames)
        made.append((np.stack([frame.picture for frame in frames]), np.concatenate([frame.sound for frame in frames])))
    for pictures, played in made:
        assert np.array_equal(pictures, made[0][0])
        assert len(played) == round(round(2.3 * FPS) / FPS * 8000)
        np.testing.assert_allclose(played, made[0][1], atol=1e-6)
    # What is played is what was said, at its time.
    wanted = talk(2.3, 8000)[: len(made[0][1])]
    assert np.corrcoef(made[0][1][: len(wanted)], wanted)[0, 1] > 0.99


@pytest.mark.paper("CA-15")
def test_a_window_hears_its_span_and_no_sooner_than_it_is_there():
    sound, windows = talk(1.0), []
    ear = Ear(FPS, WINDOW, span)
    for start in range(0, RATE, 160):
        for window in ear.push(sound[start : start + 160], RATE, start / RATE):
            assert start + 160 == -(-span(window.number)[1] // 160) * 160
            windows.append(window)
    windows += ear.finish(9.0)
    assert [window.count for window in windows] == [5, 5, 5, 5, 5]
    for window in windows:
        low, high = max(0, span(window.number)[0]), span(window.number)[1]
        assert window.start == low
        np.testing.assert_array_equal(window.speech, sound[low:high])


def test_channels_types_and_numbers_that_are_none():
    sound = talk(0.6)
    ears = {
        "float": sound,
        "stereo": np.stack([0.5 * sound, 1.5 * sound], 1),
        "int16": (sound * 32768).round().astype(np.int16),
        "int32": (sound.astype(np.float64) * 2**31).round().astype(np.int32),
    }
    for name, given in ears.items():
        ear = Ear(FPS, WINDOW, span)
        window = next(ear.push(given, RATE, 0.0))
        np.testing.assert_allclose(window.speech, sound[: len(window.speech)], atol=2e-5, err_msg=name)
    broken = sound.copy()
    broken[100:110] = np.nan
    broken[200] = np.inf
    ear = Ear(FPS, WINDOW, span)
    window = next(ear.push(broken, RATE, 0.0))
    assert ear.bad_samples == 11
    assert not window.speech[100:110].any()
    assert np.isfinite(window.speech).all()
    for bad, rate, words in (
        (np.zeros((2, 16_000)), RATE, "at most 32 channels"),
        (np.zeros(10, complex), RATE, "whole or floating-point"),
        (np.zeros(10, bool), RATE, "whole or floating-point"),
        (np.float32(1.0), RATE, "has to be"),
        (sound, 0, "samples a second, got 0"),
        (sound, 50, "samples a second, got 50"),
        (sound, 44_100.5, "whole samples a second"),
    ):
        with Stream(simple()) as stream, pytest.raises(ValueError, match=words):
            stream.push(bad, rate)


def test_a_change_of_rate_midway_goes_on_where_it_was():
    rates = (RATE, 48_000, 22_050)
    stream, frames = Stream(simple(), sound_rate=RATE), []
    for number, rate in enumerate(rates):
        part = talk(3.0, rate)[number * rate : (number + 1) * rate]
        for start in range(0, rate, rate // 25):
            frames += stream.push(part[start : start + rate // 25], rate)
    frames += stream.finish()
    assert stream.counts.rate_changes == 2
    assert [frame.number for frame in frames] == list(range(75))
    played = np.concatenate([frame.sound for frame in frames])
    assert np.corrcoef(played, talk(3.0)[: len(played)])[0, 1] > 0.99


def test_push_waits_where_enough_is_under_way_and_no_queue_grows():
    free, seen, most = threading.Semaphore(0), [], 3

    def slow(window: Window) -> None:
        seen.append(window.number)
        assert free.acquire(timeout=20)

    stream = Stream(simple(draw=slow), room=most)
    sound = talk(6.0)
    done: list[Frame] = []
    thread = threading.Thread(target=lambda: done.extend(stream.push(sound, RATE)))
    thread.start()
    time.sleep(0.3)
    pipeline = stream._pipeline
    assert thread.is_alive()
    assert sum(map(len, pipeline._queues)) <= most
    assert stream._ear.number <= most + 1  # and what is cut from the sound waits, too
    for _ in range(30):
        free.release()
    thread.join(20)
    assert not thread.is_alive()
    rest = stream.finish()
    assert [frame.number for frame in done + rest] == list(range(150))
    assert seen == list(range(30))


@pytest.mark.parametrize("part", ["first", "second", "out"])
def test_what_a_part_raises_is_raised_by_push_and_finish(part):
    def fail(at: object) -> None:
        if getattr(at, "number", 0) >= (10 if part == "out" else 2):
            raise RuntimeError("no more memory here")

    live = simple(hear=fail if part == "first" else None, draw=fail if part == "second" else None)
    stream = Stream(live, room=2, out=fail if part == "out" else None)
    name = {"first": "move", "second": "paint", "out": "out"}[part]
    with pytest.raises(StreamError, match=f"the part '{name}' of the stream failed: no more memory here") as found:
        stream.push(talk(20.0), RATE)
    assert isinstance(found.value.__cause__, RuntimeError)
    with pytest.raises(StreamError, match="no more memory here"):
        stream.push(talk(0.1), RATE)
    with pytest.raises(StreamError, match="no more memory here"):
        stream.poll()
    with pytest.raises(StreamError, match="no more memory here"):
        stream.finish()


def test_the_end():
    stream = Stream(simple())
    frames = stream.push(talk(0.5), RATE) + stream.finish()
    assert [frame.number for frame in frames] == list(range(12))
    assert stream.finish() == []
    assert stream.poll() == []
    with pytest.raises(ValueError, match="the stream has ended"):
        stream.push(talk(0.1), RATE)
    assert Stream(simple()).finish() == []
    with Stream(simple()) as short:  # less than half a frame
        assert short.push(talk(0.01), RATE) == []
        assert short.finish() == []
    with Stream(simple()) as left:
        left.push(talk(1.0), RATE)
    with pytest.raises(ValueError, match="the stream has ended"):
        left.push(talk(1.0), RATE)
    forgotten = Stream(simple())
    forgotten.push(talk(1.0), RATE)
    del forgotten
    gc.collect()  # the fixture looks for its threads


def test_poll_gives_what_is_ready_between_pushes():
    stream = Stream(simple())
    frames = stream.push(talk(0.5), RATE)
    until(lambda: frames.extend(stream.poll(0.1)) or len(frames) == 5)
    assert stream.poll(5.0) == []  # nothing is under way: there is nothing to wait for
    stream.close()


@pytest.mark.paper("CA-15")
def test_late_frames_are_not_made_and_the_one_before_stays():
    """A painter who takes too long: frames are left out, so that what is made is never later than was said."""
    late, pause = 0.15, 0.12

    def slow(window: Window) -> None:
        time.sleep(pause * bool(window.wanted))

    sound, frames = talk(3.0), []
    stream = Stream(simple(draw=lambda window: [slow(window) for _ in range(3)]), late=late)
    for start in range(0, len(sound), 3200):
        frames += stream.push(sound[start : start + 3200], RATE)
        time.sleep(0.2)
    frames += stream.finish()
    counts = stream.counts
    assert [frame.number for frame in frames] == list(range(75))
    assert 0 < counts.late < 75
    assert counts.late == sum(not frame.made for frame in frames)
    assert number_of(frames[0].picture) == 0  # the first window is made, however late
    shown = -1
    for frame in frames:
        shown = frame.number if frame.made else shown
        assert number_of(frame.picture) == (None if shown < 0 else shown)
    # One window's work past the bound, and a busy machine's pauses.
    assert max(frame.delay for frame in frames if frame.made) < late + WINDOW / FPS + 3 * pause + 1.0


def test_all_frames_are_made_where_nothing_is_late_by_rule():
    stream = Stream(simple(draw=lambda window: time.sleep(0.05)))
    frames = pushed(stream, talk(3.0), 200)
    assert all(frame.made for frame in frames)
    assert stream.counts.late == 0


def test_a_window_that_nobody_can_wait_for_is_not_moved_and_the_parts_keep_step():
    moved, free = [], threading.Event()

    def hear(window: Window) -> None:
        moved.append(bool(window.wanted))
        assert free.wait(20)

    stream = Stream(simple(hear=hear), late=0.05)
    stream.push(talk(1.0), RATE, arrived=time.monotonic() - 10)  # heard long ago: all come too late
    free.set()  # four windows are there by now
    stream.finish()
    # The first is always made, and the last, behind which nothing waits.
    assert moved[:3] == [True, False, False]
    assert moved[-1]
    assert len(moved) == 5
    assert stream.counts.skipped >= 2


def test_due_times_follow_sound_and_frames():
    ear = Ear(FPS, WINDOW, span)
    windows = list(ear.push(talk(1.0), RATE, 100.0))  # four windows at once: shown one after another
    due = [moment for window in windows for moment in window.due]
    np.testing.assert_allclose(due, 100.0 + np.arange(20) / FPS)
    later = list(ear.push(talk(0.2), RATE, 200.0))  # after a long pause: from its end on
    np.testing.assert_allclose(later[0].due, 200.0 + np.arange(5) / FPS)


def test_memory_does_not_grow_with_the_stream():
    stream = Stream(simple(), sound_rate=44_100)
    piece = talk(0.2)

    def minutes(count: float) -> int:
        for _ in range(round(count * 300)):
            stream.push(piece, RATE)
        until(lambda: stream.poll(0.1) == [] and not stream._pipeline._under_way)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = minutes(0.5)
        last = minutes(3.0)
    finally:
        tracemalloc.stop()
    stream.finish()
    assert last - first < 100_000  # 3 minutes of sound are 5 MB at 16 kHz alone


def test_a_push_of_everything_at_once_is_late_for_nothing():
    stream = Stream(simple(), late=0.2)
    frames = stream.push(talk(30.0), RATE) + stream.finish()
    assert len(frames) == 750
    assert all(frame.made for frame in frames)
