"""Launching chains of toy stages on a cluster."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster import Cluster
from tests.e2e.processes import ROOT
from trainers.run.checkpoints import newest_first, step_of

STEPS = 24
# Two ranks, a node each, without GPUs.
SLURM = {"nodes": 2, "gpus_per_node": 0, "cpus_per_task": 1, "time": 1200, "signal": 60}


def toy(**stage: Any) -> dict[str, Any]:
    """A link that trains the toy; `pause` makes its steps slow, `nan_at` makes it fail."""
    return {
        "overrides": {
            "stage": {"name": "toy", **stage},
            "data": {"name": "toy"},
            "trainer": {
                "max_steps": STEPS, "log_every_n_steps": 1, "val_check_interval": 4, "enable_progress_bar": False,
            },
            "checkpoint": {"every_n_steps": 4},
            "samples": {"count": 0},
        }
    }  # fmt: skip


def start(cluster: Cluster, folder: Path, **sections: Any) -> dict[str, str]:
    """Launch a chain of toys into a folder; gives the job of every link."""
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({"module": "tests.trainers.toy", "slurm": SLURM} | sections, sort_keys=False))
    return launch(cluster, folder, "toy", "--config", str(file))


def launch(cluster: Cluster, folder: Path, system: str, *words: str) -> dict[str, str]:
    """Launch the chain of a system into a folder; gives the job of every link."""
    done = subprocess.run(
        [*cluster.enter[0], sys.executable, "-m", "trainers.launch", system, *words, f"folder={folder}"],
        cwd=ROOT,
        env=cluster.environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = dict(line.split() for line in (folder / "jobs.txt").read_text().splitlines())
    for name, job in jobs.items():
        assert f"{name}: job {job}" in done.stdout
    return jobs


def has_saved(run: Path) -> bool:
    """Whether a run has written a checkpoint, and is not at its end."""
    saved = [step_of(path) for path in newest_first(run / "checkpoints")]
    assert STEPS not in saved, "the run was over before it could be stopped"
    return bool(saved)


def log(run: Path) -> str:
    """What the job of a run said."""
    return "\n".join(path.read_text() for path in sorted((run / "logs").glob("slurm-*.log")))
