"""What is done and what is left of a run that makes shards one by one, so that it can go on after any stop.

output/RUN.json            what is being made, of what
output/work/               record of every finished shard
output/shard-000000.tar    finished shards
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

from datamodules.shards.index import FILE_NAME, Index
from preprocessing.runs.work import RunError
from preprocessing.runs.writer import make_folder, refused_as_output_error, whole_file, write_json

SUMMARY: Final = "summary.json"


class ShardWork:
    """The state of a run.

    Args:
        output: the output folder.
        made: all that decides what comes out, as plain values.
        names: of the shards, finished or not.

    Attributes:
        run: file that says what is being made.
        what: what the shards hold, for messages.
    """

    run: ClassVar[str]
    what: ClassVar[str]

    def __init__(self, output: Path, made: dict[str, Any], names: Iterable[str]) -> None:
        self.output, self._made, self._names, self._folder = output, made, list(names), output / "work"

    def claim(self) -> None:
        """Begin, or go on with what an earlier run left.

        Raises:
            RunError: the folder holds something else.
            preprocessing.runs.writer.OutputError: it cannot be written.
        """
        make_folder(self.output)
        path = self.output / self.run
        if path.exists():
            there = _read(path) or {}
            differing = [key for key, value in self._made.items() if there.get(key) != value]
            if differing:
                raise RunError(
                    f"{self.output} holds {self.what} made with another {' and '.join(differing)}; give another "
                    "output, or restart=true to make it anew"
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

    def record(self, name: str, record: dict[str, Any]) -> None:
        """Note that a shard is finished: its "entry" of the index (None without samples), and what else is wanted."""
        write_json(self._record(name), record)

    def records(self) -> list[dict[str, Any]]:
        """Those of all finished shards, in order."""
        return [record for record in (_read(self._record(name)) for name in self._names) if record]

    def close(self, index: Index, summary: dict[str, Any]) -> None:
        """Write summary and index, the index last, and remove the records."""
        write_json(self.output / SUMMARY, summary)
        with whole_file(self.output / FILE_NAME) as file:
            file.write(index.to_bytes())
        shutil.rmtree(self._folder, ignore_errors=True)

    def discard(self) -> None:
        """Throw away what earlier runs of this command made; other files stay."""
        if not (self.output / self.run).exists():
            return
        with refused_as_output_error(self.output):
            names = [FILE_NAME, SUMMARY, *self._names, self.run]
            if (self.output / FILE_NAME).exists():
                names = [shard.name for shard in Index.load(self.output).shards] + names
            for path in (*self.output.glob("shard-*.tar"), *(self.output / name for name in names)):
                path.unlink(missing_ok=True)
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
