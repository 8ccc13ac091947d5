"""Several runs in one table and on one page."""

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pretrained.exports import Export
from reports import Cell, Page
from settings import ConfigError
from trainers.evaluation.comparison import FEWEST, METHOD, best_of, difference
from trainers.evaluation.tables import _arrow, _cell, _plain, _replace, name_of_split
from trainers.run.folder import RunFolder

_VIDEOS: Final = 4


def names_of(exports: Sequence[Export]) -> list[str]:
    """A name for each run that no other has: its folder's, with the folder above where two are alike."""
    names = [export.name for export in exports]
    if len(set(names)) < len(names):
        names = [f"{(e.run or e.folder).resolve().parent.name}/{e.name}" for e in exports]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return names


def differences(results: Mapping[str, Any]) -> dict[str, Any]:
    """Splits with all runs: figures, the best of each, and whether the others are told apart from it.

    Args:
        results: what an evaluator gives, by the name of the run.

    Raises:
        ConfigError: runs that were measured on different clips.
    """
    splits: dict[str, Any] = {}
    first = next(iter(results.values()))
    for split, part in first["splits"].items():
        for name, other in results.items():
            if other["splits"].get(split, {}).get("ids") != part["ids"]:
                raise ConfigError(f"{name} could not be measured on the same clips of {split} as the first run")
        systems = {name: each["splits"][split]["systems"]["model"] for name, each in results.items()}
        others = {
            label if system == "truth" else f"baseline: {label}": part["systems"][system]
            for system, label in part["labels"].items()
            if system != "model"
        }
        systems |= others
        best, apart = {}, {}
        for figure, about in first["figures"].items():
            found = best_of(systems, figure, about, tuple(others))
            if found is None:
                continue
            best[figure] = found
            sign = 1 if about["better"] == "higher" else -1
            leads = {
                name: difference(systems[found][figure], own[figure], sign)
                for name, own in systems.items()
                if name != found and name not in others and figure in own
            }
            apart[figure] = {name: _said(lead, part["clips"]) for name, lead in leads.items()}
        splits[split] = {
            "clips": part["clips"],
            "seconds": part["seconds"],
            "ids": part["ids"],
            "seen_in_training": part.get("seen_in_training", False),
            "systems": {
                name: {f: {k: v for k, v in value.items() if k != "over_clips"} for f, value in figures.items()}
                for name, figures in systems.items()
            },
            "best": best,
            "against_best": apart,
        }
    return splits


def _said(lead: Any, clips: int) -> dict[str, Any]:
    if clips < FEWEST:
        return {"outcome": "too few clips"}
    if lead is None:
        return {"outcome": "no interval"}
    outcome = "worse" if lead.outcome == "better" else "open"
    return {"outcome": outcome, "behind": lead.ahead, "low": lead.low, "high": lead.high}


def rows_of(comparison: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """A row for each run, a `Cell` for each figure: the best is marked, "=" is not told apart from it."""
    part = comparison["splits"][split]
    rows = []
    for name, figures in part["systems"].items():
        row: dict[str, Any] = {"run": name}
        for figure, about in comparison["figures"].items():
            if figure in figures:
                outcome = part["against_best"].get(figure, {}).get(name, {}).get("outcome")
                text = _cell(figures[figure]) + (" =" if outcome == "open" else "")
                row[about["title"] + _arrow(about)] = Cell(
                    text, figures[figure]["mean"], part["best"].get(figure) == name
                )
        rows.append(row)
    return rows


LEGEND: Final = (
    "\u2605 best mean of the runs; = not told apart from the best. ± is half of the 95 % interval over clips. "
    f"With fewer than {FEWEST} clips nothing is told apart."
)


def as_markdown(comparison: Mapping[str, Any]) -> str:
    """The tables in Markdown, which a terminal shows as well."""
    lines = []
    for split, part in comparison["splits"].items():
        seen = " (seen in training)" if part["seen_in_training"] else ""
        few = f"; TOO FEW CLIPS to tell runs apart ({FEWEST} are needed)" if part["clips"] < FEWEST else ""
        lines += [f"## {split}{seen}: {part['clips']} clips, {part['seconds']:.0f} s{few}", ""]
        rows = rows_of(comparison, split)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        body = [[_text(row.get(name, "-")).replace("|", "\\|") for name in columns] for row in rows]
        heads = [name.replace("|", "\\|") for name in columns]
        widths = [max(len(row[i]) for row in [heads, *body]) for i in range(len(columns))]
        for row in [heads, ["-" * width for width in widths], *body]:
            lines.append("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        lines += ["", LEGEND, ""]
    if comparison["evaluator"]:
        lines.append(f"Measured by one network: SHA-256 {comparison['evaluator']['sha256']}")
    return "\n".join([*lines, METHOD])


def _text(value: Any) -> str:
    return value.text + (" \u2605" if value.best else "") if isinstance(value, Cell) else str(value)


def write(comparison: Mapping[str, Any], runs: Mapping[str, Path | None], out: Path) -> Path:
    """Write comparison.json, .csv, .md and .html; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(comparison), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _replace(out / "comparison.json", text)
    _replace(out / "comparison.md", as_markdown(comparison) + "\n")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["split", "run", "figure", "mean", "std", "low", "high", "best", "against_best"])
    for split, part in comparison["splits"].items():
        for name, figures in part["systems"].items():
            for figure, value in figures.items():
                against = part["against_best"].get(figure, {}).get(name, {}).get("outcome", "")
                numbers = [value[key] for key in ("mean", "std", "low", "high")]
                writer.writerow([split, name, figure, *numbers, part["best"].get(figure) == name, against])
    _replace(out / "comparison.csv", buffer.getvalue())
    return _page(comparison, runs).write(out / "comparison.html")


def _page(comparison: Mapping[str, Any], runs: Mapping[str, Path | None]) -> Page:
    from trainers.report import add_curves, steps_in_names
    from trainers.tracking.metrics_csv import read_metrics

    page = Page(f"{len(comparison['runs'])} runs compared", " · ".join(comparison["runs"]))
    for split, part in comparison["splits"].items():
        seen = " Seen in training: this says nothing of new clips." if part["seen_in_training"] else ""
        page.section(f"Figures: {name_of_split(split)}", f"{part['clips']} clips, {part['seconds']:.0f} s.{seen}")
        page.table(rows_of(comparison, split), LEGEND)
    page.text(METHOD, "note")
    rows = {name: read_metrics(run / "metrics.csv") for name, run in runs.items() if run is not None}
    add_curves(page, {name: found for name, found in rows.items() if found})
    there = {name: run for name, run in runs.items() if run is not None}
    _samples(page, there, {name: steps_in_names(RunFolder(run), rows[name]) for name, run in there.items()})
    page.section("Runs")
    page.table(
        [
            {"run": name, "from": about["run"], "stage": about["stage"], "SHA-256": about["sha256"]}
            for name, about in comparison["runs"].items()
        ]
    )
    if comparison["evaluator"]:
        page.facts({"Measured by (SHA-256)": comparison["evaluator"]["sha256"], "Shards": comparison["shards"]})
    page.section("What the figures mean")
    page.facts({about["title"]: about["meaning"] for about in comparison["figures"].values()})
    return page


def _samples(page: Page, runs: Mapping[str, Path], counts: Mapping[str, int]) -> None:
    """Videos of the same clips and of the same names, one run beside the other; runs without any are named."""
    from trainers.report import sample_name

    newest = {
        name: {f"Clip {sample_name(path)[1]}": path for path in sorted((run / "samples").glob("*.mp4"))}
        for name, run in runs.items()
    }
    for name, run in runs.items():
        own = [path for path in sorted((run / "animations").glob("*.mp4")) if "." not in path.stem]  # no masks
        newest[name] |= {f"Video {path.stem}": path for path in own}
    page.section("Videos side by side", "Samples of validations show the real clip on the left. AI-generated.")
    clips = list(dict.fromkeys(clip for found in newest.values() for clip in found))
    clips.sort(key=lambda clip: -sum(clip in found for found in newest.values()))
    for clip in clips[:_VIDEOS]:
        page.heading(clip)
        with page.grid():
            for name, found in newest.items():
                if clip in found:
                    is_sample = found[clip].parent.name == "samples"
                    step = f"step {sample_name(found[clip], counts[name])[0]:,}" if is_sample else "animations/"
                    page.video(found[clip], step, name)
    for name, found in newest.items():
        if not found:
            page.text(f"{name} has no videos yet. This makes one; next time it stands beside those of the same name:")
            page.code(
                f"python -m trainers.animate --run {shlex.quote(str(runs[name]))} --image me.png --audio speech.wav "
                f"--out {shlex.quote(str(runs[name] / 'animations' / 'speech.mp4'))}"
            )
