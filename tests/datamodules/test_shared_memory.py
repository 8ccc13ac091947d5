"""Shared memory that is used again, but never while somebody looks at it."""

import gc

import numpy as np
import pytest

from datamodules.reader import ClipDataModule
from datamodules.transport.shared_memory import HEADER, SharedMemoryPool, SharedMemoryReader
from tests.shards import write_shards


def test_a_piece_comes_again_once_it_is_given_back() -> None:
    pool, reader = SharedMemoryPool(), SharedMemoryReader()
    first, memory = pool.take(1000)
    memory[:] = 7
    assert (reader.read(first)[:1000] == 7).all()
    second, _ = pool.take(1000)
    assert second.number != first.number
    reader.read(second)
    reader.release(first)
    third, memory = pool.take(900)
    assert (third.number, third.memory) == (first.number, None)
    memory[:] = 9
    assert (reader.read(third)[:900] == 9).all()


def test_a_piece_that_is_too_small_does_not_come_again() -> None:
    pool, reader = SharedMemoryPool(), SharedMemoryReader()
    small, _ = pool.take(10)
    reader.read(small)
    reader.release(small)
    large, memory = pool.take(2**20 + 1)
    assert large.number != small.number
    assert len(memory) == 2**20 + 1
    assert len(reader.read(large)) + HEADER == 2**21


def test_pieces_that_became_too_small_are_given_up_on_both_sides() -> None:
    pool, reader = SharedMemoryPool(), SharedMemoryReader()
    blocks = [pool.take(100)[0] for _ in range(8)]
    for block in blocks:
        reader.read(block)
    for block in blocks[:6]:
        reader.release(block)
    large, _ = pool.take(2**21)
    reader.read(large)
    assert sorted(large.gone) == [block.number for block in blocks[:6]]
    assert sorted(reader._pieces) == sorted(pool._pieces) == [6, 7, 8]


def test_after_a_new_start_no_piece_of_before_is_used() -> None:
    pool, reader = SharedMemoryPool(), SharedMemoryReader()
    lost, _ = pool.take(100)
    pool.clear()
    fresh, memory = pool.take(100)
    memory[:] = 3
    assert fresh.number != lost.number
    assert (reader.read(fresh)[:100] == 3).all()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("filmed")
    write_shards(folder, clips=24, keys=("video.mp4", "pose.npz"))
    return str(folder)


def loader(shards: str, **options: object) -> ClipDataModule:
    return ClipDataModule(
        ("video.mp4", "pose.npz"), shards=shards, batch_size=2, window=12, windows="random", windows_per_clip=4,
        video_size=(32, 32), workers=2, **options,
    )  # fmt: skip


def test_batches_that_are_kept_do_not_change(filmed: str) -> None:
    kept = [(batch, batch.video.clone()) for batch in loader(filmed).train_dataloader()]
    assert len(kept) == 48
    assert all((batch.video == video).all() for batch, video in kept)


@pytest.mark.slow
def test_a_piece_of_a_batch_keeps_its_frames(filmed: str) -> None:
    pieces = []
    for batch in loader(filmed).train_dataloader():
        pieces.append((batch.video[0, 3, 1], batch.video[0, 3, 1].clone()))
        del batch
        gc.collect()
    assert all((piece == copy).all() for piece, copy in pieces)


def test_batches_that_are_not_kept_lie_in_the_same_memory(filmed: str) -> None:
    places = set()
    for batch in loader(filmed).train_dataloader():
        places.add(batch.video.data_ptr())
        del batch
    assert len(places) < 24  # of 48


def test_with_and_without_workers_the_frames_are_the_same(filmed: str) -> None:
    options = {"seed": 3}
    with_workers = {b.ids[0]: b.video.clone() for b in loader(filmed, **options).train_dataloader()}
    alone = ClipDataModule(
        ("video.mp4", "pose.npz"), shards=filmed, batch_size=2, window=12, windows="random", windows_per_clip=4,
        video_size=(32, 32), workers=0, **options,
    )  # fmt: skip
    batches = {b.ids[0]: b.video for b in alone.train_dataloader()}
    assert batches.keys() == with_workers.keys()
    assert all(np.array_equal(batches[name], with_workers[name]) for name in batches)
