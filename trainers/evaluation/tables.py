"""Figures as a table to read, as JSON and as CSV, with the paper's own beside them."""

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reports import Cell, Page
from trainers.evaluation.comparison import METHOD, Figure, best_of

_ACROSS: Final = 8  # columns of the paper's table that a terminal holds
SEEN: Final = " (SEEN IN TRAINING: there are no held-out clips, so this says nothing of new speech)"


def as_text(results: Mapping[str, Any], width: int = 132) -> str:
    """Tables for a terminal: one per split, then the paper's."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=io.StringIO(), width=width, no_color=True)
    seeds = len(results["settings"]["seeds"])
    for split, part in results["splits"].items():
        seen = SEEN if part.get("seen_in_training") else ""
        size = f"{part['clips']} clips, {part['seconds']:.0f} s, {part['speakers']} speakers"
        spread = f"mean of {seeds} seeds ± half of its 95 % interval over clips"
        if seeds == 1:
            spread = "± half of the 95 % interval over clips"
        table = Table(title=f"{split}{seen}: {size}; {spread}")
        table.add_column("", no_wrap=True)
        for label in part["labels"].values():
            table.add_column(label, justify="right")
        for name, figure in results["figures"].items():
            if any(name in figures for figures in part["systems"].values()):
                cells = (_cell(figures.get(name)) for figures in part["systems"].values())
                table.add_row(figure["title"] + _arrow(figure), *cells)
        console.print(table)
        for name, verdict in part["verdicts"].items():
            console.print(f"  {results['figures'][name]['title']}: {verdict['text']}", highlight=False, markup=False)
        console.print(f"  {METHOD}", highlight=False)
    console.print(_paper_table(results))
    console.print(results["paper"]["note"])
    return console.file.getvalue()  # type: ignore[attr-defined]


def _paper_table(results: Mapping[str, Any]) -> Any:
    """The paper's rows; figures below one another where they are too many to stand side by side."""
    from rich.table import Table

    paper, rows = Table(title=results["paper"]["source"]), results["paper"]["rows"]
    columns = list(rows[0])
    titles = {"system": "", **_paper_titles(results)}
    if len(columns) <= _ACROSS:
        for name in columns:
            paper.add_column(titles[name], justify="left" if name == "system" else "right")
        for row in rows:
            paper.add_row(*(str(row.get(name, "-")) for name in columns))
        return paper
    paper.add_column("", no_wrap=True)
    for row in rows:
        paper.add_column(row["system"], justify="right")
    for name in columns[1:]:
        paper.add_row(titles[name], *(str(row.get(name, "-")) for row in rows))
    return paper


def _paper_titles(results: Mapping[str, Any]) -> dict[str, str]:
    """What the paper's figures are called: as here, or, where none is measured here, as `titles` of the paper says."""
    paper, here = results["paper"], results["figures"]
    names = [name for row in paper["rows"] for name in row if name != "system"]
    return {name: here[name]["title"] if name in here else paper.get("titles", {}).get(name, name) for name in names}


def meanings(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What each figure is, and which way is better, for `figures.json`."""
    return {name: {"title": one.title, "better": one.better, "meaning": one.meaning} for name, one in figures.items()}


BOUNDS: Final = ("truth", "tokens", "own_mean_pose", "mean_frame", "reconstruction")
"""Rows that are no rivals: nobody can know what they know."""


def add_to_page(page: Page, results: Mapping[str, Any]) -> None:
    """Add the figures to a report: a table per split, verdicts, what the figures mean, and the paper's own."""
    for split, part in results["splits"].items():
        seen = SEEN if part.get("seen_in_training") else ""
        page.section(f"Evaluation: {name_of_split(split)}", f"{part['clips']} clips, {part['seconds']:.0f} s{seen}")
        rows = []
        for name, figure in results["figures"].items():
            best = best_of(part["systems"], name, figure, BOUNDS)
            wins = None if best is None else _short_mean(part["systems"][best][name])
            cells = {
                part["labels"][system]: Cell(
                    _cell(figures[name]),
                    figures[name]["mean"],
                    system not in BOUNDS and _short_mean(figures[name]) == wins,
                )
                for system, figures in part["systems"].items()
                if figures.get(name, {}).get("mean") is not None
            }
            if cells:
                rows.append({"figure": figure["title"] + _arrow(figure), **cells})
        page.table(
            rows, "\u2605 best of what could be known; ± half of the 95 % interval over clips. ↑ higher is better."
        )
        if part["verdicts"]:
            page.heading("Verdicts")
        for name, verdict in part["verdicts"].items():
            kind = {"win": "better", "loss": "worse"}.get(verdict.get("outcome", ""), "")
            page.text(f"{results['figures'][name]['title']}: {verdict['text']}", kind)
        page.text(METHOD, "note")
    page.section("What the figures mean")
    page.facts({figure["title"]: figure["meaning"] for figure in results["figures"].values()})
    page.heading(results["paper"]["source"])
    titles = {"system": "system", **_paper_titles(results)}
    page.table([{titles[name]: value for name, value in row.items()} for row in results["paper"]["rows"]])
    page.text(results["paper"]["note"], "note")


def name_of_split(split: str) -> str:
    """A split as people read it."""
    return {"test_unseen": "people never seen (test_unseen)", "test": "new clips (test)"}.get(split, split)


def as_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per split, system and figure."""
    rows = []
    for split, part in results["splits"].items():
        for system, figures in part["systems"].items():
            for name, value in figures.items():
                numbers = {key: value.get(key) for key in ("mean", "std", "low", "high")}
                rows.append({"split": split, "system": system, "figure": name, **numbers})
    rows += [
        {"split": "paper", "system": row["system"], "figure": name, "mean": value}
        for row in results["paper"]["rows"]
        for name, value in row.items()
        if name != "system"
    ]
    return rows


def write(results: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write `figures.json` and `figures.csv`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["split", "system", "figure", "mean", "std", "low", "high"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_rows(results))
    # JSON knows no NaN: a figure that could not be taken is null.
    text = json.dumps(_plain(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return _replace(folder / "figures.json", text), _replace(folder / "figures.csv", buffer.getvalue())


def _replace(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _arrow(figure: Mapping[str, Any]) -> str:
    return {"lower": " ↓", "higher": " ↑", "near": ""}[figure["better"]]


def _cell(figure: Mapping[str, Any] | None) -> str:
    """The mean, with half of its interval over clips where there is one."""
    if figure is None or figure["mean"] is None or figure["mean"] != figure["mean"]:
        return "-"
    mean, high = _short(figure["mean"]), figure.get("high")
    reach = high - figure["mean"] if high is not None else 0.0
    return f"{mean}±{reach:.2g}" if reach > max(1e-6 * abs(figure["mean"]), 1e-9) else mean


def _short_mean(figure: Mapping[str, Any]) -> str:
    """A mean as it is shown: what looks alike is marked alike."""
    return _cell({"mean": figure["mean"]})


def _short(number: float) -> str:
    if abs(number) < 1e-6:  # nothing but rounding
        return "0"
    return f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
