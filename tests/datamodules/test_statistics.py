"""Normalisation statistics and the index that carries them."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.shards.index import Index, IndexFileError, SampleEntry, ShardEntry
from datamodules.statistics import FLOOR, StatisticsAccumulator


def clip(seed: int, frames: int) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    scores = rng.random((frames, 134)).astype(np.float32)
    scores[:, 20:24] = 0
    keypoints = rng.normal(0.5, 0.1, (frames, 134, 2)).astype(np.float32)
    keypoints[scores == 0] = -1
    return {
        "pose.npz": {"keypoints": keypoints, "scores": scores},
        "speech.npz": {"handcrafted": rng.normal(3, 2, (frames, 35)).astype(np.float32)},
    }


def test_statistics_equal_those_of_all_frames_at_once() -> None:
    clips = [clip(seed, frames) for seed, frames in enumerate((50, 7, 120))]
    accumulator = StatisticsAccumulator()
    for item in clips:
        accumulator.add(item)
    result = accumulator.result()
    points = np.concatenate([c["pose.npz"]["keypoints"] for c in clips]).astype(np.float64)
    speech = np.concatenate([c["speech.npz"]["handcrafted"] for c in clips]).astype(np.float64)
    np.testing.assert_allclose(np.array(result["pose"]["mean"])[:20], points.mean(0)[:20], atol=1e-6)
    np.testing.assert_allclose(np.array(result["pose"]["std"])[:20], points.std(0)[:20], atol=1e-6)
    np.testing.assert_allclose(result["handcrafted"]["std"], speech.std(0), atol=1e-6)
    assert result["frames"] == 177


def test_missing_points_and_still_points_are_safe_to_divide_by() -> None:
    item = clip(0, 30)
    item["pose.npz"]["keypoints"][:, 0] = 0.25
    accumulator = StatisticsAccumulator()
    accumulator.add(item)
    result = accumulator.result()
    assert result["pose"]["std"][0] == [FLOOR, FLOOR]
    assert result["pose"]["std"][21] == [1.0, 1.0]


def index() -> Index:
    entry = SampleEntry(id="a-0", keys={"clip.json": 10}, frames=50, offset=0, size=1024)
    return Index(fps=25, shards=[ShardEntry(name="shard-000000.tar", bytes=10240, sha256="0" * 64, samples=[entry])])


def test_an_index_comes_back(tmp_path: Path) -> None:
    index().save(tmp_path)
    assert Index.load(tmp_path) == index()
    assert Index.load(tmp_path / "index.json").samples == 1
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1}', b"[]"])
def test_a_damaged_index_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "index.json").write_bytes(damage)
    with pytest.raises(IndexFileError, match="is damaged"):
        Index.load(tmp_path)


def test_a_missing_index_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match=r"preprocessing\.run"):
        Index.load(tmp_path / "nowhere")
