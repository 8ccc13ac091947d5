"""Short toy runs in this process."""

from pathlib import Path
from typing import Any

from settings import build
from tests.trainers import toy
from trainers.fit import fit
from trainers.tracking.metrics_csv import read_metrics

toy.register()

Rows = list[dict[str, Any]]


def toy_run(folder: Path, **changes: Any) -> Path:
    """Train the toy stage for 8 steps, sections changed as given."""
    sections: dict[str, Any] = {
        "stage": {"name": "toy"},
        "data": {"name": "toy"},
        "trainer": {
            "max_steps": 8, "accelerator": "cpu", "log_every_n_steps": 1, "val_check_interval": 4,
            "enable_progress_bar": False,
        },
        "checkpoint": {"every_n_steps": 2},
        "samples": {"count": 0},
    }  # fmt: skip
    for name, value in changes.items():
        sections[name] = sections[name] | value if isinstance(value, dict) and name in sections else value
    return build(sections | {"run": folder}, fit)


def rows(folder: Path) -> Rows:
    """metrics.csv without what differs between runs that do the same."""
    return [
        {name: value for name, value in row.items() if not name.startswith("speed/")}
        for row in read_metrics(folder / "metrics.csv")
    ]
