from types import SimpleNamespace

import numpy as np
import pytest
import torch

import settings
from datamodules.clips import read_clips
from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index, IndexFileError
from settings import ConfigError
from tests.shards import write_shards

KEYS = ("pose.npz", "speech.npz", "audio.flac")


def module(shards, keys=KEYS, rank=0, ranks=1, **options):
    data = ClipDataModule(keys, **{"shards": shards, "batch_size": 8, "workers": 0} | options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=ranks)
    return data


def ids(loader):
    return [batch.ids for batch in loader]


def flat(batches):
    return [name for batch in batches for name in batch]


def windows_of(shards, split="train", window=80, stride=12):
    samples = [sample for shard in Index.load(shards).shards for sample in shard.samples if sample.split == split]
    return [f"{s.id}@{start}" for s in samples for start in range(0, s.frames - window + 1, stride)]


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_an_epoch_has_every_window_once_in_an_order_free_of_workers(shards, workers):
    loader = module(shards, workers=workers).train_dataloader()
    first, second = ids(loader), ids(loader)
    assert len(first) == len(loader)
    assert sorted(flat(first)) == sorted(windows_of(shards))
    assert sorted(flat(second)) == sorted(flat(first))
    assert first != second
    fresh = module(shards).train_dataloader()
    assert first == ids(fresh)
    assert second == ids(fresh)


def test_windows_are_slices_of_their_clips(shards):
    clips = {info.id: (info, values) for info, values in read_clips(shards, (*KEYS, "face.npz"))}
    for batch in module(shards, (*KEYS, "face.npz")).train_dataloader():
        for row, (name, start) in enumerate(zip(batch.ids, batch.starts.tolist(), strict=True)):
            info, values = clips[name.partition("@")[0]]
            frames = slice(start, start + 80)
            np.testing.assert_array_equal(batch.pose[row, ..., :2], values["pose.npz"]["keypoints"][frames])
            np.testing.assert_array_equal(batch.pose[row, ..., 2], values["pose.npz"]["scores"][frames])
            np.testing.assert_array_equal(batch.speech[row], values["speech.npz"]["handcrafted"][frames])
            layers = values["speech.npz"]["layers"]
            np.testing.assert_array_equal(batch.speech_layers[row], layers[:, start * 2 : start * 2 + 160])
            sound = values["audio.flac"]
            np.testing.assert_array_equal(batch.audio[row], sound[start * 640 : start * 640 + 51200])
            np.testing.assert_array_equal(
                batch.arrays["face"]["head_pose"][row], values["face.npz"]["head_pose"][frames]
            )
            assert batch.infos[row] == info
    assert batch.fps == 25
    assert batch.video is None


@pytest.mark.parametrize("workers", [0, 2])
def test_little_memory_and_left_iterations_change_nothing(shards, workers):
    expected = [(batch.ids, batch.pose) for batch in module(shards).train_dataloader()]
    loader = module(shards, workers=workers, memory_mb=1).train_dataloader()
    for _, batch in zip(range(3), loader):
        assert len(batch) == 8
    loader.load_state_dict(module(shards).train_dataloader().state_dict())
    for _ in range(2):
        for (names, pose), batch in zip(expected, loader, strict=True):
            assert batch.ids == names
            assert torch.equal(batch.pose, pose)
        loader.load_state_dict(module(shards).train_dataloader().state_dict())
    repeated = module(shards, workers=workers).val_dataloader()
    first, left, second = list(repeated), next(iter(repeated)), list(repeated)
    assert torch.equal(left.pose, first[0].pose)
    assert all(torch.equal(one.pose, other.pose) for one, other in zip(first, second, strict=True))


def test_arrays_of_a_clip_that_windows_share_cannot_be_written_to(shards):
    clip = module(shards).train_dataloader().dataset.reader(0)
    for array in clip.values["speech.npz"].values():
        assert not array.flags.writeable


def test_speech_layers_are_chosen_by_their_number(shards):
    every = next(iter(module(shards, windows="clip", batch_size=1).val_dataloader())).speech_layers
    second = next(iter(module(shards, windows="clip", batch_size=1, speech_layers=[8]).val_dataloader())).speech_layers
    assert torch.equal(second, every[:, 1:])


def test_keys_that_no_stage_asks_for_are_not_decoded(tmp_path):
    def spoil(clip, members):
        return [(key, b"garbage" if key in ("face.npz", "audio.flac", "video.mp4") else data) for key, data in members]

    write_shards(tmp_path, keys=("pose.npz", "face.npz", "audio.flac", "video.mp4"), change=spoil)
    data = module(str(tmp_path), ("pose.npz",))
    assert sum(len(batch) for batch in data.train_dataloader()) == len(windows_of(tmp_path))
    assert not data.bad_samples


@pytest.mark.parametrize("ranks", [2, 3, 16])
def test_ranks_keep_step_when_shards_are_few_and_uneven(tmp_path, ranks):
    write_shards(tmp_path, clips=5, per_shard=4, seconds=[4.0, 9.0], keys=("pose.npz",))  # two shards, of 4 and 1 clips
    loaders = [
        module(str(tmp_path), ("pose.npz",), r, ranks, workers=2 * (r < 2)).train_dataloader() for r in range(ranks)
    ]
    read = [ids(loader) for loader in loaders]
    assert {len(batches) for batches in read} == {len(loaders[0])}
    seen = [name for batches in read for name in flat(batches)]
    assert set(seen) == set(windows_of(tmp_path))
    repeated = sorted(seen)
    for name in set(seen):
        repeated.remove(name)
    assert sorted(module(str(tmp_path), ("pose.npz",), 0, ranks).train_dataloader().repeats) == repeated
    assert len(repeated) <= ranks - 1


def test_the_batches_of_a_step_are_the_same_windows_for_any_ranks_with_the_same_global_batch(shards):
    single = ids(module(shards, batch_size=8).train_dataloader())
    pair = [module(shards, batch_size=8, rank=r, ranks=2).train_dataloader() for r in range(2)]
    both = [first + second for first, second in zip(*map(ids, pair), strict=True)]
    assert flat(both)[:160] == flat(single)[:160]


def test_validation_reads_in_order_back_to_back_and_the_same_each_time(shards):
    loader = module(shards, window=50).val_dataloader()
    first = flat(ids(loader))
    assert first == windows_of(shards, "val", 50, 50)
    assert flat(ids(loader)) == first


def test_a_random_epoch_has_the_given_number_of_full_batches(shards):
    loader = module(shards, epoch="random", steps_per_epoch=60, windows="random", windows_per_clip=4).train_dataloader()
    batches = ids(loader)
    assert len(batches) == len(loader) == 60
    assert {len(batch) for batch in batches} == {8}
    clips = [name.partition("@")[0] for name in flat(batches)[: 32 * 4]]
    assert {clips.count(clip) for clip in clips} == {4}  # none comes again before all have come
    assert batches != ids(loader)


def test_a_short_random_epoch_is_not_always_of_the_same_clips(shards):
    loader = module(shards, epoch="random", steps_per_epoch=1).train_dataloader()
    seen = {name.partition("@")[0] for _ in range(20) for name in ids(loader)[0]}
    assert len(seen) > 25


def test_whole_clips_are_padded_with_missing_points(shards):
    batch = next(iter(module(shards, windows="clip").train_dataloader()))
    assert sorted(set(batch.lengths.tolist())) == [100, 150, 225]
    assert batch.pose.shape == (8, 225, 134, 3)
    for row, length in enumerate(batch.lengths.tolist()):
        assert batch.infos[row].frames == length
        assert (batch.pose[row, length:] == torch.tensor([-1.0, -1.0, 0.0])).all()
        assert (batch.pose[row, :length, :, 2].max(0).values == 1).sum() == 129
        assert (batch.audio[row, length * 640 :] == 0).all()


@pytest.mark.parametrize(("workers", "ranks"), [(0, 1), (2, 1), (0, 2)])
def test_both_clips_of_a_pair_are_in_one_batch(tmp_path, workers, ranks):
    names = [f"{person}-{side}" for person in range(12) for side in ("real", "made")]
    write_shards(tmp_path, keys=("pose.npz",), clips=24, per_shard=6, info=lambda clip: {"id": names[clip]})
    options = {"windows": "clip", "batch_size": 4, "workers": workers, "train_split": ["train", "val", "test"]}
    for pairs in (True, False):
        each = [module(str(tmp_path), ("pose.npz",), rank, ranks, pairs=pairs, **options) for rank in range(ranks)]
        batches = [batch for data in each for batch in ids(data.train_dataloader())]
        assert sorted(flat(batches)) == sorted(f"{name}@0" for name in names)
        together = [len({name.partition("-")[0] for name in batch}) == 2 for batch in batches]
        assert all(together) if pairs else not all(together)


def test_clips_shorter_than_a_window_are_left_out(shards):
    loader = module(shards, window=200).train_dataloader()
    assert sorted(flat(ids(loader))) == sorted(windows_of(shards, window=200))


def test_seconds_may_be_given_in_place_of_frames(shards):
    assert ids(module(shards, window_seconds=3.2).train_dataloader()) == ids(module(shards).train_dataloader())


def test_statistics_come_from_the_index(shards):
    assert module(shards).statistics == Index.load(shards).statistics


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": "random"}, "steps_per_epoch"),
        ({"steps_per_epoch": 5}, "epoch=random"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"window": 5000}, r"train \(32 clips\)"),
        (
            {"batch_size": 5000, "drop_last": True},
            r"the \d+ windows in .* fill no batch of 5000 .*drop_last",
        ),
        ({"train_split": "trian"}, "val \\(8 clips\\)"),
        ({"train_split": "trian"}, r"no windows of \d+ frames .* Set data.train_split, data.window or data.where"),
        (
            {"train_split": "trian", "windows": "clip"},
            r"no clips in split 'trian' .* Set data.train_split or data.where",
        ),
        ({"where": {"licenc": "CC0"}}, "did you mean 'licence'"),
        ({"where": {"split": "val"}}, "train_split"),
        ({"keys": ("pose",)}, "pose.npz"),
        ({"pairs": True}, "needs data.windows=clip, which is stride"),
        ({"pairs": True, "windows": "clip", "batch_size": 3}, "even number of clips in a rank's batch, which has 3"),
    ],
)
def test_options_that_cannot_work_say_what_to_do(shards, options, said):
    with pytest.raises(ConfigError, match=said):
        module(shards, **options).train_dataloader()


def test_a_folder_without_index_says_how_to_make_one(tmp_path):
    with pytest.raises(IndexFileError, match=r"preprocessing\.run"):
        module(str(tmp_path)).train_dataloader()


def test_no_validation_split_is_no_error(tmp_path):
    write_shards(tmp_path, keys=("pose.npz",))
    assert module(str(tmp_path), ("pose.npz",)).val_dataloader() == []


def test_the_constructor_is_a_config_section():
    values = settings.check({"shards": "data", "where": {"consent": True}}, ClipDataModule)
    assert values["window"] == 80
    assert "keys" not in values
    with pytest.raises(ConfigError, match="batch_size"):
        settings.check({"shards": "data", "batchsize": 2}, ClipDataModule)


@pytest.mark.paper("IM-13")
@pytest.mark.parametrize("workers", [0, 1])
def test_the_whole_clips_speech_comes_with_each_window(tmp_path, workers):
    """Padded to the longest of the batch, with how long each is."""
    write_shards(tmp_path, clips=2, seconds=(3.0, 5.0), splits=("val",))
    keys = ("speech.npz", "audio.flac", "whole/audio.flac", "whole/speech.npz")
    output = module(tmp_path, keys, window=20, stride=0.8, workers=workers)
    stored = {info.id: values for info, values in read_clips(tmp_path, ("speech.npz", "audio.flac"))}
    batch = next(iter(output.val_dataloader()))
    assert sorted(set(batch.whole["frames"][:, 0].tolist())) == [75, 125]
    for row, info in enumerate(batch.infos):
        frames = info.frames
        assert batch.whole["frames"][row].item() == frames
        np.testing.assert_array_equal(batch.whole["speech"][row, :frames], stored[info.id]["speech.npz"]["handcrafted"])
        np.testing.assert_array_equal(batch.whole["audio"][row, : frames * 640], stored[info.id]["audio.flac"])
        assert not batch.whole["speech"][row, frames:].any()
        assert batch.speech[row].shape == (20, 35)


@pytest.mark.parametrize("fps", [20.0, 25.0, 30.0])
def test_seconds_become_frames_by_the_shards_own_rate(fps, tmp_path):
    """Stride, window and every array by its own clock: poses at fps, motion at 20, layers at 50, sound at 16,000."""
    keys = ("pose.npz", "speech.npz", "audio.flac", "motion.npz")
    write_shards(tmp_path, clips=2, seconds=6.0, fps=fps, keys=keys, layers=4)
    clips = {info.id: values for info, values in read_clips(tmp_path, keys)}
    data = module(tmp_path, keys, window_seconds=2.0, stride=0.5, batch_size=1)
    starts = sorted({start for batch in data.train_dataloader() for start in batch.starts.tolist()})
    step = round(0.5 * fps)
    assert starts == list(range(0, round(6 * fps) - round(2 * fps) + 1, step))
    for batch in data.train_dataloader():
        values, start = clips[batch.ids[0].partition("@")[0]], batch.starts.item() / fps
        for read, array, rate in (
            (batch.pose[0, ..., :2], values["pose.npz"]["keypoints"], fps),
            (batch.motion[0], values["motion.npz"]["motion"], 20),
            (batch.speech_layers[0].transpose(0, 1), values["speech.npz"]["layers"].swapaxes(0, 1), 50),
            (batch.audio[0], values["audio.flac"], 16_000),
        ):
            first = round(start * rate)
            np.testing.assert_array_equal(read, array[first : first + round(2 * rate)])
