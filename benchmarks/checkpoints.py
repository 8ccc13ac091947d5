"""Time to write a checkpoint, and what training waits for it: in one file, and in pieces.

    python -m benchmarks.checkpoints [--checkpoints 5] [--quick]

SMGA of the paper's size with Adan and EMA, some 1.5 GB of state, and so small a batch that steps are short. Written
by one process into one file, by two processes in pieces (FSDP, ZeRO 2). The stall is the step with the checkpoint in
it over the median of the others; the first steps warm up and are left out. Beside it the disk alone: the same number
of bytes from memory into one file, synced. Writes `benchmarks/results/checkpoints-DATE.json`.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from benchmarks.ranks import smga, train

CASES = {"one file": ("auto", 1), "in pieces, fsdp": ("fsdp", 2), "in pieces, deepspeed_2": ("deepspeed_2", 2)}
SIZE = {"width": 512, "layers": 8, "heads": 8, "feedforward": 1024, "window": 8, "batch": 1}
QUICK = {"width": 32, "layers": 2, "heads": 2, "feedforward": 64, "window": 8, "batch": 1}
EVERY = 3


def measure(folder: Path, strategy: str, ranks: int, checkpoints: int, size: dict[str, int]) -> dict[str, Any]:
    """Seconds of writes and stalls, and the size on disk."""
    run = folder / strategy
    found = train(
        run, *smga("timed", **size), "trainer.accelerator=cpu", f"strategy={strategy}",
        f"trainer.devices={ranks}", f"trainer.max_steps={EVERY * checkpoints + 2}", f"checkpoint.every_n_steps={EVERY}",
        "checkpoint.keep_last=1",
    )[0]  # fmt: skip
    # A step's time ends when the next batch comes: its checkpoint is in it. The first steps warm up.
    saved = {step - 1 for step, _ in found["saves"]}
    plain = statistics.median(s for i, s in enumerate(found["seconds"]) if i > 1 and i not in saved)
    stalls = [s - plain for i, s in enumerate(found["seconds"]) if i in saved]
    newest = sorted((run / "checkpoints").glob("step-*.ckpt"))[-1]
    files = [newest] if newest.is_file() else list(newest.iterdir())
    on_disk = sum(file.stat().st_size for file in files)
    return {
        "ranks": ranks,
        "bytes": on_disk,
        "step_seconds": round(plain, 3),
        "write_seconds": [round(seconds, 3) for _, seconds in found["saves"]],
        "stall_seconds": [round(seconds, 3) for seconds in stalls],
        "median_write_seconds": round(statistics.median(seconds for _, seconds in found["saves"]), 3),
        "median_stall_seconds": round(statistics.median(stalls), 3),
    }


def disk_alone(folder: Path, size: int, repeats: int = 3) -> float:
    """Median seconds to write bytes into a file and sync it."""
    block, times = os.urandom(1 << 24), []
    for _ in range(repeats):
        start = time.perf_counter()
        with open(folder / "raw", "wb") as file:
            for begin in range(0, size, len(block)):
                file.write(block[: size - begin])
            file.flush()
            os.fsync(file.fileno())
        times.append(time.perf_counter() - start)
        (folder / "raw").unlink()
    return round(statistics.median(times), 3)


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small try, nothing written: says little")
    options = parser.parse_args()
    machine = describe()
    checkpoints, size = (2, QUICK) if options.quick else (options.checkpoints, SIZE)
    rows: dict[str, Any] = {}
    for name, (strategy, ranks) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measure(Path(folder), strategy, ranks, checkpoints, size)
            rows[name]["disk_alone_seconds"] = disk_alone(Path(folder), rows[name]["bytes"])
        print(name, rows[name], flush=True)
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    if not options.quick:
        print(write_result("checkpoints", {"machine": machine, "seed": 0, "stage": SIZE, "every": EVERY, "rows": rows}))


if __name__ == "__main__":
    main()
