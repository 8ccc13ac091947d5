"""How a part of `benchmarks.gpu` measures: row after row, each kept as soon as it is there, each guarded."""

import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.arguments import Parser

Row = tuple[str, Callable[[], dict[str, Any]]]


@dataclass(frozen=True)
class Options:
    """What a part is asked for: where, at which size, and the folder of shards."""

    device: torch.device
    tiny: bool
    shards: Path | None

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


Part = Callable[[Options], Iterable[Row]]


def run(parts: dict[str, Part], argv: list[str] | None = None) -> int:
    """Command line of a module of parts; 1 where a row failed."""
    parser = Parser()
    parser.add_argument("part", choices=parts)
    parser.add_argument("--rows", type=Path, required=True, help="file that rows are added to, a line of JSON each")
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    words = parser.parse_args(argv)
    options = Options(torch.device("cpu" if words.cpu else "cuda"), words.tiny, words.shards)
    return int(not measure(parts[words.part](options), words.rows))


def measure(rows: Iterable[Row], path: Path) -> bool:
    """Measure rows, one behind the other; whether all went through. The traceback of one that fails is printed."""
    whole = True
    for name, act in rows:
        started = time.perf_counter()
        try:
            found = act()
        except Exception as error:  # whatever a row raises is what its record says, and the next goes on
            traceback.print_exc()
            lines = str(error).strip().splitlines()
            found, whole = {"failed": f"{type(error).__name__}: {lines[-1] if lines else ''}"}, False
        row = {name: found | {"took_seconds": round(time.perf_counter() - started, 1)}}
        print(row, flush=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        gc.collect()  # a stage and its hooks hold each other: what one row leaves would count as the next one's memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return whole


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(act: Callable[[], Any], device: torch.device, repeats: int, warm: int = 3) -> float:
    """Median seconds of a call, after some that do not count."""
    taken = []
    for repeat in range(warm + repeats):
        wait(device)
        started = time.perf_counter()
        act()
        wait(device)
        if repeat >= warm:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def steady_seconds(act: Callable[[], Any], device: torch.device, repeats: int, warm: int = 3) -> float:
    """Mean seconds of a call among many of its kind, with no wait for the device between them, as in training."""
    for _ in range(warm):
        act()
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        act()
    wait(device)
    return (time.perf_counter() - started) / repeats
