"""Everything that preprocessing can be told; the signature is the schema of its config."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from preprocessing.runs.rules import check_rules, clip_rules
from preprocessing.runs.tasks import task_of
from preprocessing.steps import CROP, FACE, POSE, QUALITY, SCENES, SMPLX, SPEECH
from settings import Choice
from settings.ranges import Count, Fps, Fraction, NonNegative, Pixels, Positive, Seed, Whole

HOW_ONLY: Final = (
    "input", "output", "workers", "video_timeout", "task_index", "task_count", "restart", "progress",
)  # fmt: skip
"""Options that say where and how fast, not what: a run may go on with others."""


@dataclass(frozen=True)
class Options:
    """Make shards of a folder of talking videos: decode, cut, pose, face, speech, quality filter, shards, report.

    Stop it at any time and start it again with the same options: it goes on where it stood, and what comes out is the
    same to the byte. In a SLURM job array every task does its share and the last one writes the index.

    Args:
        input: folder, glob in quotes, one video, or a manifest (.csv or .jsonl with a column `file`).
        output: folder for shards, index, summary and report.
        fps: frames a second of every clip.
        size: longest side of the stored video in pixels; where it is cropped, the shortest side of the picture that is
            cut, and so the side of the square; never enlarged.
        min_clip_seconds: shorter pieces are dropped.
        max_clip_seconds: longer pieces are cut; at most 30.
        scenes: what finds scene cuts.
        when_cut: split a video at its scene cuts, or drop the pieces that a cut borders on.
        when_past_end: cut a span of a manifest that reaches past the end of its video, or drop it.
        pose: pose back end.
        face: face back end.
        smplx: SMPL-X fitter; it needs a licensed body model, so it is off unless `smplx=fit smplx.model=PATH`.
        speech: speech features, one or several; an empty list leaves them out.
        quality: quality filter and its thresholds.
        crop: cut every video around the person, square or to a frame of one shape, or leave it as it is.
        splits: share of the sources for each split; a split column in the manifest wins.
        split_by: what stays together in one split.
        seed: of the splits.
        videos_per_shard: shard k holds the clips of videos k n to (k + 1) n of the sorted list.
        workers: processes; 0 works in this one, none takes one per core.
        video_timeout: seconds after which a video is given up and named in the errors; none waits for ever.
        task_index: which task of a job array this is, from 0; none asks SLURM.
        task_count: how many tasks there are; none asks SLURM.
        restart: throw away what an earlier run left in the output folder.
        progress: say how far it is and how long it still takes.
    """

    input: str
    output: str
    fps: Fps = 25.0
    size: Pixels = 512
    min_clip_seconds: NonNegative = 2.0
    max_clip_seconds: Positive = 30.0
    scenes: Annotated[dict, Choice(SCENES)] = field(default_factory=lambda: {"name": "content"})
    when_cut: Literal["split", "drop"] = "split"
    when_past_end: Literal["clip", "drop"] = "clip"
    pose: Annotated[dict, Choice(POSE)] = field(default_factory=lambda: {"name": "mediapipe"})
    face: Annotated[dict, Choice(FACE)] = field(default_factory=lambda: {"name": "mediapipe"})
    smplx: Annotated[dict, Choice(SMPLX)] = field(default_factory=lambda: {"name": "off"})
    speech: list[Annotated[dict, Choice(SPEECH)]] = field(default_factory=lambda: [{"name": "handcrafted"}])
    quality: Annotated[dict, Choice(QUALITY)] = field(default_factory=lambda: {"name": "default"})
    crop: Annotated[dict, Choice(CROP)] = field(default_factory=lambda: {"name": "off"})
    splits: dict[str, Fraction] = field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    split_by: Literal["source", "speaker"] = "source"
    seed: Seed = 0
    videos_per_shard: Count = 16
    workers: Whole | None = None
    video_timeout: Positive | None = None
    task_index: Whole | None = None
    task_count: Count | None = None
    restart: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        rules = [
            ("fps", 1 <= self.fps <= 240, "between 1 and 240"),
            ("size", self.size >= 16, "at least 16"),
            *clip_rules(self),
            ("videos_per_shard", self.videos_per_shard >= 1, "at least 1"),
            ("workers", self.workers is None or self.workers >= 0, "0 or more"),
            ("video_timeout", self.video_timeout is None or self.video_timeout > 0, "above 0, or none"),
        ]
        check_rules(self, rules)

    def what(self) -> dict[str, Any]:
        """The options that decide what comes out, as plain values."""
        return {name: value for name, value in asdict(self).items() if name not in HOW_ONLY}

    def task(self) -> tuple[int, int]:
        """(index, count) of this task (`preprocessing.runs.tasks.task_of`)."""
        return task_of(self.task_index, self.task_count)


def notes(options: Options) -> list[str]:
    """What a run leaves out without being told to, for the log and the summary."""
    if options.smplx["name"] != "off":
        return []
    return [
        "no SMPL-X parameters (smplx is off): smplx=fit smplx.model=SMPLX_NEUTRAL.npz makes them; the model file is "
        "free for research after registration at https://smpl-x.is.tue.mpg.de"
    ]


def fingerprint(value: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def worker_count(options: Options, videos: int) -> int:
    """How many processes to start: as many as there are cores to use and videos to do."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdigit():
        cores = int(granted)
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores if options.workers is None else options.workers, max(videos, 1))


def output_folder(options: Options) -> Path:
    """The output folder, user sign expanded."""
    return Path(options.output).expanduser()
