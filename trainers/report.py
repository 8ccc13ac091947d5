"""`report.html` of a run: config, curves, samples, figures, environment.

`python -m trainers.report RUN` writes it anew.
"""

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import Page
from reports.charts import lines, thinned
from settings import ConfigError, command, get_logger
from settings.output import say
from trainers.run.folder import RunFolder, read_config
from trainers.tracking.columns import by_figure, name_of, readable

logger = get_logger(__name__)

_SAMPLES = 8
_VIDEOS = 12
_LARGEST = 64 * 2**20  # bytes of a video that goes into the page
_KINDS = {
    ".face_hands": "motion mask: face and hands",
    ".lips": "motion mask: lips",
    ".background": "motion mask: background",
}


def write_report(run: RunFolder | str | Path) -> Path:
    """Write `report.html` of a run folder: one page that needs no server and no network. Returns its path.

    Videos that lie in the run folder, or in `animations/` inside of it, are shown.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    rows = _rows(folder)
    where = folder.path.resolve()
    page = Page(" · ".join(filter(None, (_stage(folder), f"{where.parent.name}/{where.name}"))), str(where))
    page.section("Summary")
    page.facts(_summary(folder, rows))
    _videos(page, folder)
    _evaluation(page, folder)
    _samples(page, folder, steps_in_names(folder, rows))
    add_curves(page, {"": rows})
    page.section("How it was made")
    for heading, path in (("Config", folder.config), ("Environment", folder.environment)):
        if path.exists():
            page.code(path.read_text(encoding="utf-8"), heading)
    page.write(folder.report)
    return folder.report


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    # Imported here: brings Lightning, which a plain reading of the run folder can do without until now.
    from trainers.tracking.metrics_csv import read_metrics

    return read_metrics(folder.metrics)


def _summary(folder: RunFolder, rows: list[dict[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    settings = read_config(folder) or {}
    if stage := _stage(folder):
        facts["Stage"] = stage
    if shards := settings.get("data", {}).get("shards") if isinstance(settings.get("data"), dict) else None:
        facts["Shards"] = str(shards)
    steps, several = rows[-1]["step"] + 1 if rows else 0, optimisers(rows)
    facts["Steps (batches)"] = steps
    if several > 1:
        facts["Optimiser steps"] = f"{several * steps:,}: {several} a batch, as trainer.max_steps counts them"
    for name in ("train/loss", "val/loss"):
        curve = _points(rows, name)
        if curve:
            facts[f"{readable(name)}, last"] = curve[-1][1]
            best = min(curve, key=lambda point: point[1])
            facts[f"{readable(name)}, lowest"] = f"{best[1]:.4g} at step {best[0]:,}"
    for name in ("speed/samples_per_second", "data/bad_samples"):
        curve = _points(rows, name)
        if curve:
            column = name_of(name)
            facts[f"{column.figure}, {column.unit}" if column.unit != "samples" else column.figure] = curve[-1][1]
    facts["Checkpoints"] = _checkpoints(folder, steps_in_names(folder, rows)) or "none"
    facts["Exported network"] = f"{folder.export.name}/" if folder.export.exists() else "none"
    return facts


def _stage(folder: RunFolder) -> str:
    stage = (read_config(folder) or {}).get("stage") or ""
    return stage if isinstance(stage, str) else stage.get("name", "")


def add_curves(page: Page, runs: dict[str, list[dict[str, Any]]]) -> None:
    """A plot for each figure, with the lines of all runs over each other.

    Args:
        page: gets a section of plots.
        runs: rows of each metrics.csv by the name of the run; a single run has none.
    """
    columns = list(
        dict.fromkeys(c for rows in runs.values() for row in rows for c in row if c not in ("step", "epoch"))
    )
    if not columns:
        return
    page.section("Training curves")
    with page.grid():
        for figure, names in by_figure(columns).items():
            series = {}
            for run, rows in runs.items():
                for name in names:
                    line = name_of(name).line if len(names) > 1 or not run else ""
                    series[", ".join(filter(None, (run, line)))] = thinned(_points(rows, name))
            shown = {name: points for name, points in series.items() if points}
            if shown:
                page.figure(lines(shown, "step (batches)", name_of(names[0]).unit), figure)


def _points(rows: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value), the first step being 1."""
    return [(row["step"] + 1, row[name]) for row in rows if name in row and math.isfinite(row[name])]


def optimisers(rows: list[dict[str, Any]]) -> int:
    """How many optimisers a run has, by the learning rates that it logs."""
    return max(1, len({name for row in rows for name in row if re.fullmatch(r"train/lr(_\d+)?", name)}))


def steps_in_names(folder: RunFolder, rows: list[dict[str, Any]]) -> int:
    """How many steps of file names a batch makes: 1, but for older runs with several optimisers, which counted all."""
    several = optimisers(rows)
    if several == 1:
        return 1
    from trainers.run.checkpoints import names_count_batches

    known = names_count_batches(folder.checkpoints)
    if known is None:
        names = [
            path.stem.partition("_")[0] for path in (*folder.checkpoints.glob("*.ckpt"), *folder.samples.glob("*"))
        ]
        counts = [int(name[5:]) for name in names if re.fullmatch(r"step-\d+", name)]
        known = not counts or max(counts) <= rows[-1]["step"] + 1
    return 1 if known else several


def _checkpoints(folder: RunFolder, count: int) -> str:
    """Names of the checkpoints, with the step of those that are called by another."""
    names = []
    for path in sorted(folder.checkpoints.glob("*.ckpt")):
        step = path.stem.removeprefix("step-")
        names.append(f"{path.name} (step {int(step) // count:,})" if step.isdigit() and count > 1 else path.name)
    return ", ".join(names)


def sample_name(path: Path, count: int = 1) -> tuple[int, str]:
    """Step (batch) and clip of a sample video `step-00000100_<clip>.mp4`; names count so many steps a batch."""
    step, _, clip = path.stem.partition("_")
    number = step.removeprefix("step-")
    return int(number) // count if number.isdigit() else 0, clip


def _samples(page: Page, folder: RunFolder, count: int) -> None:
    videos = sorted(folder.samples.glob("*.mp4"))
    if not videos:
        return
    page.section("Samples", "What validations showed: real on the left, generated on the right; the newest first.")
    with page.grid(wide=True):
        for path in videos[::-1][:_SAMPLES]:
            step, clip = sample_name(path, count)
            page.video(path, f"clip {clip}", f"Step {step:,}")


def _videos(page: Page, folder: RunFolder) -> None:
    """What the network made: videos in the run folder itself and in its `animations/`."""
    found = [*sorted(folder.path.glob("*.mp4")), *sorted(folder.animations.glob("**/*.mp4"))]
    main = [path for path in found if Path(path.stem).suffix not in _KINDS]
    if not main:
        return
    page.section("Videos", "What the network was asked for. AI-generated.")
    with page.grid(wide=True):
        for path in [*main, *(path for path in found if path not in main)][:_VIDEOS]:
            kind = _KINDS.get(Path(path.stem).suffix, "")
            if path.stat().st_size > _LARGEST:
                page.text(f"{path.relative_to(folder.path)} is too large to be put into this page.", "note")
                continue
            page.video(path, str(path.relative_to(folder.path)), kind or path.stem)


def _evaluation(page: Page, folder: RunFolder) -> None:
    """The figures of `trainers.evaluate`, and whatever other tables stand there as JSON."""
    for path in sorted(folder.evaluation.glob("*.json"), key=lambda one: (one.name != "figures.json", one.name)):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            logger.warning("%s is not JSON (%s): left out of the report", path, error)
            continue
        if path.name == "figures.json":
            from trainers.evaluation.tables import add_to_page

            add_to_page(page, content)
            continue
        page.section(f"Evaluation: {path.stem}")
        _content(page, content)


def _content(page: Page, content: Any) -> None:
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        page.table(content)
    elif isinstance(content, dict):
        flat = {name: value for name, value in content.items() if not isinstance(value, (dict, list))}
        page.facts(flat)
        for name, value in content.items():
            if name not in flat:
                page.heading(name)
                _content(page, value)
    else:
        page.code(json.dumps(content, indent=1))


def report(*, run: Path) -> Path:
    """Write RUN/report.html of a run folder anew: config, curves, samples, figures, environment.

    Args:
        run: the run folder.

    Returns:
        The page.

    Raises:
        ConfigError: there is no run folder.
    """
    if not RunFolder(run).config.is_file():
        raise ConfigError(f"no run folder at {run} (no config.yaml)")
    return write_report(Path(run))


def main(argv: Sequence[str] | None = None) -> int:
    """The command: `python -m trainers.report RUN`."""
    values = command(report, argv, prog="python -m trainers.report", positional="run")
    return say(lambda: report(**values), Path(values["run"]))


if __name__ == "__main__":
    sys.exit(main())
