"""A run that adds features of implicit motion's base network to shards: its state, and its index."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

from datamodules.clip import VERSION
from datamodules.shards.index import Index, ShardEntry
from datamodules.statistics import Moments
from models.implicit_motion.motion_encoder import MOTION
from preprocessing.runs.shard_work import ShardWork
from settings import get_logger

logger = get_logger(__name__)


class FeatureWork(ShardWork):
    """The state of a run.

    Args:
        output: the output folder.
        index: of the input.
        what: all that decides what comes out, beside the input, as plain values.
    """

    run: ClassVar = "features.json"
    what: ClassVar = "features"

    def __init__(self, output: Path, index: Index, what: dict[str, Any]) -> None:
        made = {"version": VERSION, "input": hashlib.sha256(index.to_bytes()).hexdigest(), **what}
        super().__init__(output, made, [shard.name for shard in index.shards])
        self.index = index

    def finish(self) -> dict[str, Any]:
        """Write index and summary from the shards' records, then remove these; returns the summary."""
        records = self.records()
        features, moves = Moments((MOTION,)), Moments((MOTION,))
        for record in records:
            features.merge(record["features"])
            moves.merge(record["moves"])
        if not features.count.any():
            logger.warning("no clip is in the split train: the statistics of the features are empty")
        shards = [ShardEntry(**record["entry"]) for record in records if record["entry"] is not None]
        statistics = self.index.statistics | {
            "implicit": {
                "mean": features.mean.tolist(),
                "std": features.std().tolist(),
                "network": self._made["network"],
            },
            "implicit_motion": {"std": moves.std().tolist()},
        }
        samples = [sample for shard in shards for sample in shard.samples]
        summary = {
            "clips": len(samples),
            "frames": sum(sample.frames for sample in samples),
            "skipped": {clip: reason for record in records for clip, reason in record["skipped"].items()},
            **self._made,
        }
        self.close(Index(fps=self.index.fps, shards=shards, statistics=statistics), summary)
        return summary
