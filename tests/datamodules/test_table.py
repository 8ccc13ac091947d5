import json

import pytest

from datamodules.clips import read_clips
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index
from datamodules.shards.table import matches, select
from settings import ConfigError
from tests.shards import write_shards

INFO = {
    "speaker": "ann",
    "frames": 100,
    "consent": True,
    "licence": None,
    "extra": {"loudness": -20.5, "deep": {"a": 1}},
}


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        ({}, True),
        ({"speaker": "ann"}, True),
        ({"speaker": ["bob", "ann"]}, True),
        ({"speaker": "bob"}, False),
        ({"speaker": "ann", "frames": {"min": 101}}, False),
        ({"frames": {"min": 100, "max": 100}}, True),
        ({"consent": True}, True),
        ({"consent": 1}, False),
        ({"licence": None}, True),
        ({"licence": {"min": 0}}, False),
        ({"extra.loudness": {"max": -20}}, True),
        ({"extra.deep.a": 1}, True),
        ({"extra.absent": 1}, False),
        ({"extra.absent": None}, True),
    ],
)
def test_filters(where, passes):
    assert matches(INFO, where) is passes


@pytest.mark.parametrize(
    ("where", "said"), [({"speakr": 1}, "did you mean 'speaker'"), ({"frames": {"mim": 1}}, "min and max")]
)
def test_filters_that_cannot_be_meant(where, said):
    with pytest.raises(ConfigError, match=said):
        matches(INFO, where)


def chosen(folder, **where):
    table = select(Index.load(folder), where, ShardFolder(folder))
    return [int(clip_id[5:13], 16) for clip_id in table.ids]


def test_any_field_of_clip_json_can_be_filtered_on(shards):
    assert chosen(shards, split="val") == [4, 9, 14, 19, 24, 29, 34, 39]
    assert chosen(shards, licence=["CC0", "CC-BY"], speaker="ann", frames={"max": 150})[:4] == [0, 4, 6, 10]
    assert chosen(shards, **{"extra.loudness": {"min": -3}}) == [0, 1, 2, 3]


def test_clip_json_is_read_once_and_then_from_the_cache(shards, cache, tmp_path):
    assert len(chosen(shards, licence="CC0")) == 14
    (kept,) = (cache / "infos").glob("*.json")
    infos = json.loads(kept.read_bytes())
    infos["clip-00000000-000"]["licence"] = "none"
    kept.write_text(json.dumps(infos))
    assert len(chosen(shards, licence="CC0")) == 13


def test_a_damaged_clip_json_is_told_and_left_out(tmp_path, cache):
    def spoil(clip, members):
        return [(key, b"{" if (clip, key) == (2, "clip.json") else data) for key, data in members]

    write_shards(tmp_path, clips=5, keys=("pose.npz",), change=spoil)
    told = []
    table = select(Index.load(tmp_path), {"language": None}, ShardFolder(tmp_path), lambda *bad: told.append(bad))
    assert len(table) == 4
    assert [clip_id for clip_id, _ in told] == ["clip-00000002-000"]


def test_whole_clips_come_in_the_order_of_the_index_with_the_keys_asked_for(shards):
    clips = list(read_clips(shards, ("pose.npz",), {"split": "val", "speaker": "bob"}))
    assert [info.id for info, _ in clips] == [f"clip-{clip:08x}-000" for clip in (9, 19, 29, 39)]
    for info, values in clips:
        assert set(values) == {"pose.npz"}
        assert values["pose.npz"]["keypoints"].shape == (info.frames, 134, 2)
        assert values["pose.npz"]["scores"].shape == (info.frames, 134)
