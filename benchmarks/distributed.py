"""Weak scaling from one process to two, and what a rank holds and sends beside what the planner says.

    python -m benchmarks.distributed [--repeats 3] [--steps 20] [--quick]

Every process has one thread and the same batch, over gloo on one machine. Runs of one and of two processes take
turns; the efficiency is the median step of one over that of two, the median over the repeats; the first three steps
of a process warm up and are left out. Two processes share caches and memory: `twins` is the same figure for two
processes that know nothing of each other, the most that any strategy can reach here. Bytes are counted in runs of
their own. Writes `benchmarks/results/distributed-DATE.json`.
"""

import os
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from benchmarks.ranks import smga, train
from trainers.plan import training_config
from trainers.planning.inventory import inventory
from trainers.planning.measure import build_stage
from trainers.planning.measure import measure as measure_step
from trainers.planning.memory import memory
from trainers.planning.time import traffic

STRATEGIES = ("ddp", "fsdp", "deepspeed_1", "deepspeed_2", "deepspeed_3")
SIZE = {"width": 256, "layers": 4, "heads": 4, "feedforward": 512, "window": 80, "batch": 2}
QUICK = {"width": 32, "layers": 2, "heads": 2, "feedforward": 64, "window": 16, "batch": 2}
WARM_UP = 3


def step_seconds(folder: Path, name: str, ranks: int, words: tuple[str, ...]) -> float:
    """Median step of the slowest rank."""
    found = train(folder / name, f"trainer.devices={ranks}", *words)
    return max(statistics.median(rank["seconds"][WARM_UP:]) for rank in found)


def scaling(folder: Path, strategy: str, repeats: int, words: tuple[str, ...]) -> dict[str, Any]:
    """Steps of one and of two processes, in turns."""
    rows = [
        tuple(step_seconds(folder, f"{strategy}-{i}-{n}", n, (*words, f"strategy={strategy}")) for n in (1, 2))
        for i in range(repeats)
    ]
    return {
        "step_ms": [[round(1000 * seconds, 1) for seconds in row] for row in rows],
        "efficiency": round(statistics.median(one / two for one, two in rows), 3),
    }


def twins(folder: Path, repeats: int, words: tuple[str, ...]) -> dict[str, Any]:
    """Steps of one process, and of two at the same time that have nothing to do with each other."""
    rows = []
    for i in range(repeats):
        alone = step_seconds(folder, f"alone-{i}", 1, words)
        with ThreadPoolExecutor(2) as pool:
            both = pool.map(lambda n, i=i: step_seconds(folder, f"twin-{i}-{n}", 1, words), (0, 1))
            rows.append((alone, max(both)))
    return {
        "step_ms": [[round(1000 * seconds, 1) for seconds in row] for row in rows],
        "efficiency": round(statistics.median(one / two for one, two in rows), 3),
    }


def bytes_beside_plan(folder: Path, strategy: str, words: tuple[str, ...]) -> dict[str, Any]:
    """What the first of two ranks holds and sends, counted and planned."""
    ranks = 2
    words = ("stage=counted", *words[1:], f"strategy={strategy}", "trainer.max_steps=3")
    counted = train(folder / f"{strategy}-bytes", f"trainer.devices={ranks}", *words)[0]
    stage = [word for word in words[1:] if word.startswith(("stage.", "strategy", "trainer."))]
    values = training_config(None, ["stage=mmgt.smga", *stage])
    found = inventory(build_stage(values["stage"]))
    planned = memory(values, found, measure_step(values, SIZE["batch"]), ranks).gpu
    sent = traffic(values, found, ranks)
    return {
        "parameters": found.count,
        "held": {part: {"counted": size, "planned": round(planned[part])} for part, size in counted["bytes"].items()},
        "sent": {kind: {"counted": size, "planned": round(sent[kind])} for kind, size in counted["sent"].items()},
    }


def measure(repeats: int, steps: int, size: dict[str, int]) -> dict[str, Any]:
    """All strategies."""
    words = (
        *smga("timed", **size), "trainer.accelerator=cpu", f"trainer.max_steps={steps}",
        "checkpoint.every_n_steps=1000000",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result: dict[str, Any] = {"twins": twins(folder, repeats, words)}
        for strategy in STRATEGIES:
            row = scaling(folder, strategy, repeats, words)
            result[strategy] = row | bytes_beside_plan(folder, strategy, words)
            print(strategy, row, flush=True)
    return result


def main() -> None:
    """Command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a small try, nothing written: says little")
    options = parser.parse_args()
    machine = describe()
    if options.quick:
        print(measure(1, 6, QUICK))
        return
    figures = measure(options.repeats, options.steps, SIZE)
    machine["load_average_after"] = round(os.getloadavg()[0], 2)
    about = {"machine": machine, "seed": 0, "threads_a_process": 1, "stage": SIZE, "steps": options.steps}
    print(write_result("distributed", {**about, **figures}))


if __name__ == "__main__":
    main()
