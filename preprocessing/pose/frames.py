"""Frames for the detectors: decoded and made smaller in a second thread, while the detector works on the one before."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import cv2
import numpy as np

_END: Final = object()


def shrink(frame: np.ndarray, side: int) -> np.ndarray:
    """A frame (H, W, 3) whose longer side is at most `side` pixels; smaller ones are returned as they are."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(frame)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def ahead(items: Iterable[Any], work: Callable[[Any], Any], depth: int = 4) -> Iterator[Any]:
    """Yield `work(item)` of every item in order, worked on in a second thread at most `depth` items ahead.

    What the thread raises is raised here, at its place in the order. Leaving the loop early ends the thread.
    """
    waiting: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[Any, BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put((work(item), None)):
                    return
            put((_END, None))
        except BaseException as error:  # whatever it is, it belongs to the thread that asked for the frames
            put((_END, error))

    thread = threading.Thread(target=run, name="frames", daemon=True)
    thread.start()
    try:
        while True:
            value, error = waiting.get()
            if error is not None:
                raise error
            if value is _END:
                return
            yield value
    finally:
        stop.set()
        thread.join()
