"""A run that makes pairs: its state, its shards and its index; several tasks of a job array may share it."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from datamodules.clip import VERSION
from datamodules.shards.index import Index, ShardEntry
from datamodules.statistics import StatisticsAccumulator
from preprocessing.negatives.networks import Networks
from preprocessing.negatives.options import Options
from preprocessing.negatives.plan import Plan
from preprocessing.runs.work import ShardWork
from settings.locks import alone


class PairWork(ShardWork):
    """The state of a run.

    Args:
        output: the output folder.
        index: of the input.
        plan: the pairs.
        networks: that make them.
        options: of the run.
    """

    run: ClassVar = "negatives.json"
    what: ClassVar = "pairs"

    def __init__(self, output: Path, index: Index, plan: Plan, networks: Networks, options: Options) -> None:
        self.index, self.plan = index, plan
        result = {
            "version": VERSION,
            "input": hashlib.sha256(index.to_bytes()).hexdigest(),
            "network": networks.sha256,
            "autoencoder": networks.autoencoder_sha256,
            "options": options.what(),
        }
        super().__init__(output, result, [name for name, _ in plan.shards])

    def finish(self) -> dict[str, Any]:
        """Write index and summary once all shards are there; "missing" says which are not."""
        missing = [name for name in self.names if not self.is_made(name)]
        if missing and not self.is_complete():
            return {"missing": missing}
        with alone(self.folder / "merge.lock", wait=True) as mine:
            if not mine:  # another task has done it
                return self.summary()
            records = self.records()
            statistics = StatisticsAccumulator()
            for record in records:
                statistics.merge(record["statistics"])
            shards = [ShardEntry(**record["entry"]) for record in records if record["entry"] is not None]
            samples = [sample for shard in shards for sample in shard.samples]
            skipped = {clip: reason for record in records for clip, reason in record["skipped"].items()}
            summary = {
                "pairs": len(samples) // 2,
                "frames": sum(sample.frames for sample in samples),
                "splits": dict(sorted(Counter(sample.split for sample in samples).items())),
                "lengths": dict(sorted(Counter(str(sample.frames) for sample in samples).items())),
                "skipped": self.plan.left_out | skipped,
                **self.inputs,
            }
            self.end(Index(fps=self.index.fps, shards=shards, statistics=statistics.result()), summary)
            return summary
