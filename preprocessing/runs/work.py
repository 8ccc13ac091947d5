"""What is done and what is left of a run that makes shards, so that it can go on after any stop.

output/RUN.json            what is being made, of what
output/work/               what is unfinished, and a record of every finished shard; it goes away at the end
output/shard-000000.tar    finished shards
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final

from datamodules.shards.index import FILE_NAME, Index, IndexFileError
from preprocessing.runs.writer import make_folder, refused_as_output_error, whole_file, write_json

SUMMARY: Final = "summary.json"
_SHARDS: Final = "shard-*.tar"


class RunError(RuntimeError):
    """The output folder does not fit what is asked for; the message says what to do."""


class ShardWork:
    """The state of a run on disk: `begin` (`claim`, `is_complete`, `open`), a `record` for each shard, and `end`.

    Args:
        output: the output folder; made if need be.
        inputs: all that decides what comes out, as plain values.
        names: of the shards, finished or not, also of those that will hold nothing.

    Attributes:
        run: file that says what is being made.
        what: what that is, for messages.
        folders: inside of the folder for what is unfinished.
        beside: patterns of what else a run leaves in the output folder.
    """

    run: ClassVar[str]
    what: ClassVar[str]
    folders: ClassVar[tuple[str, ...]] = ()
    beside: ClassVar[tuple[str, ...]] = ()

    def __init__(self, output: Path, inputs: dict[str, Any], names: Iterable[str]) -> None:
        self.output, self.inputs, self.names, self.folder = output, inputs, list(names), output / "work"

    def claim(self) -> None:
        """Begin, or go on with what an earlier run of the same options left.

        Raises:
            RunError: the folder holds something else.
            preprocessing.runs.writer.OutputError: it cannot be written.
        """
        make_folder(self.output)
        path = self.output / self.run
        if not path.exists():
            if others := self._results():
                raise RunError(f"{self.output} holds {others[0].name} of an unknown run; give another output")
            self._claim_first(path)
        there = self.read_record(path)
        if there is None:
            raise RunError(f"{path} is damaged; give another output, or restart=true")
        changed = self.differences(there)
        if not changed:
            return
        if self._results() or any(self.folder.glob("**/*.json")):
            raise RunError(
                f"{self.output} holds {self.what} with other options ({'; '.join(changed[:4])}); start it with the "
                "same ones to go on, give another output, or restart=true to throw it away"
            )
        write_json(path, self.inputs)  # nothing was finished, as after a typing error in an option: nothing is lost

    def begin(self, restart: bool = False) -> bool:
        """Claim the folder and open it, with a restart thrown away before; False where an earlier run has made it all.

        Raises:
            RunError: the folder holds something else, or a finished run that is not whole.
            preprocessing.runs.writer.OutputError: it cannot be written.
        """
        if restart:
            self.discard()
        self.claim()
        if self.is_complete():
            return False
        self.open()
        return True

    def differences(self, there: Mapping[str, Any]) -> list[str]:
        """What makes an earlier run another one, in words; empty where it is the same."""
        return [f"another {key}" for key, value in self.inputs.items() if there.get(key) != value]

    def is_complete(self) -> bool:
        """Whether an earlier run has made all of this.

        Raises:
            RunError: it has, but shards are missing or of another size.
        """
        if self.folder.exists() or not all((self.output / name).exists() for name in (FILE_NAME, self.run)):
            return False
        for shard in Index.load(self.output).shards:
            if size_of(self.output / shard.name) != shard.bytes:
                raise RunError(
                    f"{self.output} was finished, but {shard.name} is missing or damaged; "
                    f"look with `python -m preprocessing.verify {self.output}`, make anew with restart=true"
                )
        return True

    def summary(self) -> dict[str, Any]:
        """What a finished run says of itself. Raises RunError where it is gone."""
        summary = self.read_record(self.output / SUMMARY)
        if summary is None:
            raise RunError(f"{self.output / SUMMARY} is missing or damaged; make all anew with restart=true")
        return summary

    def open(self) -> None:
        """Make the folders for what is unfinished, and sweep up what a killed run left of a removal."""
        with refused_as_output_error(self.output):
            for name in ("", *self.folders):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._sweep()

    def record_path(self, name: str) -> Path:
        """Where the record of a finished shard is."""
        return self.folder / f"{name}.json"

    def is_made(self, name: str) -> bool:
        """Whether a shard is finished and still there."""
        record = self.read_record(self.record_path(name))
        if record is None:
            return False
        return record["entry"] is None or size_of(self.output / name) == record["entry"]["bytes"]

    def record(self, name: str, record: dict[str, Any]) -> None:
        """Note that a shard is finished: its "entry" of the index (None without samples), and what else is wanted."""
        write_json(self.record_path(name), record)

    def records(self) -> list[dict[str, Any]]:
        """Those of all finished shards, in order."""
        return [record for name in self.names if (record := self.read_record(self.record_path(name))) is not None]

    def end(self, index: Index, summary: dict[str, Any]) -> None:
        """Write summary and index, and remove what was unfinished."""
        write_json(self.output / SUMMARY, summary)
        with whole_file(self.output / FILE_NAME) as file:
            file.write(index.to_bytes())
        self.close()

    def close(self) -> None:
        """Remove the unfinished work; renamed first, so that half of it is never taken for the whole."""
        if self.folder.exists():
            with suppress(FileNotFoundError):  # another task was faster
                os.replace(self.folder, self.output / f".work-{uuid.uuid4().hex[:12]}")
        self._sweep()

    def discard(self) -> None:
        """Throw away what earlier runs of this command made; other files stay, and so do shards of unknown runs."""
        if not (self.output / self.run).exists():
            return
        with refused_as_output_error(self.output):
            beside = [path for pattern in self.beside for path in self.output.glob(pattern)]
            for path in (*self._results(), *beside, self.output / SUMMARY):
                path.unlink(missing_ok=True)
            self.close()
            (self.output / self.run).unlink(missing_ok=True)  # last: it says whose the others are

    def read_record(self, path: Path) -> dict[str, Any] | None:
        """A file of plain values; None where there is none or no whole one."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def _results(self) -> list[Path]:
        """Index and shards that are there, whoever made them."""
        names = {FILE_NAME: None, **dict.fromkeys(self.names)}
        with suppress(IndexFileError):
            names |= dict.fromkeys(shard.name for shard in Index.load(self.output).shards)
        names |= dict.fromkeys(path.name for path in sorted(self.output.glob(_SHARDS)))
        return [path for name in names if (path := self.output / name).exists()]

    def _claim_first(self, path: Path) -> None:
        """Write what is being made unless another task of the same array was faster."""
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            write_json(temporary, self.inputs)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return
            except OSError:
                # A file system without hard links: the last one to write wins, and is compared with.
                with refused_as_output_error(self.output):
                    os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for old in self.output.glob(".work-*"):
            shutil.rmtree(old, ignore_errors=True)


def size_of(path: Path) -> int | None:
    """Bytes of a file; None where it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return None
