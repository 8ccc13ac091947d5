"""When all shards of a run are there: index with statistics, summary and report. Whoever finishes last does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from datamodules.shards.index import FILE_NAME, Index, ShardEntry
from datamodules.statistics import StatisticsAccumulator
from preprocessing.options import notes
from preprocessing.runs.videos import VideoWork
from preprocessing.runs.writer import whole_file, write_json
from preprocessing.sources.discovery import Skipped
from preprocessing.step import REASONS
from settings import get_logger

logger = get_logger(__name__)


def missing_shards(work: VideoWork) -> list[int]:
    """Numbers of the shards that nobody has finished yet."""
    return [shard for shard in work.shards if not work.record_path(work.name(shard)).exists()]


def merge(work: VideoWork, timings: dict[str, Any]) -> dict[str, Any] | None:
    """Write index.json, summary.json and report.html from the shards' records, then remove the unfinished work.

    Two tasks may come here at once: one waits and finds it done. Being killed on the way does no harm either.

    Args:
        work: the run.
        timings: what this process knows of wall time, for the summary.

    Returns:
        The summary, or None where another task was faster.
    """
    with work.alone("merge", wait=True) as mine:
        if not mine:
            return None
        records = work.records()
        if len(records) < len(work.names):
            return None
        statistics = StatisticsAccumulator()
        shards = []
        for record in records:
            statistics.merge(record["statistics"])
            if record["entry"] is not None:
                shards.append(ShardEntry(**record["entry"]))
        if shards and statistics.clips == 0:
            logger.warning("no clip is in the split train: the statistics for normalisation are empty")
        for name in (FILE_NAME, "summary.json", "report.html"):
            for left in work.output.glob(f".{name}.*"):
                left.unlink(missing_ok=True)  # of a merge that was killed
        index = Index(fps=work.options.fps, shards=shards, statistics=statistics.result())
        with whole_file(work.output / FILE_NAME) as file:
            file.write(index.to_bytes())
        left_out = notes(work.options)
        for note in left_out:
            logger.info(note)
        summary = summarise([video for record in records for video in record["videos"]], work.skipped)
        summary |= timings | {"notes": left_out}
        write_json(work.output / "summary.json", summary)
        summary["report"] = _report(work)
        write_json(work.output / "summary.json", summary)
        work.close()
        return summary


def summarise(videos: list[dict[str, Any]], skipped: Sequence[Skipped] = ()) -> dict[str, Any]:
    """The summary of some videos' records: counts, drops with their reasons, errors, seconds by step."""
    drops = [{"file": video["file"], **drop} for video in videos for drop in video["dropped"]]
    counted = Counter(drop["reason"] for drop in drops)
    seconds: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    for video in videos:
        seconds.update(video["seconds"])
        frames.update(video["frames"])
    kept = [sample for video in videos for sample in video["samples"]]
    return {
        "videos": len({video["video"] for video in videos}),
        "spans": sum(video["file"] != video["video"] for video in videos),
        "skipped": sum(skip.count for skip in skipped),
        "skips": [asdict(skip) for skip in skipped],
        "clips": len(kept),
        "frames": sum(sample["frames"] for sample in kept),
        "splits": dict(sorted(Counter(sample["split"] for sample in kept).items())),
        "dropped": {reason: counted[reason] for reason in REASONS if counted[reason]},
        "errors": [{"file": video["file"], "reason": video["error"]} for video in videos if video["error"]],
        "warnings": [{"file": video["file"], "warning": text} for video in videos for text in video["warnings"]],
        "cut_short": [{"file": video["file"], "detail": text} for video in videos for text in video["cut_short"]],
        "drops": drops,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "frames_per_step": dict(frames),
        "frames_per_second": {name: round(frames[name] / seconds[name], 1) for name in frames if seconds[name] > 0},
    }


def _report(work: VideoWork) -> str:
    try:
        from preprocessing.runs.report import write_report

        write_report(work.output)
    # The data are whole by now; a fault in drawing pictures of them, whatever it is, must not take them back.
    except Exception as error:
        logger.error("the shards are whole, but report.html could not be made: %s: %s", type(error).__name__, error)
        return f"failed: {type(error).__name__}: {error}"
    return "report.html"
