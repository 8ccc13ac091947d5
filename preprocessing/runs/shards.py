"""From the parts of finished videos to a shard, its index entry and its share of the statistics."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.clip import BadSample, decode
from datamodules.statistics import StatisticsAccumulator, counted
from preprocessing.runs.job import Job
from preprocessing.runs.videos import VideoWork
from preprocessing.runs.writer import END, read_members, whole_file


class DamagedPart(RuntimeError):
    """A part file that is not what its record says, as a power cut can leave it; its video is done again.

    Args:
        job: the job of that video.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(f"the part of {job.source.name} is damaged")
        self.job = job


def assemble(work: VideoWork, shard: int) -> list[dict[str, Any]]:
    """Write a shard of finished videos, then its record, then remove their parts.

    A shard whose videos gave no clip gets a record and no file.

    Returns:
        The records of its videos.

    Raises:
        DamagedPart: after the damaged part and its record are removed.
        preprocessing.runs.writer.OutputError: the output folder cannot be written.
    """
    jobs, path = work.jobs(shard), work.output / work.name(shard)
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)
    records = []
    for job in jobs:
        record = work.read_record(job.record)
        if record is None:
            raise _remove(job)
        records.append(record)
    statistics = StatisticsAccumulator()
    entry = None
    if any(record["samples"] for record in records):
        with whole_file(path) as file:
            whole, samples, offset = hashlib.sha256(), [], 0
            for job, record in zip(jobs, records):
                if not record["samples"]:
                    continue
                for sample, data in _samples(job, record):
                    file.write(data)
                    whole.update(data)
                    samples.append({**sample, "offset": offset})
                    offset += len(data)
                    if sample["split"] == "train":
                        _add(statistics, data, sample["id"], job)
            file.write(END)
            whole.update(END)
        entry = {"name": path.name, "bytes": offset + len(END), "sha256": whole.hexdigest(), "samples": samples}
    work.record(path.name, {"entry": entry, "statistics": statistics.state(), "videos": records})
    remove_parts(jobs)
    return records


def remove_parts(jobs: list[Job]) -> None:
    """Remove the parts of a finished shard."""
    for job in jobs:
        job.record.unlink(missing_ok=True)
        job.part.unlink(missing_ok=True)


def is_assembled(work: VideoWork, shard: int) -> bool:
    """Whether a shard is finished and still there; if its file has gone, its record goes as well."""
    if not work.is_made(work.name(shard)):
        work.record_path(work.name(shard)).unlink(missing_ok=True)
        return False
    remove_parts(work.jobs(shard))
    return True


def is_done(work: VideoWork, job: Job) -> bool:
    """Whether a video is finished, with a part of the length that its record says."""
    record = work.read_record(job.record)
    if record is None:
        return False
    if record["samples"] and not (job.part.exists() and job.part.stat().st_size == record["bytes"]):
        _remove(job)
        return False
    return True


def _samples(job: Job, record: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bytes]]:
    check = hashlib.sha256()
    try:
        part = open(job.part, "rb")  # noqa: SIM115 (closed below)
    except FileNotFoundError:
        raise _remove(job) from None
    with part:
        for sample in record["samples"]:
            data = part.read(sample["size"])
            if len(data) != sample["size"]:
                raise _remove(job)
            check.update(data)
            yield sample, data
    if check.hexdigest() != record["sha256"]:
        raise _remove(job)


def _remove(job: Job) -> DamagedPart:
    job.record.unlink(missing_ok=True)
    job.part.unlink(missing_ok=True)
    return DamagedPart(job)


def _add(statistics: StatisticsAccumulator, data: bytes, clip: str, job: Job) -> None:
    arrays = {}
    try:
        members = list(read_members(data))
    except tarfile.TarError:
        raise _remove(job) from None
    for name, value in members:
        key = Path(name).name.removeprefix(f"{clip}.")
        if counted([key]):
            try:
                arrays[key] = decode(key, value, clip)
            except BadSample:
                raise _remove(job) from None
    statistics.add(arrays)
