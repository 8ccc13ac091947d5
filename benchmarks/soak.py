"""Kills a training over and over and compares what it computes with a training that nobody killed.

    python -m benchmarks.soak [kills=50] [strategies=auto,ddp,deepspeed_2] [seed=0]

A kill is a `kill -9` of one rank or of all at a random moment; every other one waits until a checkpoint is being
written. The run is started again each time until it is through. Its loss at every step number has to be the unbroken
run's to the last bit, every start has to go on from the newest whole checkpoint, and no process may stay behind.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from trainers.run.checkpoints import newest_whole, read_state
from trainers.tracking.metrics_csv import read_metrics

ROOT = Path(__file__).resolve().parents[1]
EVERY = 5  # steps from one checkpoint to the next
PATIENCE = 120.0  # seconds until something has to happen
MOST = 8  # steps that a start takes before it is killed, so that a faster machine does not end before the last kill
STEP = 0.01  # seconds that a step takes at least, so that the moments of kills are those of any machine


class Run:
    """One start of a training.

    Args:
        folder: the run folder.
        strategy: its strategy; `auto` is one process, everything else two.
        steps: optimiser steps of the run.
    """

    def __init__(self, folder: Path, strategy: str, steps: int):
        self.folder, self.seen = folder, folder.with_name(f"{folder.name}-{time.monotonic_ns()}")
        self.output = open(folder.with_suffix(".log"), "a+")  # noqa: SIM115
        words = [
            "stage=toy", "data=toy", f"run={folder}", f"strategy={strategy}", "trainer.accelerator=cpu",
            f"trainer.devices={1 if strategy == 'auto' else 2}", f"trainer.max_steps={steps}",
            "trainer.log_every_n_steps=1", "trainer.val_check_interval=4", f"checkpoint.every_n_steps={EVERY}",
            "samples.count=0", "trainer.enable_progress_bar=false", "stage.network.width=200",
            f"stage.seen={self.seen}",
            f"stage.pause={STEP}",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.trainers.toy", *words],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def ranks(self) -> list[int]:
        """Processes that have taken a step."""
        return [int(f.name) for f in self.seen.iterdir() if f.stat().st_size] if self.seen.exists() else []

    def first_step(self) -> int:
        """Optimiser steps done before the first step of this start."""
        return min(int(file.read_text().split()[0]) for file in self.seen.iterdir())

    def last_step(self) -> int:
        """Optimiser steps done before the newest step of this start."""
        lines = [line for file in self.seen.iterdir() for line in file.read_text().splitlines() if " " in line]
        return max(int(line.split()[0]) for line in lines)

    def wait(self, until: Any) -> bool:
        """Wait until something holds; False when the run ends before."""
        end = time.monotonic() + PATIENCE
        while not until():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                raise RuntimeError(f"nothing happened for {PATIENCE:g} s, see {self.output.name}")
            time.sleep(0.001)
        return True

    def end(self) -> int:
        """Wait for the end of all processes; the exit status."""
        status = self.process.wait(timeout=PATIENCE)
        end = time.monotonic() + 60
        while any(_alive(rank) for rank in self.ranks()):
            if time.monotonic() > end:
                raise RuntimeError("a rank stayed behind")
            time.sleep(0.05)
        return status


def soak(kills: int, strategy: str, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Kill a run so many times; what came of it.

    Args:
        kills: how often.
        strategy: of the run.
        folder: empty folder to work in.
        seed: of the moments.

    Raises:
        RuntimeError: something hung, stayed behind or went on from the wrong place.
    """
    rng = random.Random(seed)
    steps = 10 * kills + 20
    unbroken = Run(folder / "unbroken", strategy, steps)
    if unbroken.end():
        raise RuntimeError(f"the unbroken run failed, see {unbroken.output.name}")
    broken = folder / "broken"
    done = inside = 0
    recomputed: list[int] = []
    reached = 0
    while True:
        newest = newest_whole(broken / "checkpoints") if broken.exists() else None
        run = Run(broken, strategy, steps)
        alive = run.wait(lambda run=run: len(run.ranks()) == (1 if strategy == "auto" else 2))
        from_step = run.first_step()
        if from_step != (read_state(newest)["global_step"] if newest else 0):
            raise RuntimeError(f"went on from step {from_step}, but the newest whole checkpoint is {newest}")
        if reached:
            recomputed.append(max(0, reached - from_step))
        if not alive or done >= kills:
            break
        in_write = done % 2 == 1
        if in_write:
            run.wait(lambda: any((broken / "checkpoints").glob(".*.writing")))
        else:
            moment, step = time.monotonic() + rng.uniform(0, 0.8), from_step + rng.randint(1, MOST)
            run.wait(lambda run=run: time.monotonic() > moment or run.last_step() >= step)  # noqa: B023
        if run.process.poll() is not None:
            raise RuntimeError(f"the run ended by itself before kill {done + 1}, see {run.output.name}")
        inside += in_write and any((broken / "checkpoints").glob(".*.writing"))
        if rng.random() < 0.5:
            os.killpg(run.process.pid, signal.SIGKILL)
        else:
            _kill(rng.choice(run.ranks()))
        done += 1
        if run.end() == 0:
            raise RuntimeError("the run ended well although it was killed")
        reached = max(int(line.split()[0]) for file in run.seen.iterdir() for line in file.read_text().splitlines()) + 1
    if run.end():
        raise RuntimeError(f"the last start failed, see {run.output.name}")
    losses, expected = _losses(broken), _losses(folder / "unbroken")
    wrong = [step for step in expected if losses.get(step) != expected[step]]
    return {
        "strategy": strategy, "kills": done, "inside_a_checkpoint_write": inside, "steps": len(expected),
        "steps_that_differ": wrong + [step for step in losses if step not in expected],
        "most_steps_computed_again": max(recomputed, default=0), "checkpoint_every": EVERY,
    }  # fmt: skip


def _losses(folder: Path) -> dict[int, tuple[Any, ...]]:
    rows = read_metrics(folder / "metrics.csv")
    if len({row["step"] for row in rows}) != len(rows):
        raise RuntimeError(f"{folder}/metrics.csv has a step twice")
    return {row["step"]: tuple(row.get(name) for name in ("train/loss", "val/loss", "train/grad_norm")) for row in rows}


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def main(words: list[str]) -> int:
    """The command; 0 when every loss was right."""
    parser = Parser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often, shared out among the strategies")
    parser.add_argument("--strategies", default="auto,ddp,deepspeed_2", help="names with commas between")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    # Words of the other commands, too: kills=50 is --kills=50.
    options = parser.parse_args([f"--{word}" if re.match(r"\w+=", word) else word for word in words])
    names, kills = options.strategies.split(","), options.kills
    results = []
    for number, name in enumerate(names):
        share = kills // len(names) + (number < kills % len(names))
        with tempfile.TemporaryDirectory() as folder:
            result = soak(share, name, Path(folder), options.seed + number)
        print(json.dumps(result), flush=True)
        results.append(result)
    right = not any(result["steps_that_differ"] for result in results)
    path = write_result("soak", {"machine": describe(), "seed": options.seed, "results": results})
    print(f"{sum(r['kills'] for r in results)} kills, losses {'equal' if right else 'DIFFER'}: {path}")
    return int(not right)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
