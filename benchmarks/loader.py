"""Loader throughput over the raw limit: tar read plus the decoding that the stage needs, alone, in as many processes.

    python -m benchmarks.loader [--clips 240] [--workers 2] [--repeats 3] [--quick]

Two stages are measured: `poses` (MMGT's SMGA: windows of 80 frames every half second of pose.npz and speech.npz, batch 64) and
`video` (random windows of 12 frames, batch 8). The raw limit reads shards in order with webdataset and decodes each clip
(for video: each window) once, checks nothing, shuffles nothing and makes no batch. Raw and loader take turns; the best time of each
counts, since other work on the
machine only ever adds. Writes `benchmarks/results/loader-DATE.json`.
"""

import argparse
import io
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import webdataset

from benchmarks.machine import describe, write_result
from datamodules.index import Index
from datamodules.reader import ClipDataModule
from datamodules.video import read_window
from tests.shards import write_shards

WINDOW, STRIDE, FRAMES, PREFETCH = 80, 12, 12, 2
SEED = 0


def read_poses(urls: list[str]) -> int:
    """Decode pose.npz and speech.npz of every clip; how many windows they hold."""
    windows = 0
    for sample in _samples(urls):
        for key in ("pose.npz", "speech.npz"):
            with np.load(io.BytesIO(sample[key])) as archive:
                arrays = {name: archive[name] for name in archive.files}
        windows += (len(arrays["handcrafted"]) - WINDOW) // STRIDE + 1
    return windows


def read_video(urls: list[str]) -> int:
    """Decode one window of every clip's video; how many."""
    rng, windows = np.random.default_rng(SEED), 0
    for sample in _samples(urls):
        read_window(sample["video.mp4"], int(rng.integers(0, 60)), FRAMES)
        windows += 1
    return windows


def _samples(urls: list[str]) -> Any:
    return webdataset.WebDataset(
        urls, shardshuffle=False, empty_check=False, workersplitter=lambda urls: urls, nodesplitter=lambda urls: urls
    )


def raw(read: Callable[[list[str]], int], folder: Path, workers: int) -> tuple[int, float]:
    """Windows and seconds of the raw limit."""
    urls = [str(folder / shard.name) for shard in Index.load(folder).shards]
    start = time.perf_counter()
    if not workers:
        return read(urls), time.perf_counter() - start
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        pool.map(abs, range(workers))
        start = time.perf_counter()
        windows = sum(pool.map(read, [[url] for url in urls], chunksize=1))
        return windows, time.perf_counter() - start


def load(folder: Path, keys: tuple[str, ...], workers: int, **options: Any) -> tuple[int, float]:
    """Windows and seconds of one epoch of the loader from its first batch on; what was made ahead by then is not counted."""
    data = ClipDataModule(keys, shards=str(folder), workers=workers, prefetch=PREFETCH, seed=SEED, **options)
    loader = data.train_dataloader()
    start, ahead = time.perf_counter(), 0
    batches = iter(loader)
    if workers:
        next(batches)
        start, ahead = time.perf_counter(), PREFETCH * workers
    windows = sum(len(batch) for number, batch in enumerate(batches) if number >= ahead)
    return windows, time.perf_counter() - start


def compare(
    repeats: int, alone: Callable[[], tuple[int, float]], loaded: Callable[[], tuple[int, float]]
) -> dict[str, Any]:
    """Rates of both in turns, and the ratio of the best."""
    pairs = [(alone(), loaded()) for _ in range(repeats)]
    rates = {
        name: [round(n / s, 1) for n, s in found]
        for name, found in zip(("raw", "loader"), zip(*pairs, strict=True), strict=True)
    }
    best = {name: max(found) for name, found in rates.items()}
    return {
        "windows": pairs[0][1][0],
        "windows_per_second": rates,
        "ratio_of_best": round(best["loader"] / best["raw"], 3),
    }


def main() -> None:
    """Make the data, measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small try: says little")
    arguments = parser.parse_args()
    clips, repeats = (32, 1) if arguments.quick else (arguments.clips, arguments.repeats)
    warnings.filterwarnings("ignore", category=UserWarning)
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
                lambda workers=workers: raw(read_poses, poses, workers),
                lambda workers=workers: load(poses, ("pose.npz", "speech.npz"), workers, batch_size=64),
            )
            result["video"][f"{workers} workers"] = compare(
                repeats,
                lambda workers=workers: raw(read_video, video, workers),
                lambda workers=workers: load(
                    video, ("video.mp4",), workers, batch_size=8, window=FRAMES, windows="random", shuffle_buffer=32
                ),
            )
    print(write_result("loader", result))


if __name__ == "__main__":
    main()
