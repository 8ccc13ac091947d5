"""One job: a video in, its part file and its record out. Nothing that a video does can end the run."""

from __future__ import annotations

import tempfile
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocessing.pipeline import Dropped, Pipeline
from preprocessing.runs.writer import SPACE, OutputError, PartWriter, whole_file, write_json
from preprocessing.sources.discovery import readable
from preprocessing.step import SourceFile


@dataclass(frozen=True)
class Job:
    """One video to do.

    Attributes:
        number: place of the video in the sorted list.
        source: the video.
        split: of its clips.
        part: path of its part file; the record stands beside it, ending in .json.
        bytes: size of the video, for the progress bar.
    """

    number: int
    source: SourceFile
    split: str
    part: Path
    bytes: int = 0

    @property
    def record(self) -> Path:
        """Where the record is written; once it is there, the video is done."""
        return self.part.with_suffix(".json")

    def sweep(self) -> None:
        """Remove what a killed process was writing for this video."""
        for path in (self.part, self.record):
            for left in path.parent.glob(f".{path.name}.*.tmp"):
                left.unlink(missing_ok=True)


def do_job(pipeline: Pipeline, job: Job) -> dict[str, Any]:
    """Process a video and write part and record; a fault of the video stands in the record as its `error`.

    Raises:
        OutputError: the output folder cannot be written, which is no fault of the video.
    """
    pipeline.clock.restart()
    record = empty_record(job)
    warnings: list[str] = record["warnings"]
    try:
        with whole_file(job.part) as file:
            part = PartWriter(file)
            for clip in pipeline.clips(job.source, job.split, warnings, record["cut_short"]):
                record["clips"] += 1
                if isinstance(clip, Dropped):
                    record["dropped"].append(asdict(clip))
                    continue
                with pipeline.clock.step("write", frames=clip.info.frames):
                    part.add(clip)
        record |= {"samples": part.samples, "bytes": part.bytes, "sha256": part.sha256}
    except OutputError:
        raise
    except OSError as error:
        if error.errno not in SPACE:
            record = _failed(job, error, warnings)
        else:
            # Sound on its way lies in the system's folder for temporary files.
            raise OutputError(f"the disk is full: {error} (temporary files are in {tempfile.gettempdir()})") from error
    # A broken video must cost that video alone: whatever reading or measuring it raises is named in the summary.
    except Exception as error:
        record = _failed(job, error, warnings)
    record["seconds"] = {name: round(value, 6) for name, value in pipeline.clock.seconds.items()}
    record["frames"] = dict(pipeline.clock.frames)
    write_json(job.record, record)
    return record


def _failed(job: Job, error: Exception, warnings: list[str]) -> dict[str, Any]:
    job.part.unlink(missing_ok=True)
    return empty_record(job) | {"error": _sentence(error), "warnings": warnings}


def fail_job(job: Job, reason: str) -> dict[str, Any]:
    """Write the record of a video that took its process down or too long."""
    record = empty_record(job) | {"error": reason}
    job.sweep()
    job.part.unlink(missing_ok=True)
    write_json(job.record, record)
    return record


def empty_record(job: Job) -> dict[str, Any]:
    """What is known of a video before it is opened."""
    return {
        "number": job.number, "file": job.source.name, "video": job.source.video, "clips": 0, "samples": [], "bytes": 0,
        "sha256": None, "dropped": [], "error": None, "warnings": [], "cut_short": [], "seconds": {}, "frames": {},
    }  # fmt: skip


def _sentence(error: Exception) -> str:
    """An error as one line; what is no error of ours or of a file says where it came from."""
    text = readable(" ".join(str(error).split())) or type(error).__name__
    if type(error).__module__.split(".")[0] in ("datamodules", "preprocessing", "settings"):
        return text
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} (in {Path(last.filename).name}, line {last.lineno})"
