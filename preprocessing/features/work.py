"""A run that adds what a network makes of clips to shards: its state, and its index."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

from datamodules.clip import VERSION
from datamodules.keys import KEYS
from datamodules.shards.index import Index, ShardEntry
from datamodules.statistics import StatisticsAccumulator
from preprocessing.runs.work import ShardWork
from settings import get_logger

logger = get_logger(__name__)


class FeatureWork(ShardWork):
    """The state of a run.

    Args:
        output: the output folder.
        index: of the input.
        key: that is made.
        what: all that decides what comes out, beside the input, as plain values.
    """

    run: ClassVar = "features.json"
    what: ClassVar = "features"

    def __init__(self, output: Path, index: Index, key: str, what: dict[str, Any]) -> None:
        result = {"version": VERSION, "input": hashlib.sha256(index.to_bytes()).hexdigest(), **what}
        super().__init__(output, result, [shard.name for shard in index.shards])
        self.index, self.key = index, KEYS[key]

    def finish(self) -> dict[str, Any]:
        """Write index and summary from the shards' records, then remove these; returns the summary."""
        records = self.records()
        statistics = StatisticsAccumulator([self.key.name])
        for record in records:
            statistics.merge(record.get("statistics") or _of_before(record))
        if self.key.statistics and not statistics.clips:
            logger.warning("no clip is in the split train: there are no statistics of the features")
        shards = [ShardEntry(**record["entry"]) for record in records if record["entry"] is not None]
        own = {each.name for each in self.key.statistics}  # of other features of this kind, if the input has any
        known = {name: value for name, value in self.index.statistics.items() if name not in own}
        new = statistics.of_keys()
        if self.key.stem in new:
            new[self.key.stem]["network"] = self.inputs["network"]
        samples = [sample for shard in shards for sample in shard.samples]
        summary = {
            "clips": len(samples),
            "frames": sum(sample.frames for sample in samples),
            "skipped": {clip: reason for record in records for clip, reason in record["skipped"].items()},
            **self.inputs,
        }
        self.end(Index(fps=self.index.fps, shards=shards, statistics=known | new), summary)
        return summary


def _of_before(record: dict[str, Any]) -> dict[str, Any]:
    """Statistics of a shard that a version made which knew features of implicit motion alone."""
    return {"clips": 1, "frames": 0, "implicit": record["features"], "implicit_motion": record["moves"]}
