"""Reading metrics.csv."""

from pathlib import Path
from typing import Any

from settings import get_logger

logger = get_logger(__name__)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a metrics.csv: `step` and `epoch` as whole numbers, figures as floats, missing ones left out.

    A last line that was cut off in writing is left out. Rows that cannot be read, and all but the last of a step, are
    left out as well, and counted in the log.
    """
    return read_rows(Path(path))[0]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows, in the order of their steps, and how many lines were damaged or of a step that came again."""
    if not path.exists():
        return [], 0
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    columns = lines[0].split(",") if lines else []
    rows: dict[int, dict[str, Any]] = {}
    wrong: list[int] = []
    for number, line in enumerate(lines[1:], 2):
        row = _row(line, columns)
        if row is None:
            wrong.append(number)
            continue
        if row["step"] in rows:
            wrong.append(number)
        rows[row["step"]] = row
    if wrong:
        logger.warning(
            "%s: %d of %d rows left out, damaged or of a step that comes again (the first is line %d)",
            path, len(wrong), len(lines) - 1, wrong[0],
        )  # fmt: skip
    return [rows[step] for step in sorted(rows)], len(wrong)


def _row(line: str, columns: list[str]) -> dict[str, Any] | None:
    """One line's figures by column, None where it is damaged."""
    cells = line.split(",")
    if len(cells) != len(columns):
        return None
    try:
        row: dict[str, Any] = {name: float(cell) for name, cell in zip(columns, cells, strict=True) if cell}
        row |= {name: int(row[name]) for name in ("step", "epoch") if name in row}
    except (ValueError, OverflowError):
        return None
    return row if "step" in row else None
