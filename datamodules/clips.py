"""Whole clips, one after the other, for evaluation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.clip import BadSample, BadSamples, ClipInfo
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index
from datamodules.shards.samples import ClipReader, ReadRequest
from datamodules.shards.table import Where, select


def read_clips(
    shards: str | Path,
    keys: tuple[str, ...],
    where: Where | None = None,
    cache: str | Path | None = None,
    bad_sample_limit: float = 0.01,
) -> Iterator[tuple[ClipInfo, dict[str, Any]]]:
    """Clips in the order of the index: clip.json and the decoded keys, as `datamodules.clip.decode` gives them.

    Damaged samples are skipped and named in the log.

    Args:
        shards: folder or URL.
        keys: what to decode beside clip.json.
        where: filters on clip.json (`datamodules.shards.table.matches`): {"split": "test"}.
        cache: folder for copies of remote shards.
        bad_sample_limit: share of damaged samples, from 20 on, that is an error.

    Raises:
        TooManyBadSamples: more samples are damaged than that.
    """
    index, folder, bad = Index.load(shards), ShardFolder(shards, cache), BadSamples(bad_sample_limit)
    table = select(index, where or {}, folder, bad.add)
    read = ClipReader(table, folder, ReadRequest(tuple(keys)), memory=0)
    for number, clip_id in enumerate(table.ids):
        try:
            clip = read(number)
        except BadSample as error:
            bad.add(clip_id, error.reason)
            bad.check(number + 1)
            continue
        yield clip.info, {key: _as_stored(key, value) for key, value in clip.values.items()}


def _as_stored(key: str, value: Any) -> Any:
    """What the schema says, in arrays that the caller may write to."""
    if not isinstance(value, dict):
        return value
    if key == "pose.npz":
        return {"keypoints": value["pose"][..., :2].copy(), "scores": value["pose"][..., 2].copy()}
    return {name: array.copy() for name, array in value.items()}
