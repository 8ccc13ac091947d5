"""Batches on their way from workers: what is sent once, what goes wrong, and batches in page-locked memory."""

import gc

import numpy as np
import pytest
import torch

from datamodules.media.files import encode_video
from datamodules.reader import ClipDataModule
from datamodules.transport.messages import BatchMessage, InfoCache
from tests.shards import write_shards

KEYS = ("pose.npz", "speech.npz", "face.npz", "audio.flac")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("parcels")
    write_shards(output, clips=12, seconds=[2.0, 3.0, 4.0], keys=KEYS, layers=4)
    return str(output)


def batches(shards, workers, keys=KEYS, **options):
    options = {"batch_size": 5, "window": 20, "stride": 0.4, "seed": 3} | options
    return ClipDataModule(keys, shards=shards, workers=workers, **options).train_dataloader()


def tensors(batch):
    flat = {name: {"": value} for name, value in vars(batch).items()} | {"whole": batch.whole or {}} | batch.arrays
    for name, values in flat.items():
        for part, array in values.items():
            if isinstance(array, torch.Tensor):
                yield f"{name}.{part}", array


@pytest.mark.parametrize("windows", ["stride", "clip"])
def test_all_arrays_are_the_same_with_workers_and_without_and_stay_so(folder, windows):
    alone, shared = (list(batches(folder, workers, windows=windows)) for workers in (0, 2))  # all of them are kept
    assert len(alone) == len(shared) > 2
    for one, two in zip(alone, shared, strict=True):
        found, wanted = dict(tensors(two)), dict(tensors(one))
        assert found.keys() == wanted.keys() >= {"pose.", "speech_layers.", "audio.", "face.boxes", "lengths."}
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert (one.ids, one.infos, one.captions) == (two.ids, two.infos, two.captions)


def test_one_array_that_is_kept_of_a_batch_does_not_change(folder):
    kept = []
    for number, batch in enumerate(batches(folder, 2)):
        name, array = list(tensors(batch))[number % 3]
        kept.append((name, array, array.clone()))
        del batch
        gc.collect()
    assert len({name for name, *_ in kept}) == 3
    assert all(torch.equal(array, copy) for _, array, copy in kept)


def test_a_clip_is_told_of_once_while_it_is_known():
    sent, infos = InfoCache(most=2), {number: object() for number in range(4)}

    def send(*numbers):
        message = BatchMessage(0)
        for number in numbers:
            sent.add(number, infos[number], message)
        return message

    assert send(0, 1, 0).infos == {0: infos[0], 1: infos[1]}
    later = send(0, 2)
    assert (later.infos, later.forgotten) == ({2: infos[2]}, {1})
    repeated = send(1)
    assert (repeated.infos, repeated.forgotten) == ({1: infos[1]}, {0})
    both = send(0, 2, 1, 0)  # 0 comes, goes and comes again
    assert both.infos == {0: infos[0], 2: infos[2], 1: infos[1]}
    assert both.forgotten == {2}


def test_more_clips_than_are_known_at_once(folder, monkeypatch):
    wanted = [(batch.ids, batch.infos) for batch in batches(folder, 0)]
    monkeypatch.setattr(InfoCache.__init__, "__defaults__", (6,))
    assert [(batch.ids, batch.infos) for batch in batches(folder, 2)] == wanted


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_that_do_not_go_together_are_named(tmp_path, workers):
    wide = encode_video((np.zeros((64, 64, 3), np.uint8) for _ in range(100)), 25)

    def swap(clip, members):
        return [(key, wide if clip and key == "video.mp4" else data) for key, data in members]

    write_shards(tmp_path, clips=2, keys=("video.mp4",), change=swap)
    options = {"keys": ("video.mp4",), "window": 12, "windows": "random", "batch_size": 2}
    with pytest.raises(
        ValueError, match=r"clips of one batch differ in the shape of video: .*set data\.video_size"
    ) as e:
        next(iter(batches(str(tmp_path), workers, **options)))
    assert "Traceback" not in str(e.value)
    sizes = next(iter(batches(str(tmp_path), workers, **options, video_size=(32, 32)))).video.shape
    assert sizes == (2, 12, 3, 32, 32)


@pytest.mark.parametrize("workers", [0, 2])
def test_page_locked_batches_hold_the_same_and_give_shared_memory_back(folder, workers, monkeypatch):
    wanted = [dict(tensors(batch)) for batch in batches(folder, 0)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    pinned, empty = [], torch.empty
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(1) or tensor.clone())
    monkeypatch.setattr(
        torch, "empty", lambda *a, pin_memory=False, **o: (pinned.append(1) if pin_memory else None) or empty(*a, **o)
    )
    loader = batches(folder, workers)
    found = [dict(tensors(batch)) for batch in loader]
    assert len(pinned) >= 8 * len(wanted)
    for one, two in zip(found, wanted, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in two)
    lent = [memory for reader in loader._unpack._readers.values() for memory in reader._pieces.values()]
    assert bool(lent) is bool(workers)
    assert all(memory[0] == 0 for memory in lent)  # though all batches are kept
