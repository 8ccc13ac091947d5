"""A W&B dashboard as code: `python -m trainers.dashboard --run RUN`, or `project=... entity=...` for any run."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from settings import ConfigError, command
from settings.output import say

SPEED = {
    "speed/samples_per_second": "Samples a second",
    "speed/seconds_per_step": "Seconds a step",
    "speed/data_wait_share": "Share of the time spent waiting for data",
    "speed/memory_gb": "Peak memory (GB)",
    "speed/mfu": "Share of the device's peak that is used (MFU)",
}
GRADIENT, RATE, LOSS = "train/grad_norm", "train/lr", "loss"
PARTS = ("train", "val")


def dashboard(
    *,
    run: Path | None = None,
    project: str | None = None,
    entity: str | None = None,
    name: str = "Training",
    out: Path | None = None,
    dry_run: bool = False,
) -> str:
    """Make a W&B dashboard of losses, samples, speed and data, and save it to the account as a new view.

    Args:
        run: a run folder: the dashboard shows the figures that this run logs, in the run's project. Left out, it shows
            what any stage logs.
        project: W&B project; left out, that of the run.
        entity: W&B user or team; left out, WANDB_ENTITY or the account's own.
        name: title of the dashboard.
        out: write the dashboard to this JSON file instead of saving it; needs no account.
        dry_run: print the JSON instead of saving it; needs no account.

    Returns:
        The address of the saved dashboard, the file written, or the JSON.

    Raises:
        ConfigError: neither a run nor a project, a folder that is no run, no figures yet, or no account.
    """
    columns = None
    if run is not None:
        columns, of_run = _of_run(Path(run))
        project = project or of_run
    if project is None:
        raise ConfigError("which dashboard? give --run RUN, or project=NAME")
    offline = out is not None or dry_run
    if not offline:
        _want_account()
        entity = entity or os.environ.get("WANDB_ENTITY") or _own_entity()
    view = workspace(columns, project, entity or "", name)
    if not offline:
        return _save(view)
    text = view._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2)
    if out is None:
        return text
    try:
        Path(out).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"out={out}: cannot be written ({error.strerror})") from None
    return str(out)


def workspace(columns: Collection[str] | None, project: str, entity: str, name: str = "Training") -> Any:
    """The dashboard as an object of W&B's own library.

    Args:
        columns: names of the figures that are logged; None for a dashboard of what any stage logs.
        project: W&B project.
        entity: W&B user or team.
        name: title.
    """
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    from trainers.tracking.wandb_run import AXIS

    samples = reports.MediaBrowser(title="Real, generated", media_keys=["samples"], num_columns=1, gallery_axis="step")
    sections = {
        "Losses": _losses(columns),
        "Samples": [samples],
        "Speed": _speed(columns),
        "Optimisation": _optimisation(columns),
        "Data": _data(columns),
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            workspaces.Section(name=title, panels=panels, is_open=True) for title, panels in sections.items() if panels
        ],
        settings=workspaces.WorkspaceSettings(x_axis=AXIS),
    )


def _losses(columns: Collection[str] | None) -> list[Any]:
    """The loss itself, training beside validation, then each of its parts in the same way."""
    if columns is None:
        parts = f"^({'|'.join(PARTS)})/.*{LOSS}_.*"
        return [_plot("Loss", [f"{part}/{LOSS}" for part in PARTS]), _plot("Parts of the loss", regex=parts)]
    others = [GRADIENT, *_rates(columns)]
    of = {
        part: [c.partition("/")[2] for c in columns if c.startswith(f"{part}/") and c not in others] for part in PARTS
    }
    figures = sorted({*of["train"], *of["val"]}, key=lambda figure: (figure != LOSS, figure))
    return [
        _plot(figure.replace("_", " ").capitalize(), [f"{part}/{figure}" for part in PARTS if figure in of[part]])
        for figure in figures
    ]


def _speed(columns: Collection[str] | None) -> list[Any]:
    known = [name for name in SPEED if columns is None or name in columns]
    more = sorted(name for name in columns or () if name.startswith("speed/") and name not in SPEED)
    return [_plot(SPEED.get(name, name), [name]) for name in known + more]


def _optimisation(columns: Collection[str] | None) -> list[Any]:
    gradient = [_plot("Gradient norm", [GRADIENT])] if columns is None or GRADIENT in columns else []
    if columns is None:
        return [_plot("Learning rate", regex=f"^{RATE}.*"), *gradient]
    rates = _rates(columns)
    return [*([_plot("Learning rate", rates)] if rates else []), *gradient]


def _data(columns: Collection[str] | None) -> list[Any]:
    names = ["data/bad_samples"] if columns is None else sorted(name for name in columns if name.startswith("data/"))
    return [_plot(name.partition("/")[2].replace("_", " ").capitalize(), [name]) for name in names]


def _rates(columns: Collection[str]) -> list[str]:
    return sorted(name for name in columns if name == RATE or name.startswith(f"{RATE}_"))


def _plot(title: str, names: Sequence[str] = (), regex: str | None = None) -> Any:
    import wandb_workspaces.reports.v2 as reports

    from trainers.tracking.wandb_run import AXIS

    return reports.LinePlot(title=title, x=AXIS, y=list(names), metric_regex=regex)


def _of_run(folder: Path) -> tuple[list[str], str]:
    """Names of the figures of a run, and its W&B project."""
    from trainers.run.folder import RunFolder, read_config
    from trainers.tracking.metrics_csv import read_metrics

    run = RunFolder(folder)
    values = read_config(run)
    if values is None:
        raise ConfigError(f"run={folder} is no run folder: there is no {run.config}")
    columns = list(dict.fromkeys(name for row in read_metrics(run.metrics) for name in row))
    if not columns:
        raise ConfigError(f"run={folder} has no figures yet ({run.metrics}); wait for its first rows, or give project=")
    return columns, values["wandb"]["project"]


def _want_account() -> None:
    import wandb

    if not (os.environ.get("WANDB_API_KEY") or wandb.api.api_key):
        raise ConfigError(
            "a dashboard is saved to a W&B account: run `wandb login` once or set WANDB_API_KEY, "
            "or write it to a file with out=dashboard.json"
        )


def _own_entity() -> str:
    import wandb

    try:
        return wandb.Api().default_entity or ""
    # What W&B's client raises for a network, an account or a right is of many kinds, requests' among them.
    except Exception as error:
        raise ConfigError(_unreachable(error)) from None


def _save(view: Any) -> str:
    try:
        return view.save().url
    except Exception as error:  # as above
        raise ConfigError(_unreachable(error)) from None


def _unreachable(error: Exception) -> str:
    return (
        f"W&B did not take the dashboard ({' '.join(str(error).split())[:300]}): check the network, the account, "
        "project= and entity=, or write it to a file with out=dashboard.json"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `dashboard`; 0, or 2 with one line of explanation."""
    values = command(dashboard, argv, prog="python -m trainers.dashboard")
    return say(lambda: dashboard(**values), Path(values["out"] or "the dashboard"))


if __name__ == "__main__":
    raise SystemExit(main())
