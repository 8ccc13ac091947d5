"""What several preprocessing tests share."""

from pathlib import Path

import pytest

from tests.preprocessing.clips import tone, write_clip


@pytest.fixture(scope="session")
def five_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five short videos, two of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "more").mkdir()
    for i, name in enumerate(("a.mp4", "b.mp4", "c.mp4", "more/a.mp4", "more/d.mov")):
        write_clip(folder / name, seconds=0.6 + 0.2 * i, audio=tone(0.6 + 0.2 * i, seed=i), seed=i)
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """The tests of a module compute on one thread: theirs are many small matrices."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
