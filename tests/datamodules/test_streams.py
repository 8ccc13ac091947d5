import numpy as np
import pytest

from datamodules.order.streams import EpochOrder, Partition, Shuffle, groups_of
from datamodules.order.windows import Cut

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(60, 750, 300)
SHARDS = np.repeat(np.arange(20), 15)
STRIDE = Cut("stride", 80, 12)


def order(epoch=0, cut=STRIDE, shards=SHARDS, frames=FRAMES, chunk=16, **shuffle):
    return EpochOrder(shards, frames, cut, Shuffle(**{"seed": 1, "buffer": 16} | shuffle), epoch, chunk)


def everything(sequence):
    return sequence.take(0, sequence.windows)


def every_window(frames=FRAMES, cut=STRIDE):
    return [(n, s) for n, f in enumerate(frames) for s in range(0, f - cut.length + 1, cut.stride)]


@pytest.mark.parametrize(
    ("clips", "streams", "chunk"), [(300, 64, 16), (300, 3, 64), (40, 64, 8), (1, 64, 8), (5, 64, 999)]
)
def test_a_lap_holds_every_window_once(clips, streams, chunk):
    taken = everything(order(shards=SHARDS[:clips], frames=FRAMES[:clips], streams=streams, chunk=chunk))
    assert sorted(taken) == every_window(FRAMES[:clips])


def test_the_order_changes_with_epoch_and_seed_alone():
    assert everything(order()) == everything(order())
    assert everything(order()) != everything(order(epoch=1))
    assert everything(order()) != everything(order(seed=2))


def test_any_place_can_be_jumped_to():
    whole = everything(order())
    for first in (0, 1, 15, 16, 1000, len(whole) - 3):
        assert order().take(first, first + 3) == whole[first : first + 3]


def test_the_sequence_goes_on_in_a_new_order_after_a_lap():
    sequence = order()
    n = sequence.windows
    first, second = sequence.take(0, n), sequence.take(n, 2 * n)
    assert sorted(first) == sorted(second)
    assert first != second
    assert sequence.take(n - 2, n + 2) == first[-2:] + second[:2]


def test_without_shuffle_the_order_is_that_of_the_index():
    assert everything(order(enabled=False)) == every_window()


def test_a_batch_mixes_clips_but_a_stream_keeps_few_open():
    sequence = order(buffer=16, streams=8, chunk=16)
    taken = everything(sequence)
    batches = [[clip for clip, _ in taken[first : first + 16]] for first in range(0, len(taken) - 16, 16)]
    assert np.mean([len(set(batch)) for batch in batches]) > 8
    stream = [clip for batch in batches[::8][:-1] for clip in batch]  # the batches of one stream
    seen = {clip: (stream.index(clip), len(stream) - stream[::-1].index(clip)) for clip in set(stream)}
    assert max(sum(first <= place < last for first, last in seen.values()) for place in range(len(stream))) <= 16


def test_random_windows_lie_in_their_clips_and_change_with_the_epoch():
    cut = Cut("random", 80, per_clip=3)
    first, second = (everything(order(epoch, cut=cut)) for epoch in (0, 1))
    assert all(0 <= start <= FRAMES[clip] - 80 for clip, start in first)
    assert len(set(first)) == len(first) == 3 * (FRAMES > 81).sum() + 2 * (FRAMES == 81).sum() + (FRAMES == 80).sum()
    assert set(first) != set(second)


def dealt(ranks, batch, position, total, steps=None, drop_last=False):
    """Places that each rank gets, step by step."""
    partitions = [Partition(rank, ranks, batch, drop_last) for rank in range(ranks)]
    count = partitions[0].steps(position, total) if steps is None else steps
    places = [partition.advance(position, total, step) for step in range(count) for partition in partitions[:1]]
    return [[partition.places(place, total) for partition in partitions] for place in places]


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [1, 5, 64, 100, 129])
def test_ranks_take_equal_steps_and_repeat_fewer_windows_than_they_are(ranks, total):
    steps = dealt(ranks, 4, 0, total)
    for step in steps:
        assert len({len(places) for places in step}) == 1
    flat = [place for step in steps for places in step for place in places]
    assert set(flat) == set(range(total))
    twice = Partition(0, ranks, 4).repeats(0, total)
    assert len(flat) - total == len(twice) <= ranks - 1
    assert sorted(flat) == sorted([*range(total), *twice])


def test_the_number_of_ranks_may_change_within_an_epoch():
    before = [p for step in dealt(4, 8, 0, 500, steps=5) for places in step for p in places]
    after = [p for step in dealt(3, 8, 5 * 4 * 8, 500) for places in step for p in places]
    assert set(before) | set(after) == set(range(500))
    assert len(before) + len(after) - 500 <= 2


def test_drop_last_leaves_out_what_fills_no_batch():
    steps = dealt(3, 4, 0, 100, drop_last=True)
    assert len(steps) == 8
    assert all(len(places) == 4 for step in steps for places in step)
    assert Partition(0, 3, 4, drop_last=True).repeats(0, 100) == []


IDS = [f"{name}-{part}-{side}" for name in range(120) for part in range(2) for side in ("real", "made")]


def paired(ids, chunk=8, **shuffle):
    shards, frames = np.arange(len(ids)) // 24, np.full(len(ids), 30)
    shuffle = Shuffle(**{"seed": 1, "pairs": True} | shuffle)
    return EpochOrder(shards, frames, Cut("clip", 1), shuffle, 0, chunk, groups_of(ids))


@pytest.mark.parametrize(("clips", "chunk"), [(480, 8), (480, 6), (20, 8), (2, 8), (480, 1000)])
def test_both_clips_of_a_pair_are_in_one_batch_and_every_clip_comes_once(clips, chunk):
    sequence = paired(IDS[:clips], chunk)
    taken = [number for number, start in sequence.take(0, clips) if start == 0]
    assert sorted(taken) == list(range(clips))
    for first in range(0, clips, chunk):
        batch = {IDS[number] for number in taken[first : first + chunk]}
        assert {name.replace("made", "real") for name in batch} == {name for name in batch if name.endswith("real")}
    assert clips == 2 or taken != list(range(clips))
    again = sequence.take(clips, 2 * clips)  # a lap in another order
    assert sorted(number for number, _ in again) == sorted(taken)
    assert clips == 2 or again != [(number, 0) for number in taken]
    assert paired(IDS[:clips], chunk).take(clips // 2, clips) == [(number, 0) for number in taken[clips // 2 :]]


def test_a_clip_whose_other_is_missing_comes_last_and_parts_no_pair():
    ids = [name for name in IDS if name not in ("7-0-real", "90-1-made")]
    taken = [ids[number] for number, _ in paired(ids).take(0, len(ids))]
    assert sorted(taken) == sorted(ids)
    assert set(taken[-2:]) == {"7-0-made", "90-1-real"}
    for one, other in zip(taken[0:-2:2], taken[1:-2:2], strict=True):
        assert one.rpartition("-")[0] == other.rpartition("-")[0]


def test_pairs_are_dealt_singly_unless_asked_for():
    taken = [IDS[number] for number, _ in paired(IDS, pairs=False).take(0, len(IDS))]
    beside = sum(a.rpartition("-")[0] == b.rpartition("-")[0] for a, b in zip(taken[0::2], taken[1::2], strict=True))
    assert beside < 20  # of 240, by chance some
