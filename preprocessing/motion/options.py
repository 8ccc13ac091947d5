"""Every option of `python -m preprocessing.motion`. The typed class is the command's schema and its help."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from preprocessing.runs.rules import check_rules, clip_rules
from preprocessing.steps import SPEECH
from settings import Choice
from settings.ranges import Count, Fraction, NonNegative, Positive, Seed, Whole

HOW_ONLY: Final = ("input", "output", "model", "cache", "workers", "restart", "progress")
"""Options that say where and how fast, not what."""


@dataclass(frozen=True)
class Options:
    """Make shards of motion clips (VA-1): vectors of body motion at 20 fps, with sound and words where there are any.

    Stop it at any time and start it again with the same options: finished shards are kept. What cannot be used is left
    out, counted by reason and named in summary.json.

    Args:
        input: folder of SMPL-X files (AMASS, BEAT2), a HumanML3D folder, or folder or URL of shards.
        output: folder for shards, index and summary.
        format: what the input is; auto looks.
        up: axis that points up in SMPL-X files; auto looks which way the bodies stand, file by file.
        model: SMPL-X model file; its joints for each file's betas take the place of the stated skeleton's.
        rotations: of HumanML3D clips: found anew from the joints, as ours are defined, or kept as they are.
        speech: features of the sound, one kind or several; an empty list leaves them out.
        when_shorter: keep a motion whole whose sound or words end before it, or cut it to them; either is
            named in the warnings.
        min_clip_seconds: shorter pieces are dropped.
        max_clip_seconds: longer takes are cut into equal pieces; at most 30.
        language: of what is spoken or written, such as en; kept in every clip.
        licence: kept in every clip.
        splits: share of the files for each split, where the data set does not say.
        split_by: what stays together in one split.
        seed: of the splits.
        files_per_shard: shard k holds the clips of files k n to (k + 1) n of the sorted list.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
        workers: processes that read files; 0 reads in this one.
        restart: throw away what an earlier run left in the output folder.
        progress: say how far it is and how long it still takes.
    """

    input: str
    output: str
    format: Literal["auto", "smplx", "humanml3d", "shards"] = "auto"
    up: Literal["auto", "y", "z"] = "auto"
    model: Path | None = None
    rotations: Literal["found", "kept"] = "found"
    speech: list[Annotated[dict, Choice(SPEECH)]] = field(default_factory=lambda: [{"name": "handcrafted"}])
    when_shorter: Literal["keep", "cut"] = "keep"
    min_clip_seconds: NonNegative = 1.0
    max_clip_seconds: Positive = 30.0
    language: str | None = None
    licence: str | None = None
    splits: dict[str, Fraction] = field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    split_by: Literal["source", "speaker"] = "source"
    seed: Seed = 0
    files_per_shard: Count = 64
    cache: Path | None = None
    workers: Whole = 0
    restart: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        rules = [
            ("files_per_shard", self.files_per_shard >= 1, "at least 1"),
            ("workers", self.workers >= 0, "0 or more"),
        ]
        check_rules(self, [*clip_rules(self), *rules])

    def what(self) -> dict[str, Any]:
        """The options that decide what comes out, as plain values."""
        return {name: value for name, value in asdict(self).items() if name not in HOW_ONLY}
