"""What is done and what is left of a run that adds features to shards, so that it can go on after any stop.

output/features.json       what is being made: from which shards, by which network
output/work/               record of every finished shard
output/shard-000000.tar    finished shards, named as in the input
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Final

from datamodules.clip import VERSION
from datamodules.index import FILE_NAME, Index, ShardEntry
from datamodules.statistics import Moments
from models.implicit_motion.motion_encoder import MOTION
from preprocessing.work import RunError
from preprocessing.writer import refused_as_output_error, whole_file, write_json
from settings import get_logger

RUN: Final = "features.json"
SUMMARY: Final = "summary.json"
logger = get_logger(__name__)


class FeatureWork:
    """The state of a run.

    Args:
        output: the output folder.
        index: of the input.
        what: all that decides what comes out, beside the input, as plain values.
    """

    def __init__(self, output: Path, index: Index, what: dict[str, Any]) -> None:
        self.output, self.index, self._folder = output, index, output / "work"
        self._made = {"version": VERSION, "input": hashlib.sha256(index.to_bytes()).hexdigest(), **what}

    def path(self, shard: ShardEntry) -> Path:
        """The new shard's tar file."""
        return self.output / shard.name

    def claim(self) -> None:
        """Begin, or go on with what an earlier run left.

        Raises:
            RunError: the folder holds something else.
            preprocessing.writer.OutputError: it cannot be written.
        """
        with refused_as_output_error(self.output):
            self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / RUN
        if path.exists():
            there = _read(path)
            differing = [key for key, value in self._made.items() if there is None or there.get(key) != value]
            if differing:
                raise RunError(
                    f"{self.output} holds features made with another {' and '.join(differing)}; give another output, "
                    "or restart=true to throw them away"
                )
        else:
            others = [found.name for found in (*self.output.glob("*.tar"), *self.output.glob(FILE_NAME))]
            if others:
                raise RunError(f"{self.output} holds {others[0]} of another run; give another output")
            write_json(path, self._made)
        if not (self.output / FILE_NAME).exists():
            with refused_as_output_error(self.output):
                self._folder.mkdir(exist_ok=True)

    def finished(self) -> dict[str, Any] | None:
        """The summary of an earlier run that has made all of this.

        Raises:
            RunError: it has, but a shard is missing or of another size.
        """
        if self._folder.exists() or not (self.output / FILE_NAME).exists():
            return None
        for shard in Index.load(self.output).shards:
            if not _is_whole(self.path(shard), shard.bytes):
                raise RunError(f"{self.path(shard)} is missing or damaged; make all anew with restart=true")
        return _read(self.output / SUMMARY)

    def is_made(self, shard: ShardEntry) -> bool:
        """Whether a shard is finished and still there."""
        record = _read(self._record(shard))
        if record is None:
            return False
        return record["entry"] is None or _is_whole(self.path(shard), record["entry"]["bytes"])

    def record(self, shard: ShardEntry, record: dict[str, Any]) -> None:
        """Note that a shard is finished: "entry" of the index, moments of "features" and "moves", "skipped"."""
        write_json(self._record(shard), record)

    def finish(self) -> dict[str, Any]:
        """Write index and summary from the shards' records, then remove these; returns the summary."""
        records = [record for record in (_read(self._record(shard)) for shard in self.index.shards) if record]
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
        write_json(self.output / SUMMARY, summary)
        with whole_file(self.output / FILE_NAME) as file:
            file.write(Index(fps=self.index.fps, shards=shards, statistics=statistics).to_bytes())
        shutil.rmtree(self._folder, ignore_errors=True)
        return summary

    def discard(self) -> None:
        """Throw away what earlier runs of this command made; other files stay."""
        if not (self.output / RUN).exists():
            return
        with refused_as_output_error(self.output):
            names = [FILE_NAME, SUMMARY, *(shard.name for shard in self.index.shards), RUN]
            if (self.output / FILE_NAME).exists():
                names = [shard.name for shard in Index.load(self.output).shards] + names
            for name in names:
                (self.output / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _record(self, shard: ShardEntry) -> Path:
        return self._folder / f"{shard.name}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size
