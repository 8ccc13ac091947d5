"""`report.html` of a run: config, curves, samples, figures, environment.

`python -m trainers.report RUN` writes it anew.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import Page
from settings import ConfigError, command, get_logger
from trainers.run_folder import RunFolder

logger = get_logger(__name__)

# Curves of these name parts share a figure each, in this order; what is left gets one figure per name.
_FIGURES = {
    "Loss": ("train/loss", "val/loss"),
    "Learning rate": ("train/lr",),
    "Gradient norm": ("train/grad_norm",),
    "Samples a second": ("speed/samples_per_second",),
    "Share of time waiting for data": ("speed/data_wait_share",),
    "Memory, GiB": ("speed/memory_gb",),
    "Model FLOPs utilisation": ("speed/mfu",),
}
_SAMPLES = 8


def write_report(run: RunFolder | str | Path) -> Path:
    """Write `report.html` of a run folder: one page that needs no server and no network. Returns its path."""
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    # The page can be made anew on a machine with no display.
    import matplotlib

    matplotlib.use("Agg")
    rows = _rows(folder)
    page = Page(f"cospeech run: {folder.path.resolve().name}", str(folder.path.resolve()))
    page.section("Summary")
    page.facts(_summary(folder, rows))
    page.section("Curves")
    for title, names in _figures(rows).items():
        page.figure(_curve(rows, names), title)
    _evaluation(page, folder)
    _animations(page, folder)
    _samples(page, folder)
    for heading, path in (("Config", folder.config), ("Environment", folder.environment)):
        if path.exists():
            page.section(heading)
            page.code(path.read_text(encoding="utf-8"))
    page.write(folder.report)
    return folder.report


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    # Imported here: brings Lightning, which a plain reading of the run folder can do without until now.
    from trainers.loggers import read_metrics

    return read_metrics(folder.metrics)


def _summary(folder: RunFolder, rows: list[dict[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"steps logged": len(rows), "last step": rows[-1]["step"] + 1 if rows else 0}
    for name in ("train/loss", "val/loss"):
        curve = _points(rows, name)
        if curve:
            facts[f"{name}, last"] = curve[-1][1]
            best = min(curve, key=lambda point: point[1])
            facts[f"{name}, lowest"] = f"{best[1]:.4g} at step {best[0] + 1}"
    for name in ("speed/samples_per_second", "data/bad_samples"):
        curve = _points(rows, name)
        if curve:
            facts[name] = curve[-1][1]
    facts["checkpoints"] = ", ".join(sorted(path.name for path in folder.checkpoints.glob("*.ckpt"))) or "none"
    facts["export"] = str(folder.export) if folder.export.exists() else "none"
    return facts


def _figures(rows: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Title of each figure and the columns in it, for the columns that there are."""
    columns = dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch"))
    figures = {
        title: present for title, names in _FIGURES.items() if (present := tuple(n for n in names if n in columns))
    }
    shown = {name for names in figures.values() for name in names}
    parts: dict[str, list[str]] = {}
    for name in columns:
        if name not in shown:
            parts.setdefault(name.partition("/")[2] or name, []).append(name)
    return figures | {title: tuple(names) for title, names in parts.items()}


def _points(rows: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in rows if name in row and math.isfinite(row[name])]


def _curve(rows: list[dict[str, Any]], names: Sequence[str]) -> Any:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.2, 3.2))
    for name in names:
        points = _thinned(_points(rows, name))
        if points:
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else None, linewidth=1.2)
    values = [value for name in names for _, value in _points(rows, name)]
    if values and min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend()
    return figure


def _thinned(points: list[tuple[int, float]], most: int = 2000) -> list[tuple[int, float]]:
    return points[:: max(1, len(points) // most)]


def _animations(page: Page, folder: RunFolder) -> None:
    """What was made with the trained network, as the demos leave it in `animations/`."""
    videos = sorted(folder.animations.glob("*.mp4"))
    if videos:
        page.section("Made with it", "Generated from speech that training did not hear, where there was any.")
        for path in videos:
            page.video(path, path.stem)


def _samples(page: Page, folder: RunFolder) -> None:
    videos = sorted(folder.samples.glob("*.mp4"))
    if not videos:
        return
    page.section("Samples", "Real on the left, generated on the right; the newest first.")
    for path in videos[::-1][:_SAMPLES]:
        page.video(path, path.stem)


def _evaluation(page: Page, folder: RunFolder) -> None:
    """The figures of `trainers.evaluate`, and whatever other tables stand there as JSON."""
    for path in sorted(folder.evaluation.glob("*.json")):
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
                page.text(name)
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
    try:
        print(report(**values))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
