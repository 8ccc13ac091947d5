"""Frames as they go to the video encoder: what comes out of one hangs on its version and on the processor."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROUNDING = 1
"""Of 255: sums in another order may round a value to the one beside it. What differs by more was made otherwise."""


@contextmanager
def before_encoding(kept: dict[Path, np.ndarray]) -> Iterator[None]:
    """A while in which the frames (T, H, W, 3) of every animation are kept, by the file that they are written to."""
    from trainers.animation import files, frames  # bring torch, which other tests need not wait for

    write = frames.write_video

    def writing(path: Path, pictures: Iterable[np.ndarray], *given: Any, **options: Any) -> Path:
        seen: list[np.ndarray] = []

        def passed() -> Iterator[np.ndarray]:
            for picture in pictures:
                seen.append(np.array(picture))
                yield picture

        written = write(path, passed(), *given, **options)
        kept[written] = np.stack(seen).astype(int)
        return written

    with pytest.MonkeyPatch.context() as patch:
        for module in (files, frames):
            patch.setattr(module, "write_video", writing)
        yield
