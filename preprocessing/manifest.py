"""Which videos go in: a folder, a glob, one file, or a manifest (CSV or JSON lines) that says more about each."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from preprocessing.step import Source
from settings.registry import nearest

EXTENSIONS: Final = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv",
)  # fmt: skip
COLUMNS: Final = ("file", "id", "speaker", "language", "captions", "licence", "consent", "split", "extra")


class ManifestError(ValueError):
    """An input that cannot be used as a whole; the message names file, line and column."""


def read_sources(location: str | Path, leave_out: Path | None = None) -> list[Source]:
    """All videos of an input, sorted by name. A file that is not there is found out later, and costs only itself.

    Args:
        location: a folder (searched through, hidden ones left out), a glob with `*`, `?` or `[...]`, a video file,
            or a manifest ending in .csv, .jsonl or .json lines.
        leave_out: a folder not to look into, such as the output's.

    Raises:
        ManifestError: nothing there, no videos, a wrong column or value, or a video listed twice.
    """
    text = str(location)
    path = Path(text).expanduser()
    if path.is_dir():
        sources = _from_folder(path, leave_out)
        if not sources:
            raise ManifestError(f"no video in {path}; looked for names that end in {' '.join(EXTENSIONS)}")
    elif path.is_file():
        if path.suffix.lower() in (".csv", ".jsonl", ".json"):
            sources = _from_manifest(path)
            if not sources:
                raise ManifestError(f"{path} lists no video")
        else:
            sources = [Source(path, path.name, path.parent)]
    elif any(sign in text for sign in "*?["):
        sources = _from_glob(str(path))
        if not sources:
            raise ManifestError(f"no video matches {text}; put the pattern in quotes, and ** reaches into folders")
    else:
        raise ManifestError(f"input {text} does not exist; give a folder of videos, a glob in quotes, or a manifest")
    sources.sort(key=lambda source: source.name)
    _distinct(sources, text)
    return sources


def slug(source: Source) -> str:
    """The readable and the distinct part of a source's clip ids: `<stem>-<8 hex of its name's hash>`."""
    stem = str(source.row.get("id") or Path(source.name).stem)
    readable = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:40].strip("-") or "video"
    return f"{readable}-{hashlib.sha256(source.name.encode()).hexdigest()[:8]}"


def _from_folder(folder: Path, leave_out: Path | None) -> list[Source]:
    shut = leave_out.resolve() if leave_out is not None else None
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.suffix.lower() not in EXTENSIONS or any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        if shut is not None and shut != folder.resolve() and shut in path.resolve().parents:
            continue
        found.append(Source(path, "/".join(parts), path.parent))
    return found


def _from_glob(pattern: str) -> list[Source]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*?["))
    root = Path(*parts[:fixed]) if fixed else Path()
    paths = [Path(p) for p in glob.glob(pattern, recursive=True)]
    return [
        Source(path, path.relative_to(root).as_posix(), path.parent)
        for path in paths
        if path.is_file() and path.suffix.lower() in EXTENSIONS
    ]


def _from_manifest(manifest: Path) -> list[Source]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    rows = _csv_rows(manifest, text) if manifest.suffix.lower() == ".csv" else _jsonl_rows(manifest, text)
    sources = []
    for line, row in rows:
        where = f"{manifest}, line {line}"
        for column in row:
            if column not in COLUMNS:
                raise ManifestError(f"{where}: unknown column '{column}'; {nearest(str(column), list(COLUMNS))}")
        row = {column: value for column, value in row.items() if value not in (None, "")}
        if not isinstance(row.get("file"), str):
            raise ManifestError(f"{where}: no 'file'; every row needs the path of its video, relative to the manifest")
        path = Path(row["file"]).expanduser()
        name = path.as_posix()
        path = path if path.is_absolute() else manifest.parent / path
        sources.append(Source(path, name, path.parent, _checked(row, where)))
    return sources


def _csv_rows(manifest: Path, text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        for row in reader:
            if None in row:
                raise ManifestError(f"{manifest}, line {reader.line_num}: more cells than columns; quote the captions")
            yield reader.line_num, {str(key).strip(): (value or "").strip() for key, value in row.items()}
    except csv.Error as error:
        raise ManifestError(f"{manifest}, line {reader.line_num}: {error}") from None


def _jsonl_rows(manifest: Path, text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{manifest}, line {line}: not JSON ({error.msg}); one object a line") from None
        if not isinstance(row, dict):
            raise ManifestError(f'{manifest}, line {line}: needs an object such as {{"file": "a.mp4"}}')
        yield line, row


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    for column in ("id", "speaker", "language", "licence", "split"):
        if column in row:
            row[column] = str(row[column])
    if "split" in row and not re.fullmatch(r"[A-Za-z0-9_]+", row["split"]):
        raise ManifestError(f"{where}: split {row['split']!r} is no name such as train, val, test or test_unseen")
    for column in ("captions", "extra"):
        if isinstance(row.get(column), str):
            try:
                row[column] = json.loads(row[column])
            except json.JSONDecodeError as error:
                raise ManifestError(f"{where}: {column} is not JSON ({error.msg})") from None
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
            raise ManifestError(f"{wanted}, got {caption!r}")
        if caption["end"] < caption["start"]:
            raise ManifestError(f"{where}: a caption ends before it starts: {caption!r}")
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
    sources: list[Source], shares: Mapping[str, float], by: str = "source", seed: int = 0
) -> dict[str, str]:
    """The split of every source by name: a function of the sorted list and the seed alone.

    A `split` in the manifest wins. The others are shuffled by hash, whole speakers together where `by` is "speaker",
    and dealt out by share; from 3 groups on every split with a share gets at least one, as long as train keeps two.

    Raises:
        ManifestError: shares that are negative or do not add up to 1.
    """
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ManifestError(f"split shares must be positive and add up to 1, got {dict(shares)}")
    groups: dict[str, list[Source]] = {}
    for source in sources:
        speaker = source.row.get("speaker")
        groups.setdefault(f"speaker {speaker}" if by == "speaker" and speaker else f"source {source.name}", []).append(
            source
        )
    result: dict[str, str] = {}
    free = []
    for name, members in groups.items():
        stated = [source.row["split"] for source in members if "split" in source.row]
        # The rest of a speaker follows those of his videos whose split is stated.
        result |= {source.name: source.row.get("split", stated[0]) for source in members} if stated else {}
        if not stated:
            free.append(name)
    free.sort(key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    taken = 0
    for split, count in _deal(len(free), shares).items():
        for name in free[taken : taken + count]:
            result |= {source.name: split for source in groups[name]}
        taken += count
    return result


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


def _distinct(sources: list[Source], text: str) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        twin = seen.setdefault(slug(source), source)
        if twin is not source:
            raise ManifestError(f"{text} lists {source.name} twice; one row a video")
