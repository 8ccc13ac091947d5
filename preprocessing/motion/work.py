"""What is done and what is left of an import, so that it can go on after any stop.

output/motion.json         what is being made, of what
output/work/               record of every finished shard
output/shard-000000.tar    finished shards
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from datamodules.clip import VERSION, decode
from datamodules.index import FILE_NAME, Index, ShardEntry
from datamodules.statistics import StatisticsAccumulator
from preprocessing.motion.clips import REASONS, Read
from preprocessing.motion.options import Options
from preprocessing.motion.plan import Plan
from preprocessing.work import RunError
from preprocessing.writer import (
    SampleWriter,
    member,
    refused_as_output_error,
    sample_entry,
    whole_file,
    write_json,
)
from settings import get_logger

RUN: Final = "motion.json"
SUMMARY: Final = "summary.json"
COUNTED: Final = ("pose.npz", "speech.npz", "motion.npz")
logger = get_logger(__name__)


class MotionWork:
    """The state of an import.

    Args:
        output: the output folder.
        options: of the import.
        plan: what there is to make.
    """

    def __init__(self, output: Path, options: Options, plan: Plan) -> None:
        self.output, self.plan, self._folder = output, plan, output / "work"
        of = json.dumps(plan.made_of, sort_keys=True).encode()
        self._made = {"version": VERSION, "options": options.what(), "input": hashlib.sha256(of).hexdigest()}
        if options.model is not None:
            self._made["model"] = _sha256(options.model)

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
            there = _read(path) or {}
            differing = [key for key, value in self._made.items() if there.get(key) != value]
            if differing:
                raise RunError(
                    f"{self.output} holds motion made with another {' and '.join(differing)}; give another output, or "
                    "restart=true to throw it away"
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
            if not _is_whole(self.output / shard.name, shard.bytes):
                raise RunError(f"{self.output / shard.name} is missing or damaged; make all anew with restart=true")
        return _read(self.output / SUMMARY)

    def is_made(self, name: str) -> bool:
        """Whether a shard is finished and still there."""
        record = _read(self._record(name))
        if record is None:
            return False
        return record["entry"] is None or _is_whole(self.output / name, record["entry"]["bytes"])

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
                    data = b"".join(member(f"{clip.info.id}.{key}", value) for key, value in clip.members.items())
                    sizes = {key: len(value) for key, value in clip.members.items()}
                    writer.append(data, sample_entry(clip.info, sizes, 0, len(data)))
                    if clip.info.split == "train":
                        known = {key: value for key, value in clip.members.items() if key in COUNTED}
                        statistics.add({key: decode(key, value, clip.info.id) for key, value in known.items()})
            entry = writer.end(name)
        if not writer.samples:
            (self.output / name).unlink()
        write_json(
            self._record(name),
            {
                "entry": entry if writer.samples else None,
                "statistics": statistics.state(),
                "left_out": left_out,
                "warnings": warnings,
            },
        )

    def finish(self) -> dict[str, Any]:
        """Write index and summary from the shards' records, then remove these; returns the summary."""
        records = [record for record in (_read(self._record(name)) for name, _ in self.plan.shards) if record]
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
        write_json(self.output / SUMMARY, summary)
        with whole_file(self.output / FILE_NAME) as file:
            file.write(Index(fps=self.plan.fps, shards=shards, statistics=result).to_bytes())
        shutil.rmtree(self._folder, ignore_errors=True)
        return summary

    def discard(self) -> None:
        """Throw away what earlier runs of this command made; other files stay."""
        if not (self.output / RUN).exists():
            return
        with refused_as_output_error(self.output):
            for path in (*self.output.glob("shard-*.tar"), *(self.output / name for name, _ in self.plan.shards)):
                path.unlink(missing_ok=True)
            for name in (FILE_NAME, SUMMARY, RUN):
                (self.output / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _record(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _sha256(path: Path) -> str:
    if not path.is_file():
        return str(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
