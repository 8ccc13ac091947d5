"""Short toy runs in this process."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from settings import build
from tests.trainers import toy
from trainers.fit import fit
from trainers.run.checkpoints import read
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


def assert_goes_on(unbroken: Path, folder: Path, go_on: Callable[[Path], Any]) -> None:
    """A run that goes on in a folder from another's second step ends as that did, to the bit."""
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(unbroken / "config.yaml", folder)
    shutil.copy(unbroken / "checkpoints" / "step-00000002.ckpt", folder / "checkpoints")
    torch.manual_seed(99)
    go_on(folder)
    wanted = [row for row in rows(unbroken) if row["step"] > 1]
    assert [row for row in rows(folder) if row["step"] > 1] == wanted
    one, other = (read((each / "checkpoints" / "last.ckpt").resolve()) for each in (folder, unbroken))
    for held in (lambda state: state["state_dict"], lambda state: state["callbacks"]["EMA"]["averages"]):
        ours, theirs = held(one), held(other)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    written = [each / "export" / "model.safetensors" for each in (folder, unbroken)]
    assert written[0].read_bytes() == written[1].read_bytes()
