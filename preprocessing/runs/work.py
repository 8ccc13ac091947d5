"""What is done and what is left: the state of a run on disk, so that it can go on after any stop.

output/run.json            what is being made: options, list of videos, their fingerprint
output/work/parts/         part and record of every finished video
output/work/shards/        record of every finished shard; its parts are gone by then
output/shard-000000.tar    finished shards
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

from datamodules.clip import VERSION
from datamodules.shards.index import FILE_NAME
from preprocessing.options import Options, fingerprint
from preprocessing.runs.job import Job
from preprocessing.runs.writer import make_folder, refused_as_output_error, write_json
from preprocessing.sources.discovery import Skipped
from preprocessing.step import SourceFile
from settings.locks import alone

MADE_HERE: Final = ("shard-*.tar", FILE_NAME, "summary.json", "summary-*.json", "report.html", "run.json")


class RunError(RuntimeError):
    """The output folder does not fit what is asked for; the message says what to do."""


class Work:
    """The state of a run.

    Args:
        output: the output folder; made if need be.
        options: what to make.
        sources: the sorted videos.
        splits: the split of each by name.
        skipped: what was found beside them and not taken, for the summary.
    """

    def __init__(
        self,
        output: Path,
        options: Options,
        sources: list[SourceFile],
        splits: dict[str, str],
        skipped: Sequence[Skipped] = (),
    ) -> None:
        self.skipped = skipped
        self.output, self.options, self.sources, self.splits = output, options, sources, splits
        self.folder = output / "work"
        self.sizes = [_size(source.path) for source in sources]
        self._shares = _shares(sources, self.sizes)
        videos = [
            {"file": s.name, "bytes": n, "split": splits[s.name], "row": s.row} for s, n in zip(sources, self.sizes)
        ]
        what = {"version": VERSION, "options": options.what(), "videos": videos}
        self.made = {"fingerprint": fingerprint(what), **what}

    @property
    def shards(self) -> range:
        """Numbers of all shards, also of those that will hold nothing."""
        return range(-(-len(self.sources) // self.options.videos_per_shard))

    def shard_path(self, shard: int) -> Path:
        """The shard's tar file."""
        return self.output / f"shard-{shard:06d}.tar"

    def shard_record_path(self, shard: int) -> Path:
        """The record of a finished shard."""
        return self.folder / "shards" / f"{shard:06d}.json"

    def jobs(self, shard: int) -> list[Job]:
        """The videos of a shard, in order."""
        count = self.options.videos_per_shard
        return [
            Job(i, self.sources[i], self.splits[self.sources[i].name], self._part(i), self._shares[i])
            for i in range(shard * count, min((shard + 1) * count, len(self.sources)))
        ]

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:06d}.tar"

    def is_complete(self) -> bool:
        """Whether an earlier run has made all of this.

        Raises:
            RunError: it has, but shards are missing or of another size.
        """
        if self.folder.exists() or not (self.output / FILE_NAME).exists() or not (self.output / "run.json").exists():
            return False
        from datamodules.shards.index import Index

        for shard in Index.load(self.output).shards:
            if _size(self.output / shard.name) != shard.bytes:
                raise RunError(
                    f"{self.output} was finished, but {shard.name} is missing or damaged; "
                    f"look with `python -m preprocessing.verify {self.output}`, make anew with restart=true"
                )
        return True

    def claim(self) -> None:
        """Begin, or go on with what an earlier run of the same options left.

        Raises:
            RunError: the folder holds something else.
            preprocessing.runs.writer.OutputError: it cannot be written.
        """
        make_folder(self.output)
        path = self.output / "run.json"
        if not path.exists():
            others = [found.name for pattern in MADE_HERE[:2] for found in self.output.glob(pattern)]
            if others:
                raise RunError(
                    f"{self.output} holds {others[0]} of an unknown run; give another output, or restart=true"
                )
            self._claim_first(path)
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
            mark = there["fingerprint"]
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{path} is damaged; give another output, or restart=true") from None
        if mark == self.made["fingerprint"]:
            return
        if self._is_untouched():
            # Nothing was finished, as after a typing error in an option: there is nothing to lose.
            write_json(path, self.made)
        else:
            raise RunError(
                f"{self.output} holds a run with other options ({'; '.join(_differences(there, self.made)[:4])}); "
                "start it with the same ones to go on, give another output, or restart=true to throw it away"
            )

    def _is_untouched(self) -> bool:
        made = [path for pattern in MADE_HERE[:2] for path in self.output.glob(pattern)]
        return not made and not list(self.folder.glob("*/*.json"))

    def _claim_first(self, path: Path) -> None:
        """Write run.json unless another task of the same array was faster."""
        temporary = path.with_name(f".run.json.{uuid.uuid4().hex[:12]}.tmp")
        try:
            write_json(temporary, self.made)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return
            except OSError:
                # A file system without hard links: the last one to write wins, and is compared with below.
                with refused_as_output_error(self.output):
                    os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def open(self) -> None:
        """Make the folders for unfinished work, and sweep up what a killed run left of a removal."""
        with refused_as_output_error(self.output):
            for name in ("parts", "shards"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._sweep()

    def discard(self) -> None:
        """Throw away all that earlier runs made in the output folder; other files stay."""
        if not self.output.exists():
            return
        with refused_as_output_error(self.output):
            for pattern in MADE_HERE:
                for path in self.output.glob(pattern):
                    path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Remove the unfinished work; renamed first, so that half of it is never taken for the whole."""
        if self.folder.exists():
            with suppress(FileNotFoundError):  # another task was faster
                os.replace(self.folder, self.output / f".work-{uuid.uuid4().hex[:12]}")
        self._sweep()

    def _sweep(self) -> None:
        for old in self.output.glob(".work-*"):
            shutil.rmtree(old, ignore_errors=True)

    def read_record(self, path: Path) -> dict[str, Any] | None:
        """A record, None where there is none or no whole one."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def alone(self, name: str, wait: bool = False) -> AbstractContextManager[bool]:
        """Hold a lock that dies with the process; yields whether it was got."""
        return alone(self.folder / f"{name}.lock", wait)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


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


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
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
