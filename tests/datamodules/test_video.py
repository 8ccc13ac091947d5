import resource
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.clip import BadSample
from datamodules.media.files import encode_video
from datamodules.media.video import read_window
from datamodules.reader import ClipDataModule
from tests.shards import number_of, numbered_frame, write_shards


@pytest.fixture(scope="module")
def video():
    return encode_video((numbered_frame(number, 48, 64) for number in range(100)), 25)


@pytest.mark.parametrize("start", [0, 1, 11, 12, 13, 50, 88])
def test_a_window_has_its_own_frames(video, start):
    frames = read_window(video, start, 12)
    assert frames.shape == (12, 48, 64, 3)
    assert [number_of(frame) for frame in frames] == list(range(start, start + 12))


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (32, 16), (17, 48), (64, 72)])
def test_frames_are_scaled(video, size):
    frames = read_window(video, 5, 3, size)
    assert frames.shape == (3, *size, 3)
    assert size[1] % 8 or [number_of(frame) for frame in frames] == [5, 6, 7]


@pytest.mark.parametrize(
    "damage", [lambda v: v[:200], lambda v: v.replace(b"moov", b"xxxx"), lambda v: b"", lambda v: v[:-2000]]
)
def test_damaged_video_is_a_bad_sample(video, damage):
    with pytest.raises(BadSample, match=r"video\.mp4: cannot be decoded"):
        read_window(damage(video), 80, 12)


def test_too_short_a_video_is_a_bad_sample(video):
    with pytest.raises(BadSample, match="fewer frames"):
        read_window(video, 90, 12)


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_come_with_their_poses(filmed, workers):
    data = ClipDataModule(
        ("video.mp4", "pose.npz"),
        shards=filmed,
        batch_size=4,
        window=12,
        windows="random",
        windows_per_clip=2,
        video_size=(24, 32),
        workers=workers,
    )
    for batch in data.train_dataloader():
        assert batch.video.shape == (4, 12, 3, 24, 32)
        for row, start in enumerate(batch.starts.tolist()):
            assert [number_of(frame) for frame in batch.video[row].permute(0, 2, 3, 1).numpy()] == list(
                range(start, start + 12)
            )


def test_clips_of_several_sizes_need_one_given(tmp_path):
    write_shards(tmp_path, clips=1, keys=("video.mp4",))
    other = encode_video((np.zeros((64, 64, 3), np.uint8) for _ in range(100)), 25)
    swap = lambda clip, members: [(key, other if clip and key == "video.mp4" else data) for key, data in members]  # noqa: E731
    write_shards(tmp_path, clips=2, keys=("video.mp4",), change=swap)
    options = {"shards": str(tmp_path), "window": 12, "workers": 0, "batch_size": 2, "windows": "random"}
    with pytest.raises(ValueError, match=r"data\.video_size"):
        next(iter(_module(**options)))
    assert next(iter(_module(**options, video_size=(32, 32)))).video.shape == (2, 12, 3, 32, 32)


def _module(**options):
    data = ClipDataModule(("video.mp4",), **options)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1)
    return data.train_dataloader()


@pytest.mark.slow
def test_memory_stays_flat_over_5000_reads(video):
    rng = np.random.default_rng(0)
    resident = []
    for read in range(5000):
        read_window(video, int(rng.integers(0, 69)), 32 if read % 2 else 12)
        if read in (500, 4999):
            resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB, the highest so far
    assert resident[1] - resident[0] < 8 * 1024
