"""Small runs of PAHA's stages, each in this process."""

from pathlib import Path
from typing import Any

from settings import build
from tests.trainers.test_pce_stage import NETWORK as CLASSIFIER
from tests.trainers.test_univdm_stage import NETWORK as UNIVDM
from trainers.fit import fit

LENGTHS = [4, 8]
PCE = {
    "network": CLASSIFIER, "lengths": LENGTHS, "shift_least": 0.1, "shift_most": 0.1, "negatives": "both",
    "optimizer": {"name": "adam", "lr": 1e-3},
}  # fmt: skip
WINDOWS = {"univdm": {"window": 8, "stride": 0.2}, "pce": {"windows": "clip"}}


def run_stage(kind: str, folder: Path, shards: Path, source: Path, **changes: Any) -> Path:
    """Train a stage of PAHA for four steps; `source` is the autoencoder, for classifiers the UniVDM's run."""
    univdm = kind == "univdm"
    stage = {"network": UNIVDM, "autoencoder": str(source), "optimizer": {"name": "adam", "lr": 1e-3}}
    sections: dict[str, Any] = {
        "stage": {"name": f"paha.{kind}", **(stage if univdm else PCE | {"univdm": str(source)})},
        "data": {"name": "clips", "shards": str(shards), "batch_size": 2, "workers": 0}
        | WINDOWS["univdm" if univdm else "pce"],
        "trainer": {
            "max_steps": 4, "accelerator": "cpu", "log_every_n_steps": 1, "val_check_interval": 2,
            "check_val_every_n_epoch": None, "enable_progress_bar": False,
        },
        "checkpoint": {"every_n_steps": 2, "keep_last": 0, "keep_steps": [2]},
        "samples": {"count": 0},
        "ema": {"decay": 0.8, "every_n_steps": 1},
    }  # fmt: skip
    for name, value in changes.items():
        sections[name] = sections[name] | value if isinstance(value, dict) and name in sections else value
    return build(sections | {"run": folder}, fit)
