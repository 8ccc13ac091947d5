"""The rows of a manifest, whatever wrote it: CSV of any delimiter, JSON lines, a JSON list; UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ENDINGS: Final = (".csv", ".tsv", ".jsonl", ".json")
_DELIMITERS: Final = ",;\t|"
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(-?(?:NaN|Infinity)|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)')


class ManifestError(ValueError):
    """An input that cannot be used as a whole; the message names file, line and column."""


def read_rows(manifest: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with the place it stands at, as messages name it; cells of CSV are texts.

    Args:
        manifest: ends in one of `ENDINGS`.
        columns: the names that columns may have; they tell the delimiter.

    Raises:
        ManifestError: not text, not CSV or JSON, a name twice, or NaN or an infinite number anywhere.
    """
    text = _text(manifest)
    if manifest.suffix.lower() in (".csv", ".tsv"):
        yield from _csv(manifest, text, columns)
    elif text.lstrip().startswith("["):
        yield from _list(manifest, text)
    else:
        yield from _lines(manifest, text)


def read_json(text: str) -> Any:
    """A JSON value of strict JSON: no NaN, no infinite number, no name twice, no half of a sign.

    Raises:
        ValueError: it is none; a message, and where it stands in the text as `json.JSONDecodeError` has it.
    """
    value, end = _value(text, 0)
    if text[end:].strip():
        raise json.JSONDecodeError("something stands behind it", text, end)
    return value


def _text(manifest: Path) -> str:
    data = manifest.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None:
        # Without a mark, every other byte of plain letters is 0.
        zeros = [data[i:200:2].count(0) > 10 for i in (0, 1)]
        encoding = "utf-16-be" if zeros[0] and not zeros[1] else "utf-16-le" if zeros[1] and not zeros[0] else "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ManifestError(
            f"{manifest}, line {line}, column {column}: not {encoding.upper()} text ({error.reason}); save it as UTF-8"
        ) from None
    return text.removeprefix("\ufeff")


def _csv(manifest: Path, text: str, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(1 << 30)
    first, _, rest = text.partition("\n")
    skipped = 0
    if match := re.fullmatch(r"sep=(.)\r?", first):  # Excel's own way to say it
        text, skipped, delimiter = rest, 1, match[1]
    else:
        delimiter = _delimiter(text, columns)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = skipped + 1
    try:
        for cells in reader:
            where = f"{manifest}, line {line}"
            line = reader.line_num + skipped + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                for number, name in enumerate(header, 1):
                    if name in header[: number - 1]:
                        raise ManifestError(f"{where}, column {number}: '{name}' stands there twice")
                continue
            if len(cells) > len(header):
                raise ManifestError(
                    f"{where}, column {len(header) + 1}: more cells than columns; quote what holds the delimiter"
                )
            yield where, {name: cell.strip() for name, cell in zip(header, cells)}
    except csv.Error as error:
        raise ManifestError(f"{manifest}, line {line}: {error}") from None


def _delimiter(text: str, columns: tuple[str, ...]) -> str:
    """The sign that divides the first line into most names of columns; a comma where none does better."""
    header = next(iter(text.strip().splitlines()), "")
    known = {
        sign: sum(name.strip().strip('"').lower() in columns for name in header.split(sign)) for sign in _DELIMITERS
    }
    return max(_DELIMITERS, key=lambda sign: (known[sign], header.count(sign) if known[sign] == 0 else 0))


def _lines(manifest: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Not `splitlines`: signs such as U+2028 end no line of JSON, they may stand in a text.
    for line, content in enumerate(re.split(r"\r\n|\n" if "\n" in text else r"\r", text), 1):
        if not content.strip():
            continue
        where = f"{manifest}, line {line}"
        try:
            row = read_json(content)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{where}, column {error.colno}: not JSON ({error.msg}); one object a line") from None
        yield where, _object(row, where)


def _list(manifest: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of `[{...}, {...}]`."""
    at = _space(text, text.index("[") + 1)
    try:
        while not text.startswith("]", at):
            where = f"{manifest}, line {_place(text, at)[0]}"
            row, at = _value(text, at)
            yield where, _object(row, where)
            at = _space(text, at)
            if text.startswith(",", at):
                at = _space(text, at + 1)
            elif not text.startswith("]", at):
                raise json.JSONDecodeError("a comma or ] is wanted", text, at)
        if _space(text, at + 1) < len(text):
            raise json.JSONDecodeError("something stands behind the list", text, at + 1)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{manifest}, line {error.lineno}, column {error.colno}: not JSON ({error.msg})") from None


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ManifestError(f'{where}: needs an object such as {{"file": "a.mp4"}}')
    return row


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _value(text: str, at: int) -> tuple[Any, int]:
    """One JSON value from a place on, and the place after it."""
    at = _space(text, at)
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        raise
    except _RefusedError as error:
        raise json.JSONDecodeError(str(error), text, _found(text, at, error.word)) from None
    except RecursionError:
        raise json.JSONDecodeError("lists within lists too deep to be read", text, at) from None


class _RefusedError(ValueError):
    """Something that JSON readers let pass."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.word = word


def _found(text: str, at: int, word: str) -> int:
    """Where a number, a sign or a name stands."""
    for match in _TOKENS.finditer(text, at):
        if word in (match[1], match[0]):
            return match.start()
    return at


def _number(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise _RefusedError(f"{word} is no finite number", word)
    return value


def _whole(word: str) -> int:
    if len(word) > 300:
        raise _RefusedError(f"a number of {len(word)} digits", word)
    return int(word)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _RefusedError(f"'{name}' stands there twice", json.dumps(name))
        for half in (name, value):
            if isinstance(half, str) and not half.isascii():
                try:
                    half.encode()
                except UnicodeEncodeError:
                    raise _RefusedError(f"'{name}' holds half of a sign (\\ud800 to \\udfff)", "") from None
        result[name] = value
    return result


_DECODER: Final = json.JSONDecoder(
    parse_constant=_number, parse_float=_number, parse_int=_whole, object_pairs_hook=_pairs
)
