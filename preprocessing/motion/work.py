"""An import of motion: its state, its shards and its index."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from datamodules.clip import VERSION, decode
from datamodules.shards.index import Index, ShardEntry
from datamodules.statistics import StatisticsAccumulator, counted
from preprocessing.motion.clips import REASONS, Read
from preprocessing.motion.options import Options
from preprocessing.motion.plan import ImportPlan
from preprocessing.runs.work import ShardWork
from preprocessing.runs.writer import SampleWriter, packed, sample_entry, whole_file
from settings import get_logger
from settings.hashes import file_hash

logger = get_logger(__name__)


class MotionWork(ShardWork):
    """The state of an import.

    Args:
        output: the output folder.
        options: of the import.
        plan: what there is to make.
    """

    run: ClassVar = "motion.json"
    what: ClassVar = "motion"

    def __init__(self, output: Path, options: Options, plan: ImportPlan) -> None:
        of = json.dumps(plan.made_of, sort_keys=True).encode()
        result = {"version": VERSION, "options": options.what(), "input": hashlib.sha256(of).hexdigest()}
        if options.model is not None:
            result["model"] = _sha256(options.model)
        super().__init__(output, result, [name for name, _ in plan.shards])
        self.plan = plan

    def write(self, name: str, reads: Iterable[Read]) -> None:
        """Make a shard of what was read, then its record; a shard without clips gets a record alone."""
        left_out: list[dict[str, str]] = []
        warnings: list[dict[str, str]] = []
        statistics = StatisticsAccumulator()
        with whole_file(self.output / name) as file:
            writer = SampleWriter(file)
            for read in reads:
                left_out += read.left_out
                warnings += [{"file": read.file, "warning": text} for text in read.warnings]
                for clip in read.clips:
                    data, sizes = packed(clip.info.id, clip.members)
                    writer.append(data, sample_entry(clip.info, sizes))
                    if clip.info.split == "train":
                        known = counted(clip.members)
                        statistics.add({key: decode(key, clip.members[key], clip.info.id) for key in known})
            entry = writer.end(name)
        if not writer.samples:
            (self.output / name).unlink()
        self.record(
            name,
            {
                "entry": entry if writer.samples else None,
                "statistics": statistics.state(),
                "left_out": left_out,
                "warnings": warnings,
            },
        )

    def finish(self) -> dict[str, Any]:
        """Write index and summary from the shards' records, then remove these; returns the summary."""
        records = self.records()
        statistics = StatisticsAccumulator()
        for record in records:
            statistics.merge(record["statistics"])
        result = statistics.result()
        if "body_motion" not in result:
            logger.warning("no motion is in the split train: there are no statistics of body motion")
        if self.plan.statistics is not None:
            new = {"body_motion": result["body_motion"]} if "body_motion" in result else {}
            result = self.plan.statistics | new
        shards = [ShardEntry(**record["entry"]) for record in records if record["entry"] is not None]
        samples = [sample for shard in shards for sample in shard.samples]
        left_out = [entry for record in records for entry in record["left_out"]]
        counts = Counter(entry["reason"] for entry in left_out)
        summary = {
            "files": self.plan.jobs,
            "clips": len(samples),
            "frames": sum(sample.frames for sample in samples),
            "with_motion": sum("motion.npz" in sample.keys for sample in samples),
            "splits": dict(sorted(Counter(sample.split for sample in samples).items())),
            "dropped": {reason: counts[reason] for reason in REASONS if counts[reason]},
            "drops": left_out,
            "warnings": [entry for record in records for entry in record["warnings"]],
            "unlisted": self.plan.unlisted,
        }
        self.end(Index(fps=self.plan.fps, shards=shards, statistics=result), summary)
        return summary


def _sha256(path: Path) -> str:
    return file_hash(path) if path.is_file() else str(path)
