"""Really damaged shards: skipped, counted by reason, named once, and too many of them an error."""

import io
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from datamodules.clip import TooManyBadSamples
from datamodules.clips import read_clips
from datamodules.reader import ClipDataModule
from tests.shards import write_shards

KEYS = ("pose.npz", "audio.flac")


def loader(folder, keys=KEYS, workers=0, rank=0, ranks=1, **options):
    data = ClipDataModule(keys, **{"shards": str(folder), "batch_size": 4, "workers": workers, "window": 50} | options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks)
    return data, data.train_dataloader()


def clips_read(batches):
    return {name.partition("@")[0] for batch in batches for name in batch.ids}


def damage_pose(clip, **changes):
    """A `change` for write_shards that writes other arrays, past the check on writing."""

    def change(number, members):
        if number != clip:
            return members
        with np.load(io.BytesIO(dict(members)["pose.npz"])) as archive:
            arrays = dict(archive)
        for name, changed in changes.items():
            arrays[name] = changed(arrays[name])
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return [(key, buffer.getvalue() if key == "pose.npz" else data) for key, data in members]

    return change


def with_nan(array):
    array[7, 5] = np.nan
    return array


def replace(clip, key, data):
    return lambda number, members: [
        (name, data if (number, name) == (clip, key) else value)
        for name, value in members
        if data or name != key or number != clip
    ]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damage_pose(4, keypoints=with_nan), "pose.npz: NaN or infinite in keypoints"),
        (damage_pose(4, keypoints=lambda array: array[:-1]), "pose.npz: keypoints has a wrong shape"),
        (damage_pose(4, scores=lambda array: array * 2), "pose.npz: scores out of range"),
        (
            damage_pose(4, scores=lambda array: np.array(["x"] * len(array), object)),
            "pose.npz: cannot be decoded (ValueError)",
        ),
        (replace(4, "pose.npz", b"PK not an archive"), "pose.npz: cannot be decoded"),
        (replace(4, "audio.flac", b"fLaC" + bytes(100)), "audio.flac: cannot be decoded"),
        (replace(4, "clip.json", b'{"id": "clip-00000004-000"}'), "clip.json: source: Field required"),
        (replace(4, "pose.npz", b""), "pose.npz is missing"),
    ],
)
def test_a_damaged_sample_is_skipped_counted_and_named_once(tmp_path, caplog, monkeypatch, change, reason, workers):
    monkeypatch.setattr(logging.getLogger("cospeech"), "propagate", True)
    write_shards(tmp_path, clips=9, per_shard=3, keys=KEYS, change=change)
    data, batches = loader(tmp_path, workers=workers)
    first = list(batches)
    assert clips_read(first) == {f"clip-{clip:08x}-000" for clip in range(9) if clip != 4}
    assert {len(batch) for batch in first[:-1]} == {4}  # what was skipped is replaced
    assert len(first) == len(batches)
    list(batches)
    ((counted, number),) = data.bad_samples.items()
    assert counted.startswith(reason)
    assert number == 1
    assert first[-1].bad_samples == {counted: 1}
    assert caplog.text.count("clip-00000004-000") == 1


def test_a_shard_that_was_cut_off_misses_its_last_samples_by_name(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("cospeech"), "propagate", True)
    index = write_shards(tmp_path, clips=8, per_shard=4, keys=KEYS)
    shard = tmp_path / index.shards[0].name
    third = index.shards[0].samples[2]
    shard.write_bytes(shard.read_bytes()[: third.offset + third.size // 2])
    data, batches = loader(tmp_path)
    assert clips_read(batches) == {f"clip-{clip:08x}-000" for clip in (0, 1, 4, 5, 6, 7)}
    assert data.bad_samples == {"tar: the shard ends before the sample does": 2}
    assert str(shard) in caplog.text  # at the start already: other size than the index says
    assert all(f"clip-{clip:08x}-000" in caplog.text for clip in (2, 3))


def test_a_damaged_header_costs_its_sample_not_the_rest_of_the_shard(tmp_path):
    index = write_shards(tmp_path, clips=8, per_shard=8, keys=KEYS)
    shard, entry = tmp_path / index.shards[0].name, index.shards[0].samples[3]
    content = bytearray(shard.read_bytes())
    content[entry.offset : entry.offset + 512] = b"\xff" * 512
    shard.write_bytes(content)
    data, batches = loader(tmp_path)
    assert clips_read(batches) == {f"clip-{clip:08x}-000" for clip in range(8) if clip != 3}
    assert sum(data.bad_samples.values()) == 1


def test_a_shard_of_another_run_is_not_taken_for_this_one(tmp_path):
    write_shards(tmp_path / "a", clips=4, per_shard=2, keys=KEYS)
    write_shards(tmp_path / "b", clips=4, per_shard=2, keys=KEYS, seconds=3.0)
    (tmp_path / "a" / "shard-000001.tar").write_bytes((tmp_path / "b" / "shard-000001.tar").read_bytes())
    data, batches = loader(tmp_path / "a")
    assert clips_read(batches) == {"clip-00000000-000", "clip-00000001-000"}
    assert sum(data.bad_samples.values()) == 2


def test_video_that_cannot_be_decoded_is_skipped(tmp_path, filmed):
    def spoil(clip, members):
        return [(key, _rotten(data) if (clip, key) == (2, "video.mp4") else data) for key, data in members]

    write_shards(tmp_path, clips=6, per_shard=3, keys=("video.mp4",), change=spoil)
    data, batches = loader(tmp_path, ("video.mp4",), window=12, workers=2)
    assert clips_read(batches) == {f"clip-{clip:08x}-000" for clip in range(6) if clip != 2}
    ((reason, _),) = data.bad_samples.items()
    assert reason.startswith("video.mp4: cannot be decoded")


def _rotten(data):
    """An mp4 whose table of contents is gone."""
    return data.replace(b"moov", b"moo\xff")


def many(tmp_path, damaged, clips=60):
    def change(clip, members):
        return [(key, b"rotten" if clip < damaged and key == "pose.npz" else data) for key, data in members]

    write_shards(tmp_path, clips=clips, per_shard=10, seconds=2.0, keys=("pose.npz",), change=change)


@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_damaged_samples_are_too_many(tmp_path, workers):
    many(tmp_path, 20)
    _, batches = loader(tmp_path, ("pose.npz",), workers)
    with pytest.raises(
        TooManyBadSamples, match=r"20 of \d+ .*20 x pose\.npz: cannot be decoded.*clip-0000.*preprocessing\.verify"
    ):
        list(batches)


def test_nineteen_are_only_counted(tmp_path):
    many(tmp_path, 19)
    data, batches = loader(tmp_path, ("pose.npz",))
    list(batches)
    assert sum(data.bad_samples.values()) == 19


def test_the_limit_is_a_share_of_what_was_read(tmp_path):
    many(tmp_path, 25)
    data, batches = loader(tmp_path, ("pose.npz",), bad_sample_limit=1.0)
    list(batches)
    assert sum(data.bad_samples.values()) == 25


def test_data_without_one_good_sample_do_not_hang(tmp_path):
    many(tmp_path, 10, clips=10)
    _, batches = loader(tmp_path, ("pose.npz",))
    with pytest.raises(TooManyBadSamples, match=r"no sample can be read.*10 x pose\.npz"):
        list(batches)


def test_ranks_keep_step_over_damaged_samples(tmp_path):
    many(tmp_path, 7, clips=20)
    counts = {len(list(loader(tmp_path, ("pose.npz",), rank=rank, ranks=3)[1])) for rank in range(3)}
    assert len(counts) == 1


def test_reading_whole_clips_skips_and_refuses_likewise(tmp_path):
    many(tmp_path / "few", 3, clips=10)
    assert len(list(read_clips(tmp_path / "few", ("pose.npz",)))) == 7
    many(tmp_path / "most", 25, clips=30)
    with pytest.raises(TooManyBadSamples):
        list(read_clips(tmp_path / "most", ("pose.npz",)))


def test_a_pickle_in_a_shard_is_not_opened(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, keypoints=np.array([print], object))
    write_shards(tmp_path, clips=4, keys=("pose.npz",), change=replace(1, "pose.npz", buffer.getvalue()))
    data, batches = loader(tmp_path, ("pose.npz",))
    assert len(clips_read(batches)) == 3
    assert list(data.bad_samples) == ["pose.npz: cannot be decoded (ValueError)"]


def test_a_missing_shard_is_an_error_at_the_start(tmp_path):
    index = write_shards(tmp_path, keys=("pose.npz",))
    (tmp_path / index.shards[1].name).unlink()
    with pytest.raises(OSError, match=r"shard-000001\.tar.*preprocessing\.verify"):
        loader(tmp_path, ("pose.npz",))
