"""Running MediaPipe's graphs: model files inside the package, streams that its own classes hide, no chatter."""

import contextlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

_CHATTER: Final = re.compile(
    rb"Created TensorFlow Lite|before absl::InitializeLog|inference_feedback_manager|gl_context"
    rb"|landmark_projection_calculator"
)
_STDERR: Final = threading.Lock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the start-up chatter that MediaPipe's C++ side writes to standard error away; any other line still
    appears."""
    with _STDERR, tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            lines = [line for line in kept if not _CHATTER.search(line)]
            if lines:
                os.write(2, b"".join(lines))


class Graph:
    """A graph of the installed MediaPipe package that starts, without its chatter, when the first frame arrives.

    Args:
        path: of the graph inside the package.
        options: of `mediapipe.python.solution_base.SolutionBase`.
    """

    def __init__(self, path: str, **options: Any) -> None:
        self._path, self._options = path, options
        self._running: Any = None
        self._fresh = True

    def reset(self) -> None:
        """Forget the frames seen so far; the next one starts a new video."""
        self._fresh = True

    def __call__(self, frame: np.ndarray) -> Any:
        """The outputs for the next frame, (H, W, 3) uint8 RGB, as attributes named like the graph's streams."""
        if not self._fresh:
            return self._running.process({"image": frame})
        # The models are loaded, and talk about it, at any time between the start of a run and the end of its first
        # frame.
        with quiet():
            if self._running is None:
                self._running = self._start()
            else:
                self._running.reset()
            result = self._running.process({"image": frame})
        self._fresh = False
        return result

    def _start(self) -> Any:
        # Comes from mediapipe's own use of protobuf, whenever a kind of message is read for the first time.
        warnings.filterwarnings("ignore", message=r"SymbolDatabase\.GetPrototype", category=UserWarning)
        # The solutions are imported because they register the messages that the graphs' options are made of.
        from mediapipe.python import solution_base
        from mediapipe.python.solutions import face_detection, face_mesh, holistic  # noqa: F401

        return solution_base.SolutionBase(binary_graph_path=self._path, **self._options)
