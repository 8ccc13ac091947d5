"""SMGA `paper` in bf16 on one GPU: time of a step, share of the peak (MFU) and memory, beside the plan.

    python -m benchmarks.gpu [--batch 256] [--steps 60] [--cpu --tiny]

The training command, alone and with `deepspeed_2`, with and without gradient checkpointing, on one batch again and
again. Operations are counted on the meta device by the planner; MFU is operations / (median step x the GPU's peak in
bf16), and is what the planner should be given as `mfu=`. Without a GPU it ends with status 2; `--cpu --tiny` goes the
same way at a size that a CPU takes, and writes nothing. Writes `benchmarks/results/gpu-DATE.json`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, write_result
from benchmarks.ranks import smga, train
from trainers.plan import plan, training_config
from trainers.planning.gpus import GPUS

PAPER = {"width": 512, "layers": 8, "heads": 8, "feedforward": 1024, "window": 80}
TINY = {"width": 32, "layers": 2, "heads": 2, "feedforward": 64, "window": 16}
CASES = {
    "alone": ("strategy=auto",),
    "alone, gradient checkpointing": ("strategy=auto", "gradient_checkpointing=true"),
    "deepspeed_2": ("strategy=deepspeed_2",),
}
NO_GPU = (
    "no GPU here: torch finds no CUDA device. `--cpu --tiny` tries the same way on the CPU; its figures say nothing"
)


def planned_for(device: str) -> str:
    """The planner's name of a CUDA device, by what CUDA calls it; the H100 for those it does not know."""
    name = device.lower()
    if "a100" in name:
        return "a100-80" if "80gb" in name else "a100-40"
    return next((known for known in GPUS if known in name), "h100")


def measure(folder: Path, case: str, size: dict[str, int], batch: int, steps: int, cpu: bool) -> dict[str, Any]:
    """A training, and its plan."""
    words = (*CASES[case], "trainer.precision=bf16-mixed")
    found = train(
        folder / case.replace(" ", "-"), *smga(**size, batch=batch), *words, "stage=timed", "trainer.devices=1",
        f"trainer.accelerator={'cpu' if cpu else 'gpu'}", f"trainer.max_steps={steps}",
        "checkpoint.every_n_steps=1000000", threads=1 if cpu else 2,
    )[0]  # fmt: skip
    seconds = statistics.median(found["seconds"][2:])
    stage = [f"stage.{name}={value}" for name, value in size.items()]
    config = training_config(None, ["stage=mmgt.smga", *stage, *words, f"data.batch_size={batch}"])
    card = planned_for(found["device"])
    expected = plan(config, gpus=1, gpu=card)
    return {
        "device": found["device"],
        "batch": batch,
        "step_ms": round(1000 * seconds, 3),
        "windows_per_second": round(batch / seconds, 1),
        "tera_operations": expected.operations / 1e12,
        "mfu": None if cpu else round(expected.operations / seconds / GPUS[card].bf16, 4),
        "peak_bytes": {"counted": found["peak_bytes"], "planned": round(expected.total)},
    }


def main(argv: list[str] | None = None) -> int:
    """Command line; 0, or 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="windows of a step")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tiny", action="store_true", help="a small network, nothing written")
    parser.add_argument("--cpu", action="store_true", help="on the CPU; goes with --tiny")
    options = parser.parse_args(argv)
    if not options.cpu and not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    if options.cpu and not options.tiny:
        print(
            "--cpu wants --tiny: the paper's size is for a GPU; benchmarks.smga measures it on a CPU", file=sys.stderr
        )
        return 2
    size = TINY if options.tiny else PAPER
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            rows[case] = measure(Path(folder), case, size, options.batch, options.steps, options.cpu)
    result = {"machine": describe(), "seed": 0, "stage": size, "precision": "bf16-mixed", "rows": rows}
    print(json.dumps(result, indent=1))
    if not options.tiny:
        print(write_result("gpu", result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
