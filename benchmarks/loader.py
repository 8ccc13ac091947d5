"""Loader throughput over the raw limit: tar read plus the decoding that the stage needs, alone, in as many processes.

    python -m benchmarks.loader [--clips 240] [--workers 0 1 2] [--repeats 3] [--quick]

Two stages are measured: `poses` (MMGT's SMGA: windows of 80 frames every half second of pose.npz and speech.npz,
batch 64) and `video` (four random windows of 12 frames of each clip, batch 8). The raw limit reads shards in order
with webdataset and decodes each clip (for video: each window) once with numpy or decord; it checks nothing, shuffles
nothing and makes no batch. `raw_with_windows` also copies the windows out of the decoded clips, each frame seven
times, as any batch must. With N workers the raw limit has N processes, and the loader N and the one that takes the
batches. Raw and loader take turns; the best of each counts, since other work on the machine only ever slows.
Processor time of all processes together is told as well: it says what the loader costs where there are more cores
than here. A first round of all warms up and is not counted. Times leave out the start of processes. Writes
`benchmarks/results/loader-DATE.json`.
"""

import io
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from torch.utils.dlpack import from_dlpack

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from datamodules.transport.memory import keep_freed_memory
from tests.shards import write_shards

WINDOW, STRIDE, FRAMES = 80, 12, 12
SEED = 0
VIDEO = {"window": FRAMES, "windows": "random", "windows_per_clip": 4}


def read_poses(urls: list[str], cut: bool = False) -> int:
    """Decode pose.npz and speech.npz of every clip; how many windows they hold."""
    windows = 0
    poses, speech = np.empty((64, WINDOW, 134, 3), np.float32), np.empty((64, WINDOW, 35), np.float32)
    for sample in _samples(urls):
        arrays: dict[str, np.ndarray] = {}
        for key in ("pose.npz", "speech.npz"):
            with np.load(io.BytesIO(sample[key])) as archive:
                arrays = arrays | {name: archive[name] for name in archive.files}
        starts = range(0, len(arrays["handcrafted"]) - WINDOW + 1, STRIDE)
        if cut:
            points = np.concatenate([arrays["keypoints"], arrays["scores"][..., None]], -1)
            for start in starts:
                poses[windows % 64] = points[start : start + WINDOW]
                speech[windows % 64] = arrays["handcrafted"][start : start + WINDOW]
                windows += 1
        else:
            windows += len(starts)
    return windows


def read_video(urls: list[str]) -> int:
    """Decode four windows of every clip's video; how many. Decord's batches as they are, without a copy."""
    import decord  # only here: its library must not be loaded into a process that forks workers

    rng, windows = np.random.default_rng(SEED), 0
    for sample in _samples(urls):
        for start in rng.integers(0, 89, 4).tolist():
            reader = decord.VideoReader(io.BytesIO(sample["video.mp4"]), num_threads=1)
            from_dlpack(reader.get_batch(range(start, start + FRAMES)).to_dlpack()).numpy()
            windows += 1
    return windows


def _samples(urls: list[str]) -> Any:
    return webdataset.WebDataset(
        urls, shardshuffle=False, empty_check=False, workersplitter=lambda urls: urls, nodesplitter=lambda urls: urls
    )


class Clock:
    """Wall time, and processor time of this process and its children."""

    def __enter__(self) -> "Clock":
        self.wall, self.cpu = -time.perf_counter(), -_processor_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += _processor_seconds()


def _processor_seconds() -> float:
    ticks = 0
    for pid in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def raw(read: Callable[[list[str]], int], folder: Path, workers: int) -> tuple[int, Clock]:
    """Windows and time of the raw limit."""
    urls = [str(folder / shard.name) for shard in Index.load(folder).shards]
    if not workers:
        with Clock() as clock:
            windows = read(urls)
        return windows, clock
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        pool.map(abs, range(workers))
        with Clock() as clock:
            windows = sum(pool.map(read, [[url] for url in urls], chunksize=1))
    return windows, clock


def load(folder: Path, keys: tuple[str, ...], workers: int, **options: Any) -> tuple[int, Clock]:
    """Windows and time of a whole epoch of the loader, the start of its processes left out."""
    data = ClipDataModule(keys, shards=str(folder), workers=workers, seed=SEED, **options)
    loader = data.train_dataloader()
    if workers:
        # An iteration that is left is forgotten, all but the processes: they wait, with nothing decoded.
        next(iter(loader))
    batches = iter(loader)
    with Clock() as clock:
        windows = sum(len(batch) for batch in batches)
    return windows, clock


def compare(repeats: int, **measures: Callable[[], tuple[int, Clock]]) -> dict[str, Any]:
    """Rates in turns after a round that does not count, and the loader's best over the best of each other."""
    rates: dict[str, list[float]] = {name: [] for name in measures}
    costs: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()
    for _ in range(repeats):
        for name, measure in measures.items():
            windows, clock = measure()
            rates[name].append(round(windows / clock.wall, 1))
            costs[name].append(round(clock.cpu / windows * 1e6, 1))
    best, cheapest = (
        {name: pick(found) for name, found in table.items()} for pick, table in ((max, rates), (min, costs))
    )
    ratios = {f"loader_over_{name}": round(best["loader"] / best[name], 3) for name in best if name != "loader"}
    ratios |= {
        f"{name}_cost_over_loader": round(cheapest[name] / cheapest["loader"], 3) for name in best if name != "loader"
    }
    return {"windows_per_second": rates, "processor_microseconds_per_window": costs, **ratios}


def main() -> None:
    """Make the data, measure, print and store."""
    parser = Parser(description=__doc__)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small try: says little")
    arguments = parser.parse_args()
    clips, repeats = (32, 1) if arguments.quick else (arguments.clips, arguments.repeats)
    warnings.filterwarnings("ignore", category=UserWarning)
    keep_freed_memory()  # as trainers.fit on a CPU does
    lengths = [6.0, 10.0, 14.0, 22.0, 30.0]
    result: dict[str, Any] = {
        "machine": describe(),
        "seed": SEED,
        "poses": {"clips": clips, "seconds": lengths, "window": WINDOW, "stride": STRIDE, "batch": 64},
        "video": {"clips": clips, "seconds": 4.0, "window": FRAMES, "batch": 8, "pixels": [256, 256]},
    }
    with tempfile.TemporaryDirectory() as name:
        poses, video = Path(name) / "poses", Path(name) / "video"
        write_shards(poses, clips, 15, lengths, keys=("pose.npz", "speech.npz", "audio.flac"), seed=SEED)
        write_shards(video, clips, 15, 4.0, keys=("video.mp4", "pose.npz"), video_size=(256, 256), seed=SEED)
        for workers in arguments.workers:
            result["poses"][f"{workers} workers"] = compare(
                repeats,
                raw=partial(raw, read_poses, poses, workers),
                raw_with_windows=partial(raw, partial(read_poses, cut=True), poses, workers),
                loader=partial(load, poses, ("pose.npz", "speech.npz"), workers, batch_size=64),
            )
            result["video"][f"{workers} workers"] = compare(
                repeats,
                raw=partial(raw, read_video, video, workers),
                loader=partial(load, video, ("video.mp4",), workers, batch_size=8, **VIDEO),
            )
    print(write_result("loader", result))


if __name__ == "__main__":
    main()
