"""Which videos go in: a folder, a glob, one file, or a manifest (CSV or JSON) that says more or names spans."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from preprocessing.sources.discovery import (
    EXTENSIONS,
    Skipped,
    from_folder,
    from_glob,
    readable,
    same_content,
    without_copies,
)
from preprocessing.sources.rows import ENDINGS, ManifestError, read_json, read_rows
from preprocessing.step import SourceFile, fragment
from preprocessing.videos.span import Span, read_crop, seconds
from settings.registry import nearest

COLUMNS: Final = (
    "file", "start", "end", "crop", "id", "speaker", "language", "captions", "licence", "consent", "split", "extra",
)  # fmt: skip


def read_sources(
    location: str | Path, leave_out: Path | None = None, skipped: list[Skipped] | None = None
) -> list[SourceFile]:
    """All videos of an input, sorted by name. A file that is not there is found out later, and costs only itself.

    Args:
        location: a folder (searched through, hidden ones left out), a glob with `*`, `?` or `[...]`, a video file,
            or a manifest ending in .csv, .tsv, .jsonl or .json.
        leave_out: a folder not to look into, such as the output's.
        skipped: gets what was found and not taken, links and copies of folders and globs among it; a manifest's rows
            are all taken.

    Raises:
        ManifestError: nothing there, no videos, a wrong column or value, or a video listed twice.
    """
    skipped = [] if skipped is None else skipped
    text = str(location)
    path = Path(text).expanduser()
    if path.is_dir():
        sources = without_copies(from_folder(path, leave_out, skipped), skipped)
        if not sources:
            raise ManifestError(f"no video in {path}; looked for names that end in {' '.join(EXTENSIONS)}")
    elif path.is_file():
        if path.suffix.lower() in ENDINGS:
            sources = _from_manifest(path)
            if not sources:
                raise ManifestError(f"{path} lists no video")
        else:
            sources = [SourceFile(path, readable(path.name), path.parent)]
    elif any(sign in text for sign in "*?["):
        sources = without_copies(from_glob(str(path), skipped), skipped)
        if not sources:
            raise ManifestError(f"no video matches {text}; put the pattern in quotes, and ** reaches into folders")
    else:
        raise ManifestError(f"input {text} does not exist; give a folder of videos, a glob in quotes, or a manifest")
    sources.sort(key=lambda source: (source.video, source.span.start if source.span else 0.0, source.name))
    _distinct(sources, text)
    return sources


def slug(source: SourceFile) -> str:
    """The readable and the distinct part of a source's clip ids: `<stem>-<8 hex of its name's hash>`."""
    stem = str(source.row.get("id") or Path(source.video).stem)
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:40].strip("-") or "video"
    return f"{readable}-{hashlib.sha256(source.name.encode()).hexdigest()[:8]}"


def _from_manifest(manifest: Path) -> list[SourceFile]:
    sources: list[SourceFile] = []
    twins: dict[str, str] = {}
    spelled: dict[str, str] = {}
    splits: dict[str, tuple[str, str]] = {}
    for where, given in read_rows(manifest, COLUMNS):
        for column in given:
            if column not in COLUMNS:
                raise ManifestError(f"{where}: unknown column '{column}'; {nearest(str(column), list(COLUMNS))}")
        row = {column: value for column, value in given.items() if value not in (None, "")}
        if not isinstance(row.get("file"), str) or "\0" in row["file"]:
            raise ManifestError(f"{where}: no 'file'; every row needs the path of its video, relative to the manifest")
        source = _source(manifest, row, where)
        there = os.path.normpath(os.path.abspath(source.path))
        part = fragment(source.span, source.crop)
        # However its path is spelled in other rows, a video has one name.
        source = replace(source, name=spelled.setdefault(there, source.video) + part)
        split = source.row.get("split")
        if split and splits.setdefault(there, (split, where))[0] != split:
            before, at = splits[there]
            raise ManifestError(
                f"{where}: {source.video} is in split {split} here and in {before} at {at}; all spans of one video "
                "go into one split, or a network is tested on what it was trained on"
            )
        if (before := twins.setdefault(there + part, where)) != where:
            raise ManifestError(f"{where}: {source.name} is listed twice, the first time at {before}")
        sources.append(source)
    return sources


def _source(manifest: Path, given: dict[str, Any], where: str) -> SourceFile:
    row = _checked(given, where)
    path = Path(row["file"]).expanduser()
    name = path.as_posix()
    path = path if path.is_absolute() else manifest.parent / path
    start, end, crop = (row.pop(column, None) for column in ("start", "end", "crop"))
    span = Span(start or 0.0, end) if start is not None or end is not None else None
    if span is not None and span.end is not None and span.end <= span.start:
        raise ManifestError(f"{where}, column 'end': {end:g} s is not after the start at {span.start:g} s")
    return SourceFile(path, name + fragment(span, crop), path.parent, row, span, crop)


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    for column in ("id", "speaker", "language", "licence", "split"):
        if column in row:
            if isinstance(row[column], (dict, list)):
                raise ManifestError(f"{where}, column '{column}': needs a text, got {row[column]!r}")
            row[column] = str(row[column])
    if "split" in row and not re.fullmatch(r"[A-Za-z0-9_]+", row["split"]):
        raise ManifestError(f"{where}: split {row['split']!r} is no name such as train, val, test or test_unseen")
    for column, read in (("start", seconds), ("end", seconds), ("crop", read_crop)):
        if column in row:
            try:
                row[column] = read(row[column])
            except ValueError as error:
                raise ManifestError(f"{where}, column '{column}': {error}") from None
    for column in ("captions", "extra"):
        if isinstance(row.get(column), str):
            try:
                row[column] = read_json(row[column])
            except json.JSONDecodeError as error:
                raise ManifestError(
                    f"{where}, column '{column}': {column} is not JSON ({error.msg} at its sign {error.pos + 1})"
                ) from None
    if "captions" in row:
        row["captions"] = _captions(row["captions"], where)
    if not isinstance(row.get("extra", {}), dict):
        raise ManifestError(f"{where}: extra needs an object of names and values")
    if "consent" in row:
        row["consent"] = {"true": True, "yes": True, "false": False, "no": False}.get(
            str(row["consent"]).lower(), row["consent"] if isinstance(row["consent"], bool) else str(row["consent"])
        )
    return row


def _captions(value: Any, where: str) -> list[dict[str, Any]]:
    wanted = f'{where}: captions need a list such as [{{"start": 0.0, "end": 1.5, "text": "hello"}}]'
    if not isinstance(value, list):
        raise ManifestError(wanted)
    captions = []
    for caption in value:
        if not isinstance(caption, Mapping) or not _spanned(caption) or set(caption) != {"start", "end", "text"}:
            raise ManifestError(f"{wanted}, got {caption!r}"[:400])
        if not isinstance(caption["text"], (str, int, float)):
            raise ManifestError(f"{where}: the text of a caption has to be one, got {caption['text']!r}")
        if caption["end"] < caption["start"]:
            raise ManifestError(f"{where}: a caption ends before it starts: {caption!r}"[:400])
        captions.append({"start": float(caption["start"]), "end": float(caption["end"]), "text": str(caption["text"])})
    return sorted(captions, key=lambda caption: (caption["start"], caption["end"]))


def _spanned(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(edge), (int, float)) and not isinstance(value.get(edge), bool) for edge in ("start", "end")
    )


def cut_spans(spans: list[dict[str, Any]], start: float, end: float) -> list[dict[str, Any]]:
    """What of a list of time spans (`start`, `end`, anything else) falls into a clip, in seconds of the clip."""
    return [
        {**span, "start": round(max(span["start"], start) - start, 6), "end": round(min(span["end"], end) - start, 6)}
        for span in spans
        if span["start"] < end and (span["end"] > start or span["start"] >= start)
    ]


def cut_extra(extra: Mapping[str, Any], start: float, end: float) -> dict[str, Any]:
    """A source's `extra` for one clip: every list of time spans in it is cut as captions are, the rest kept."""
    return {
        name: cut_spans(value, start, end) if isinstance(value, list) and value and all(map(_spanned, value)) else value
        for name, value in extra.items()
    }


def assign_splits(
    sources: list[SourceFile], shares: Mapping[str, float], by: str = "source", seed: int = 0
) -> dict[str, str]:
    """The split of every source by name: a function of the sorted list and the seed alone.

    A `split` in the manifest wins. The others are shuffled by hash, whole speakers together where `by` is "speaker"
    and files of the same content in any case, and dealt out by share; from 3 groups on every split with a share gets at
    least one, as long as train keeps two.

    Raises:
        ManifestError: shares that are negative or do not add up to 1, or copies of one video in several stated splits.
    """
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ManifestError(f"split shares must be positive and add up to 1, got {dict(shares)}")
    copies = same_content(source for source in sources if source.path is not None)
    groups, videos = _groups(sources, by, copies), _stated(sources, copies)
    result: dict[str, str] = {}
    free = []
    for name, members in groups.items():
        stated = [source.row["split"] for source in members if "split" in source.row]
        # The rest of a video and of its copies follows what is stated of it; that of a speaker, of his other videos.
        result |= {source.name: videos.get(source.video, stated[0]) for source in members} if stated else {}
        if not stated:
            free.append(name)
    free.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    taken = 0
    for split, count in _deal(len(free), shares).items():
        for name in free[taken : taken + count]:
            result |= {source.name: split for source in groups[name]}
        taken += count
    return result


def _stated(sources: list[SourceFile], copies: list[list[SourceFile]]) -> dict[str, str]:
    """The stated split of each video, by its name; that of its copies where it has none of its own."""
    stated: dict[str, str] = {}
    for source in sources:
        if "split" in source.row:
            stated.setdefault(source.video, source.row["split"])
    for group in copies:
        named = {source.video: stated[source.video] for source in group if source.video in stated}
        if len(set(named.values())) > 1:
            where = ", ".join(f"{video} ({split})" for video, split in named.items())
            raise ManifestError(
                f"{where} are copies of one video in several splits: give them one, or take the copies out, or a "
                "network is tested on what it was trained on"
            )
        stated |= {source.video: next(iter(named.values())) for source in group if named}
    return stated


def _groups(sources: list[SourceFile], by: str, copies: list[list[SourceFile]]) -> dict[str, list[SourceFile]]:
    """What stays together in one split, by the name of its first member."""

    def key(source: SourceFile) -> str:
        speaker = source.row.get("speaker")
        return f"speaker {speaker}" if by == "speaker" and speaker else f"source {source.video}"

    joined: dict[str, str] = {}

    def top(name: str) -> str:
        while name in joined:
            name = joined[name]
        return name

    for same in copies:
        for other in same[1:]:
            first, *rest = sorted({top(key(same[0])), top(key(other))})
            joined |= dict.fromkeys(rest, first)
    groups: dict[str, list[SourceFile]] = {}
    for source in sources:
        groups.setdefault(top(key(source)), []).append(source)
    return groups


def _deal(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many groups each split gets; the largest share gets what rounding leaves."""
    largest = max(shares, key=lambda split: shares[split])
    counts = dict.fromkeys(shares, 0)
    left = total
    for split, share in shares.items():
        if split == largest or share == 0:
            continue
        count = round(total * share)
        if count == 0 and left > 2:
            count = 1
        counts[split] = min(count, left)
        left -= counts[split]
    counts[largest] += left
    return counts


def _distinct(sources: list[SourceFile], text: str) -> None:
    seen: dict[str, SourceFile] = {}
    for source in sources:
        twin = seen.setdefault(slug(source), source)
        if twin is not source:
            raise ManifestError(f"{text} lists {source.name} twice; one row a video")
