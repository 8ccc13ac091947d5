"""Looking for videos in folders and by patterns: every file once, and whatever is not taken by name and reason."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from preprocessing.step import SourceFile
from settings.hashes import file_hash

EXTENSIONS: Final = (
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg",
    ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".mxf", ".3gp", ".3g2", ".ogv", ".ogm", ".dv", ".rm", ".rmvb",
    ".mod", ".tod",
)  # fmt: skip
# What stands beside videos and is none; not opened to see.
_BESIDE: Final = (
    ".npz", ".npy", ".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".srt", ".vtt", ".ass", ".textgrid", ".xml",
    ".yaml", ".yml", ".pkl", ".pickle", ".pt", ".pth", ".h5", ".bvh", ".wav", ".mp3", ".flac", ".m4a", ".aac", ".opus",
    ".ogg", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".heic", ".bmp", ".tif", ".tiff", ".zip", ".tar", ".gz", ".html",
    ".py", ".sh", ".log", ".pdf", ".tar",
)  # fmt: skip
_MAGIC: Final = re.compile(
    rb"....ftyp(?!M4A )|....moov|....mdat|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|OggS|\x00\x00\x01\xba"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11|\x06\x0e\x2b\x34|G.{187}G|.{4}G.{191}G",
    re.DOTALL,
)


@dataclass(frozen=True)
class Skipped:
    """Something that was found and not taken.

    Attributes:
        file: its path relative to the input, or what several have in common.
        reason: why.
        count: how many files these are.
    """

    file: str
    reason: str
    count: int = 1


def readable(name: str) -> str:
    """A name for messages and records; bytes of a file name that are not UTF-8 are written as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace") if not name.isascii() else name


def from_folder(folder: Path, leave_out: Path | None, skipped: list[Skipped]) -> list[SourceFile]:
    """All videos of a folder and what is linked into it; hidden ones are counted, `leave_out` is not looked into."""
    return _take(_walk(folder, leave_out, skipped), folder, skipped)


def from_glob(pattern: str, skipped: list[Skipped]) -> list[SourceFile]:
    """All videos that a pattern matches."""
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*?["))
    root = Path(*parts[:fixed]) if fixed else Path()
    loops: Counter[Path] = Counter()
    found = []
    for path in (Path(text) for text in glob.glob(pattern, recursive=True)):
        if loop := _loop_in(path.parent, root):
            loops[loop] += 1
        elif not path.is_dir():
            found.append(path)
    skipped += [
        Skipped(_name(loop, root), "a link back to a folder that it stands in", count) for loop, count in loops.items()
    ]
    return _take(found, root, skipped)


def same_content(sources: Iterable[SourceFile]) -> list[list[SourceFile]]:
    """Sources of different files with the same bytes, in groups; only files of equal size are read."""
    by_size: defaultdict[int, dict[str, list[SourceFile]]] = defaultdict(dict)
    for source in sources:
        try:
            real, size = os.path.realpath(source.path), source.path.stat().st_size
        except OSError:
            continue  # said when its turn comes
        by_size[size].setdefault(real, []).append(source)
    groups: defaultdict[str, list[SourceFile]] = defaultdict(list)
    for size, files in by_size.items():
        if len(files) < 2 or size == 0:
            continue
        for members in files.values():
            try:
                groups[file_hash(members[0].path)] += members
            except OSError:
                continue
    return [group for group in groups.values() if len({os.path.realpath(source.path) for source in group}) > 1]


def without_copies(sources: list[SourceFile], skipped: list[Skipped]) -> list[SourceFile]:
    """The sources with one of each content: the first by name."""
    left_out = set()
    for group in same_content(sources):
        first, *others = sorted(group, key=lambda source: source.name)
        left_out |= {other.name for other in others}
        skipped += [Skipped(other.name, f"a copy of {first.name}") for other in others]
    return [source for source in sources if source.name not in left_out]


def _walk(folder: Path, leave_out: Path | None, skipped: list[Skipped]) -> Iterator[Path]:
    shut = leave_out.resolve() if leave_out is not None else None
    if shut == folder.resolve():
        shut = None
    seen = {folder.resolve(): folder}
    hidden = 0
    waiting = [folder]
    while waiting:
        here = waiting.pop(0)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: (entry.is_symlink(), entry.name))
        except OSError as error:
            skipped.append(Skipped(_name(here, folder), f"a folder that cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                hidden += Path(entry.name).suffix.lower() in EXTENSIONS
                continue
            if not path.is_dir():
                yield path
                continue
            real = path.resolve()
            if real == shut:
                continue
            if real in seen:
                back = real in here.resolve().parents or real == here.resolve()
                why = "a link back to a folder that it stands in" if back else "a folder that is taken already"
                skipped.append(Skipped(_name(path, folder), why))
                continue
            seen[real] = path
            # Real folders first, so that a video's name is that of its own place and not of a link to it.
            waiting.append(path)
            waiting.sort(key=lambda path: path.is_symlink())
    if hidden:
        skipped.append(Skipped("hidden files", "hidden (the name begins with a dot)", hidden))


def _take(paths: Iterable[Path], root: Path, skipped: list[Skipped]) -> list[SourceFile]:
    taken: dict[str, Path] = {}
    beside: Counter[str] = Counter()
    real = {path: os.path.realpath(path) for path in paths}
    # Of several names of one file, its own comes before links, then the shortest.
    for path in sorted(real, key=lambda p: (real[p] != os.path.abspath(p), len(p.parts), str(p))):
        if path.is_symlink() and not path.exists():
            skipped.append(Skipped(_name(path, root), "a link to a file that is not there"))
        elif not path.is_file():
            skipped.append(Skipped(_name(path, root), "neither a file nor a folder"))
        elif not _is_video(path):
            beside[path.suffix.lower() or "no ending"] += 1
        elif real[path] in taken:
            skipped.append(Skipped(_name(path, root), f"a link to {_name(taken[real[path]], root)}"))
        else:
            taken[real[path]] = path
    skipped += [
        Skipped(f"*{ending}" if ending.startswith(".") else ending, "no video by name or content", count)
        for ending, count in sorted(beside.items())
    ]
    return [SourceFile(path, _name(path, root), path.parent) for path in taken.values()]


def _is_video(path: Path) -> bool:
    """By its ending, or by its first bytes where the ending is missing or unknown."""
    ending = path.suffix.lower()
    if ending in EXTENSIONS or ending in _BESIDE:
        return ending in EXTENSIONS
    try:
        with open(path, "rb") as file:
            return _MAGIC.match(file.read(512)) is not None
    except OSError:
        return not ending  # what is in the way is said when its turn comes


def _loop_in(folder: Path, root: Path) -> Path | None:
    """The first link on the way from `root` to `folder` that leads back to a folder on that way."""
    if folder in (root, folder.parent):
        return None
    above = _loop_in(folder.parent, root)
    if above is not None or not folder.is_symlink():
        return above
    real = folder.resolve()
    here = folder.parent.resolve()
    return folder if real == here or real in here.parents else None


def _name(path: Path, root: Path) -> str:
    return readable(path.relative_to(root).as_posix())
