"""From the start of `python -m trainers.fit` to the end of its first step.

    python -m benchmarks.startup [--repeats 5] [--quick]

The command itself, on small shards, with `configs/mmgt/smga/tiny.yaml`: the clock stops when the checkpoint of the
first step is there. One start warms up the cache of files and is not counted. Limit: 15 s on two cores. Beside it the
packages whose imports take longest, by `python -X importtime`. Writes `benchmarks/results/startup-DATE.json`.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from benchmarks.ranks import ROOT
from tests.shards import write_shards

LIMIT = 15.0
IMPORTS = "import trainers.training, trainers.mmgt.smga, datamodules.reader"
TIMES = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| ( *)(\S+)")


def first_step(shards: Path, run: Path, timeout: float = 300) -> float:
    """Seconds to the first step's checkpoint."""
    command = [
        sys.executable, "-m", "trainers.fit", "--config", "configs/mmgt/smga/tiny.yaml", f"data.shards={shards}",
        f"run={run}", "trainer.accelerator=cpu", "trainer.max_steps=1000", "trainer.enable_progress_bar=false",
        "checkpoint.every_n_steps=1", "checkpoint.keep_last=1", "samples.count=0", "trainer.val_check_interval=null",
    ]  # fmt: skip
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            while not list((run / "checkpoints").glob("step-*.ckpt")):
                if process.poll() is not None or time.perf_counter() - start > timeout:
                    log.seek(0)
                    raise RuntimeError(f"no first step:\n{log.read()[-3000:]}")
                time.sleep(0.01)
            return time.perf_counter() - start
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def starts(folder: Path, repeats: int) -> list[float]:
    """Seconds of each start, after one that does not count: it brings the files of the packages into memory."""
    taken = [round(first_step(folder / "shards", folder / f"run-{i}"), 2) for i in range(repeats + 1)]
    return taken[1:]


def longest_imports(count: int = 15) -> list[dict[str, Any]]:
    """Packages by the seconds that their modules take themselves."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sums: dict[str, float] = {}
    for own, _, _, module in TIMES.findall(done.stderr):
        package = module.partition(".")[0]
        sums[package] = sums.get(package, 0.0) + int(own) / 1e6
    order = sorted(sums, key=lambda package: -sums[package])[:count]
    return [{"package": package, "seconds": round(sums[package], 3)} for package in order]


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="once, nothing written")
    options = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder / "shards", clips=24, per_shard=8, seconds=6.0, splits=("train", "train", "val"))
        repeats = 1 if options.quick else options.repeats
        seconds = starts(folder, repeats)
    result = {
        "machine": machine | {"load_average_after": round(os.getloadavg()[0], 2)},
        "seed": 0,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "limit_seconds": LIMIT,
        "held": statistics.median(seconds) < LIMIT,
        "imports": longest_imports(),
    }
    print(result)
    if not options.quick:
        print(write_result("startup", result))


if __name__ == "__main__":
    main()
