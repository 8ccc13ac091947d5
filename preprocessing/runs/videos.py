"""A run that makes shards of videos: which video is in which shard, and parts of shards, so that a video is the unit.

output/run.json            options, list of videos, their fingerprint
output/work/parts/         part and record of every finished video
output/work/shards/        record of every finished shard; its parts are gone by then
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from datamodules.clip import VERSION
from preprocessing.options import Options, fingerprint
from preprocessing.runs.job import Job
from preprocessing.runs.work import ShardWork, size_of
from preprocessing.sources.discovery import Skipped
from preprocessing.step import SourceFile
from settings.locks import alone


class VideoWork(ShardWork):
    """The state of a run; several tasks of a job array may share it.

    Args:
        output: the output folder; made if need be.
        options: what to make.
        sources: the sorted videos.
        splits: the split of each by name.
        skipped: what was found beside them and not taken, for the summary.
    """

    run: ClassVar = "run.json"
    what: ClassVar = "a run"
    folders: ClassVar = ("parts", "shards")
    beside: ClassVar = ("summary-*.json", "report.html")

    def __init__(
        self,
        output: Path,
        options: Options,
        sources: list[SourceFile],
        splits: dict[str, str],
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.skipped = skipped
        self.options, self.sources, self.splits = options, sources, splits
        self.sizes = [size_of(source.path) for source in sources]
        self._shares = _shares(sources, self.sizes)
        videos = [
            {"file": s.name, "bytes": n, "split": splits[s.name], "row": s.row} for s, n in zip(sources, self.sizes)
        ]
        what = {"version": VERSION, "options": options.what(), "videos": videos}
        self.shards = range(-(-len(sources) // options.videos_per_shard))
        super().__init__(output, {"fingerprint": fingerprint(what), **what}, map(self.name, self.shards))

    def name(self, shard: int) -> str:
        """The file of a shard by its number."""
        return f"shard-{shard:06d}.tar"

    def record_path(self, name: str) -> Path:
        """Where the record of a finished shard is."""
        return self.folder / "shards" / f"{name.removeprefix('shard-').removesuffix('.tar')}.json"

    def jobs(self, shard: int) -> list[Job]:
        """The videos of a shard, in order."""
        count = self.options.videos_per_shard
        return [
            Job(i, self.sources[i], self.splits[self.sources[i].name], self._part(i), self._shares[i])
            for i in range(shard * count, min((shard + 1) * count, len(self.sources)))
        ]

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.tar"

    def differences(self, there: Mapping[str, Any]) -> list[str]:
        """What makes an earlier run another one: version, options, videos."""
        if there.get("fingerprint") == self.inputs["fingerprint"]:
            return []
        return _differences(there, self.inputs)

    def alone(self, name: str, wait: bool = False) -> AbstractContextManager[bool]:
        """Hold a lock that dies with the process; yields whether it was got."""
        return alone(self.folder / f"{name}.lock", wait)


def _shares(sources: list[SourceFile], sizes: list[int | None]) -> list[int]:
    """Bytes that stand for the work of each: of the file, divided over its spans by their length."""
    ends: dict[str, float] = {}
    for source in sources:
        if source.span is not None and source.span.end is not None:
            ends[source.video] = max(ends.get(source.video, 0.0), source.span.end)
    shares = []
    for source, size in zip(sources, sizes):
        span, last = source.span, ends.get(source.video, 0.0)
        part = 1.0 if span is None or span.end is None or not last else (span.end - span.start) / last
        shares.append(round((size or 0) * part))
    return shares


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What makes two runs different, in words."""
    found = []
    if old.get("version") != new["version"]:
        found.append(f"version of preprocessing: {old.get('version')} there, {new['version']} now")
    there, now = old.get("options", {}), new["options"]
    found += [f"{key}: {there.get(key)} there, {now.get(key)} now" for key in now if there.get(key) != now.get(key)]
    before = {video["file"]: video for video in old.get("videos", [])}
    after = {video["file"]: video for video in new["videos"]}
    for word, names in (
        ("new", sorted(set(after) - set(before))),
        ("gone", sorted(set(before) - set(after))),
        ("changed", sorted(name for name in set(after) & set(before) if after[name] != before[name])),
    ):
        if names:
            found.append(f"{len(names)} videos {word}, such as {names[0]}")
    return found or ["another list of videos"]
