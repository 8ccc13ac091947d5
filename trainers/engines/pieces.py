"""A checkpoint in pieces: a folder in which every rank has written what it holds, readable by any number of ranks.

    step-00000100.ckpt/
        manifest.json                         written last: files with sizes and checksums, shapes of the parameters
        state.pt                              what Lightning keeps, without tensors of the network
        rank-00000-of-00002.safetensors       "<kind>/<name>@<first element>", flat

A kind is `weight`, `average` (EMA), `optimizer.<number>.<key>` (as long as the parameter), `value.<number>.<key>` (one
number a parameter) or, from the first rank, `buffer`. Pieces know where in the whole parameter they lie and nothing of
the engine that held them, so DDP, FSDP and ZeRO read each other's, and other numbers of ranks as well. Nothing in the
folder runs code when it is opened.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainers.run.errors import CheckpointError

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

MANIFEST: Final = "manifest.json"
STATE: Final = "state.pt"
_BLOCK: Final = 1 << 22
_VERSION: Final = 1


def is_in_pieces(path: str | Path) -> bool:
    """Whether a path is a checkpoint in pieces, whole or not."""
    return Path(path).is_dir()


def key_of(kind: str, name: str, start: int) -> str:
    """Name of a piece in its file."""
    return f"{kind}/{name}@{start}"


class Writer:
    """Writes one checkpoint, all ranks together: whole or not at all.

    Args:
        path: folder of the checkpoint.
        rank, ranks: which of how many.
        gather: gives every rank the objects of all ranks, in order (a collective).
    """

    def __init__(self, path: str | Path, rank: int, ranks: int, gather: Callable[[Any], list[Any]]):
        self.path, self.rank, self.ranks, self._gather = Path(path), rank, ranks, gather
        self._temporary = self.path.with_name(f".{self.path.name}.writing")

    def write(self, pieces: Mapping[str, Tensor], state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write this rank's pieces and, on the first rank, state and manifest.

        Args:
            pieces: flat tensors by `key_of`.
            state: what `torch.save` writes and `weights_only` loading reads; the first rank's counts.
            about: entries of the manifest; the first rank's count.

        Raises:
            CheckpointError: some rank could not write; raised on all ranks, and what was there before stays whole.
        """
        self._together(self._prepare)
        name = f"rank-{self.rank:05d}-of-{self.ranks:05d}.safetensors"
        files = self._together(lambda: self._write_file(name, lambda path: save_file(_apart(pieces), path)))
        self._together(lambda: self._finish(files, state, about) if self.rank == 0 else None)

    def _prepare(self) -> None:
        if self.rank == 0:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)

    def _write_file(self, name: str, write: Callable[[Path], Any]) -> dict[str, Any]:
        path = self._temporary / name
        write(path)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        return {"name": name, "bytes": path.stat().st_size, "crc32": checksum(path)}

    def _finish(self, files: list[Any], state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        files.append(self._write_file(STATE, lambda path: torch.save(dict(state), path)))
        manifest = {"version": _VERSION, "ranks": self.ranks, **about, "files": files}
        text = json.dumps(manifest)
        self._write_file(MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))
        sync_folder(self._temporary)
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.is_dir():
            os.replace(self.path, old)
        elif self.path.exists():
            self.path.unlink()
        os.replace(self._temporary, self.path)
        sync_folder(self.path.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _together(self, act: Callable[[], Any]) -> list[Any]:
        """Act on every rank; an error of one is an error of all."""
        result, wrong = None, None
        try:
            result = act()
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch's writer turns an OSError of the file into a RuntimeError of its own.
            cause = error if isinstance(error, OSError) else (error.__context__ or error)
            wrong = f"rank {self.rank}: {cause}" if self.ranks > 1 else str(cause)
        results = self._gather((result, wrong))
        errors = [message for _, message in results if message]
        if errors:
            if self.rank == 0:
                shutil.rmtree(self._temporary, ignore_errors=True)
            raise CheckpointError(errors[0])
        return [given for given, _ in results]


class Reader:
    """Reads a checkpoint in pieces; tensors are read when they are asked for, and only what is asked for.

    Args:
        path: folder of the checkpoint.

    Raises:
        CheckpointError: no such checkpoint, or one that is not whole.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.shapes: dict[str, list[int]] = self.manifest["shapes"]
        self._files = {
            file["name"]: safe_open(self.path / file["name"], "pt")
            for file in self.manifest["files"]
            if file["name"].endswith(".safetensors")
        }
        self._places: dict[str, dict[str, list[tuple[int, str, str]]]] = {}
        for name, file in self._files.items():
            for key in file.keys():  # noqa: SIM118 - it is no dictionary
                kind, rest = key.split("/", 1)
                parameter, start = rest.rsplit("@", 1)
                self._places.setdefault(kind, {}).setdefault(parameter, []).append((int(start), name, key))

    def state(self) -> dict[str, Any]:
        """What Lightning keeps."""
        return load(self.path / STATE)

    def kinds(self, prefix: str = "") -> list[str]:
        """Kinds of pieces that are there."""
        return [kind for kind in self._places if kind.startswith(prefix)]

    def names(self, kind: str) -> list[str]:
        """Names that have pieces of a kind."""
        return list(self._places.get(kind, {}))

    def take(self, kind: str, name: str, start: int = 0, count: int | None = None) -> Tensor | None:
        """Elements `start` to `start + count` of a flattened tensor; None when it is not there.

        Buffers and single values come whole.

        Raises:
            CheckpointError: some of it is missing.
        """
        places = self._places.get(kind, {}).get(name)
        if places is None:
            return None
        if kind == "buffer" or kind.startswith("value."):
            _, file, key = places[0]
            return self._files[file].get_tensor(key)
        if count is None:
            count = max(0, _count(self.shapes[name]) - start)
        taken, missing = None, count
        for first, file, key in sorted(places):
            piece = self._files[file].get_slice(key)
            low, high = max(first, start), min(first + piece.get_shape()[0], start + count)
            if low >= high:
                continue
            part = piece[low - first : high - first]
            if taken is None:
                taken = torch.empty(count, dtype=part.dtype)
            taken[low - start : high - start] = part
            missing -= high - low
        if missing:
            raise CheckpointError(f"checkpoint {self.path} lacks {missing} of {count} elements of {kind} {name}")
        return torch.empty(0) if taken is None else taken


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint in pieces. Raises CheckpointError when there is none that can be read."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read checkpoint {path}: its {MANIFEST} is missing or damaged ({error})"
        ) from None
    if manifest.get("version") != _VERSION:
        raise CheckpointError(f"checkpoint {path} has format {manifest.get('version')}, this version reads {_VERSION}")
    return manifest


def damage_in_pieces(path: Path) -> str | None:
    """What is wrong with a checkpoint in pieces, or None (every byte is checked against its checksum)."""
    try:
        manifest = read_manifest(path)
    except CheckpointError as error:
        return str(error)
    for file in manifest["files"]:
        part = path / file["name"]
        if not part.is_file() or part.stat().st_size != file["bytes"]:
            return f"its part {file['name']} is missing or cut off"
        if checksum(part) != file["crc32"]:
            return f"its part {file['name']} fails the checksum"
    return None


def load(path: Path, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """Read a file of `torch.save` and run no code from it; with `mmap` tensors stay there. Raises CheckpointError."""
    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except Exception as error:
        # A damaged file fails in the zip reader, the unpickler or the storages, each with errors of its own.
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"cannot read checkpoint {path}: {what} (files with anything but tensors and plain values are refused)"
        ) from None


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            crc = crc32(block, crc)
    return crc


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _apart(pieces: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On CPU, none sharing memory with another, as safetensors wants them."""
    return {key: piece.detach().to("cpu", copy=True).contiguous() for key, piece in pieces.items()}


def _count(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count
