"""Reading back what W&B wrote under a run folder, as its service would get it."""

from collections import Counter
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.internal.datastore import DataStore

from tests.trainers.runs import toy_run
from trainers.tracking.wandb_run import AXIS, history, records


def logged_run(folder: Path, **changes: Any) -> Path:
    """A toy run whose W&B files are complete: they are closed some milliseconds after the run is finished."""
    try:
        return toy_run(folder, wandb={"mode": "offline"} | changes.pop("wandb", {}), **changes)
    finally:
        wandb.teardown()


def parts(folder: Path) -> list[Path]:
    """The `.wandb` files of a run folder, one for each process that logged, in order of time."""
    return sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_ctime_ns)


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows, oldest process first."""
    return [row for file in parts(folder) for row in history(file)]


def figures(folder: Path) -> dict[tuple[str, int], list[Any]]:
    """Every value of every figure and step, without those of speed, which differ each time."""
    found: dict[tuple[str, int], list[Any]] = {}
    for row in rows(folder):
        for name, value in row.items():
            if not name.startswith(("_", "speed/")) and name != AXIS:
                found.setdefault((name, row[AXIS]), []).append(value)
    return found


def kinds(folder: Path) -> Counter[str]:
    """How many records of each kind there are."""
    return Counter(record.WhichOneof("record_type") for file in parts(folder) for record in records(file))


def is_whole(file: Path) -> bool:
    """Whether a `.wandb` file has records and ends with a whole one."""
    store, end = DataStore(), 0
    try:
        store.open_for_scan(str(file))
        while store.scan_data() is not None:
            end = store.get_offset()
    except AssertionError:
        return False
    finally:
        store.close()
    return end == file.stat().st_size
