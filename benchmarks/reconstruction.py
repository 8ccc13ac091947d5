"""The weight-free reconstruction loss against plain L1, on the base stage of implicit motion at equal steps.

    python -m benchmarks.reconstruction --shards SHARDS [--steps 300] [--seeds 0 1 2]

Trains `configs/implicit_motion/base/tiny.yaml` with each loss and seed, and measures held-out clips: SSIM and PSNR
inside the true box of the mouth and of mouth and hands. Shards of the synthetic speakers have the boxes
(`python -m preprocessing.synthetic`, then `preprocessing.run pose=sidecar`). Writes
`benchmarks/results/reconstruction-DATE.json`.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from benchmarks.ranks import ROOT
from trainers.evaluate import evaluate

LOSSES = {"l1": ["stage.reconstruction=l1"], "structural": ["stage.reconstruction=structural"]}
FIGURES = ("ssim_mouth", "psnr_mouth", "ssim_mouth_hands", "psnr_mouth_hands", "ssim", "psnr")


def figures_of(shards: str, run: Path, words: list[str], steps: int, seed: int) -> dict[str, float]:
    """Train one network and measure it on 8 held-out clips."""
    command = [
        sys.executable, "-m", "trainers.fit", "--config", "configs/implicit_motion/base/tiny.yaml",
        f"data.shards={shards}", f"run={run}", f"seed={seed}", f"trainer.max_steps={2 * steps}", "samples.count=0",
        "trainer.val_check_interval=null", "trainer.limit_val_batches=0", "checkpoint.monitor=null",
        "trainer.enable_progress_bar=false", *words,
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    measured = evaluate(run=str(run), splits=["test"], clips=8, seconds=4.0)["splits"]["test"]["systems"]["model"]
    return {name: round(measured[name]["mean"], 4) for name in FIGURES}


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--steps", type=int, default=300, help="of the network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    shards = str(Path(options.shards).resolve())
    result: dict[str, Any] = {"machine": describe(), "steps": options.steps, "seeds": options.seeds, "losses": {}}
    with tempfile.TemporaryDirectory() as name:
        for seed in options.seeds:
            for loss, words in LOSSES.items():
                row = figures_of(shards, Path(name) / f"{loss}-{seed}", words, options.steps, seed)
                result["losses"].setdefault(loss, []).append(row)
                print(loss, seed, row, flush=True)
    for loss, rows in result["losses"].items():
        print(loss, {name: round(statistics.mean(row[name] for row in rows), 4) for name in FIGURES})
    print(write_result("reconstruction", result))


if __name__ == "__main__":
    main()
