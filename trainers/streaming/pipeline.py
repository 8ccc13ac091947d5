"""Parts that work at the same time, each in a thread, with a bound on what is under way."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from trainers.streaming.window import Part, Window

PATIENCE: Final = 10.0
"""Seconds that closing waits for a part to end what it has in hand."""


class StreamError(RuntimeError):
    """A part of a stream that failed; its own error is the cause of this one."""


class Pipeline:
    """Sends windows through parts, in order.

    At most `room` windows are under way, done ones that nobody has taken among them, so no queue between parts can hold
    more; `put` waits where there are as many. What a part raises ends all of them, and is raised by whatever is called
    next.

    Args:
        parts: in order.
        room: windows under way at most.
        late: seconds past its due time beyond which a frame is not made; None makes all of them.
        begin: called first in each thread.
    """

    def __init__(
        self, parts: list[Part], room: int, late: float | None = None, begin: Callable[[], None] | None = None
    ) -> None:
        self.parts, self.room, self.late = parts, room, late
        self.seconds = {part.name: 0.0 for part in parts}
        """Processor time of each part's thread in its work."""
        self._begin = begin
        self._change = threading.Condition()
        self._queues: list[deque[Window]] = [deque() for _ in range(len(parts) + 1)]
        self._under_way = 0
        self._error: tuple[str, BaseException] | None = None
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"stream: {part.name}", daemon=True)
            for number, part in enumerate(parts)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, window: Window) -> list[Window]:
        """Send a window; those that are done. Raises StreamError."""
        done: list[Window] = []
        with self._change:
            while True:
                self._check()
                done += self._take()
                if self._under_way < self.room:
                    break
                self._change.wait()
            self._under_way += 1
            self._queues[0].append(window)
            self._change.notify_all()
        return done

    def take(self, seconds: float = 0.0) -> list[Window]:
        """Windows that are done, after waiting so long for one where there is none. Raises StreamError."""
        with self._change:
            self._change.wait_for(lambda: self._queues[-1] or self._stopped or not self._under_way, seconds)
            self._check()
            return self._take()

    def rest(self) -> list[Window]:
        """Wait for all windows that are under way. Raises StreamError."""
        done: list[Window] = []
        with self._change:
            while True:
                self._check()
                done += self._take()
                if not self._under_way:
                    return done
                self._change.wait()

    def close(self) -> None:
        """End the threads; each ends the window that it has in hand first, and what is waiting is forgotten."""
        with self._change:
            self._closed = True
            for queue in self._queues:
                queue.clear()
            self._change.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(PATIENCE)

    @property
    def _stopped(self) -> bool:
        return self._closed or self._error is not None

    def _check(self) -> None:
        if self._error is not None:
            name, error = self._error
            raise StreamError(f"the part '{name}' of the stream failed: {error or type(error).__name__}") from error
        if self._closed:
            raise StreamError("the stream is closed")

    def _take(self) -> list[Window]:
        done = list(self._queues[-1])
        self._queues[-1].clear()
        self._under_way -= len(done)
        if done:
            self._change.notify_all()
        return done

    def _work(self, number: int) -> None:
        part = self.parts[number]
        try:
            if self._begin is not None:
                self._begin()
            while True:
                with self._change:
                    self._change.wait_for(lambda: self._queues[number] or self._stopped)
                    if self._stopped:
                        return
                    window = self._queues[number].popleft()
                    newer = bool(self._queues[number])
                if newer:  # leaving out what nothing waits behind would help nobody
                    self._leave_out(window, part)
                started = time.thread_time()
                window.value = part.act(window)
                with self._change:
                    self.seconds[part.name] += time.thread_time() - started
                    if not self._stopped:
                        self._queues[number + 1].append(window)
                    self._change.notify_all()
        # Whatever it is has to reach whoever pushes: a thread that ended would let them wait forever.
        except BaseException as error:
            with self._change:
                self._error = self._error or (part.name, error)
                self._change.notify_all()

    def _leave_out(self, window: Window, part: Part) -> None:
        """Take frames that come too late out of those that are wanted."""
        if self.late is None or part.drops is None or window.number == 0:
            return
        now = time.monotonic()
        in_time = [frame for frame in window.wanted if now <= window.due[frame] + self.late]
        if part.drops == "frames":
            window.wanted = in_time
        elif not in_time:
            window.wanted = []
