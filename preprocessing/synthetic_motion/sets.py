"""Writes a set of synthetic motion clips as shards with their index."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from datamodules.shards.index import FILE_NAME, Index, ShardEntry
from datamodules.statistics import StatisticsAccumulator, counted
from models.human.motion import FPS
from preprocessing.runs.writer import (
    SampleWriter,
    encoded,
    make_folder,
    packed,
    sample_entry,
    whole_file,
    write_json,
)
from preprocessing.synthetic_motion.actions import held_out
from preprocessing.synthetic_motion.clips import Recipe, make_clip
from settings import ConfigError, get_logger
from settings.progress import Progress
from settings.ranges import Count, Fraction, Seed, Whole

RECIPE: Final = "recipe.json"
logger = get_logger(__name__)


class _Made(NamedTuple):
    """One clip as it stands in a shard."""

    entry: dict[str, Any]
    data: bytes
    kind: str
    arrays: dict[str, Any]


def generate(
    output: Path,
    clips: Count = 500,
    speakers: Count = 4,
    seed: Seed = 0,
    talking: Fraction = 0.2,
    sequences: Fraction = 0.2,
    captions: Whole = 4,
    val: Fraction = 0.08,
    test: Fraction = 0.17,
    poses: bool = False,
    clips_per_shard: Count = 256,
    workers: Whole = 1,
    restart: bool = False,
) -> dict[str, Any]:
    """Make shards of synthetic motion clips whose text, actions and speech gestures are known (VA-1).

    People wave, raise an arm, point, step, turn and bow as the captions say, or speak and strike with their hands on
    stressed syllables. Nothing is downloaded. Some combinations of seen words are in the test alone; the truth is in
    every clip.json under extra.truth. The same options give the same files, byte for byte.

    Args:
        output: folder to write into.
        clips: how many.
        speakers: people who move in them, each in an own manner.
        seed: other seeds give other people, clips and combinations held out.
        talking: share of clips with synthetic speech; 0 needs no speech synthesis.
        sequences: share of the silent clips that have two actions, each with its span.
        captions: ways in which each action is said.
        val: share of the clips in split val.
        test: share of the clips in split test.
        poses: also write pose.npz, body and feet as a far camera in front of the first frame sees them, for a
            token2pose bank (VA-10).
        clips_per_shard: of each tar file.
        workers: processes that work side by side.
        restart: make the set anew where another one stands.

    Returns:
        What `summary.json` holds: clips, frames, counts by split and kind, combinations held out.

    Raises:
        ConfigError: a number out of range, or another set in the folder.
        preprocessing.runs.writer.OutputError: the folder cannot be written.
    """
    _check(clips, speakers, talking, sequences, captions, val, test, clips_per_shard, workers)
    recipe = Recipe(clips, speakers, seed, talking, sequences, captions, val, test, poses)
    what = {**asdict(recipe), "clips_per_shard": clips_per_shard}
    output = Path(output).expanduser()
    make_folder(output)
    done = _finished(output, what, restart)
    if done is not None:
        return done
    write_json(output / RECIPE, what)
    statistics, entries, counts = StatisticsAccumulator(), [], Counter[str]()
    with _mapped(recipe, workers) as mapped, Progress("clips made", clips) as bar:
        outcome = bar.over(mapped)
        for first in range(0, clips, clips_per_shard):
            path = output / f"shard-{first // clips_per_shard:06d}.tar"
            entries.append(_write(path, islice(outcome, min(clips_per_shard, clips - first)), statistics, counts))
    index = Index(fps=float(FPS), shards=entries, statistics=statistics.result())
    summary = {
        "clips": clips,
        "frames": sum(sample.frames for shard in entries for sample in shard.samples),
        "splits": {name[6:]: count for name, count in sorted(counts.items()) if name.startswith("split ")},
        "kinds": {name[5:]: count for name, count in sorted(counts.items()) if name.startswith("kind ")},
        "held_out": sorted([list(one) for one in held_out(seed)], key=str),
    }
    write_json(output / "summary.json", summary)
    # Last of all: where the index stands, the rest is whole.
    with whole_file(output / FILE_NAME) as file:
        file.write(index.to_bytes())
    logger.info("%d clips in %s", clips, output)
    return summary


def _check(
    clips: int,
    speakers: int,
    talking: float,
    sequences: float,
    captions: int,
    val: float,
    test: float,
    clips_per_shard: int,
    workers: int,
) -> None:
    numbers = {
        "clips": clips, "speakers": speakers, "captions": captions, "clips_per_shard": clips_per_shard,
        "workers": workers,
    }  # fmt: skip
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"'{name}' must be 1 or more, got {number}")
    for name, share in {"talking": talking, "sequences": sequences, "val": val, "test": test}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"'{name}' is a share from 0 to 1, got {share:g}")
    if val + test >= 1:
        raise ConfigError(f"'val' and 'test' leave nothing to train on: {val:g} and {test:g} of the clips")


def _finished(output: Path, what: dict[str, Any], restart: bool) -> dict[str, Any] | None:
    """The summary where this very set is there; room is made where an unfinished one is.

    Raises:
        ConfigError: the folder holds something else.
    """
    index, recipe = output / FILE_NAME, output / RECIPE
    found = None
    if recipe.is_file():
        try:
            found = json.loads(recipe.read_bytes())
        except ValueError:
            found = {}
    elif index.exists() or any(output.glob("*.tar")):
        raise ConfigError(f"'output': {output} holds shards of something else; give another folder")
    if found is not None and not restart:
        if found != what:
            differing = sorted(name for name in what if found.get(name) != what[name])
            raise ConfigError(
                f"'output': {output} holds a set made with other {', '.join(differing) or 'options'}; give another "
                "folder, or restart=true"
            )
        if index.is_file() and all(_is_whole(output / shard.name, shard) for shard in Index.load(output).shards):
            return json.loads((output / "summary.json").read_bytes())
    index.unlink(missing_ok=True)
    for left in (*output.glob("shard-*.tar"), *output.glob(".*.tmp")):
        left.unlink()
    return None


def _is_whole(path: Path, shard: ShardEntry) -> bool:
    return path.is_file() and path.stat().st_size == shard.bytes


@contextmanager
def _mapped(recipe: Recipe, workers: int) -> Iterator[Iterator[_Made]]:
    make = partial(_make, recipe)
    if workers == 1:
        yield map(make, range(recipe.clips))
        return
    # A fork would share espeak-ng's and torch's threads with the parent; a fresh process does not.
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        yield pool.map(make, range(recipe.clips), chunksize=8)


def _make(recipe: Recipe, number: int) -> _Made:
    """A clip and the bytes that it is in a shard, after checking that what will be read back keeps the schema."""
    values = make_clip(recipe, number)
    info = values["clip.json"]
    data, sizes = packed(info.id, encoded(info, values))
    entry = sample_entry(info, sizes)
    arrays = {key: values[key] for key in counted(values)}
    return _Made(entry, data, info.extra["truth"]["kind"], arrays)


def _write(path: Path, clips: Iterator[_Made], statistics: StatisticsAccumulator, counts: Counter[str]) -> ShardEntry:
    with whole_file(path) as file:
        writer = SampleWriter(file)
        for clip in clips:
            writer.append(clip.data, clip.entry)
            counts.update([f"split {clip.entry['split']}", f"kind {clip.kind}"])
            if clip.entry["split"] == "train":
                statistics.add(clip.arrays)
        return ShardEntry(**writer.end(path.name))
