"""The command `python -m preprocessing.negatives run=UNIVDM input=SHARDS output=PAIRS [key=value ...]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.clip import BadSample, BadSamples, decode
from datamodules.keys import KEYS
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index
from datamodules.shards.samples import ClipReader, ReadRequest
from datamodules.statistics import StatisticsAccumulator, counted
from preprocessing.negatives.make import PairMaker, Sample
from preprocessing.negatives.networks import load_networks
from preprocessing.negatives.options import Options
from preprocessing.negatives.plan import Pair, make_plan
from preprocessing.negatives.work import PairWork
from preprocessing.runs.command import run_command, tell_first
from preprocessing.runs.writer import SampleWriter, encoded, packed, sample_entry, whole_file
from settings import ConfigError, build
from settings.device import device_of
from settings.progress import Progress


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command(Options, argv, prog="python -m preprocessing.negatives", make=make_negatives, tell=_tell)


def _tell(options: Options, summary: dict[str, Any]) -> None:
    if "missing" in summary:
        print(
            f"this task is done; {len(summary['missing'])} shards of other tasks are missing, the last writes the index"
        )
        return
    print(f"{summary['pairs']} pairs in {options.output}; {len(summary['skipped'])} left out")
    tell_first("not usable", map(": ".join, summary["skipped"].items()), options.output)


def make_negatives(options: Options) -> dict[str, Any]:
    """Write the shards; go on where an earlier run stopped.

    Returns:
        What `summary.json` holds: "pairs", "frames", "splits", "skipped" (clip or pair to reason), the networks'
        hashes; "missing", the shards of other tasks, where this is one of several and not the last.

    Raises:
        ConfigError: no such networks, or clips that make no pairs.
        RunError, OutputError: the output folder holds something else, or cannot be written.
        IndexFileError, ShardError: the input is not there.
    """
    options = build(vars(options), Options)
    number, tasks = options.task()
    index, folder = Index.load(options.input), ShardFolder(options.input, options.cache)
    output = Path(options.output).expanduser()
    if not folder.remote and output.resolve() == Path(folder.base).resolve():
        raise ConfigError("'output' is the folder of the input; give another one")
    networks = load_networks(options, output)
    plan = make_plan(options, index, folder, networks.univdm)
    work = PairWork(output, index, plan, networks, options)
    if not work.begin(options.restart):
        return work.summary()
    device = device_of(options.device)
    networks.univdm.to(device)
    networks.autoencoder.to(device)
    read = ClipReader(plan.table, folder, ReadRequest(plan.keys))
    maker, bad = PairMaker(options, networks, read, device), BadSamples()
    mine = [shard for place, shard in enumerate(plan.shards) if place % tasks == number]
    left = [(name, pairs) for name, pairs in mine if not work.is_made(name)]
    done = sum(len(pairs) for name, pairs in mine if work.is_made(name))
    with Progress("pairs made", sum(len(pairs) for _, pairs in mine), done=done, shown=options.progress) as bar:
        for name, pairs in left:
            work.record(name, _write(output / name, pairs, maker, options, bad, bar))
    return work.finish()


def _write(
    path: Path, pairs: list[Pair], maker: PairMaker, options: Options, bad: BadSamples, bar: Progress
) -> dict[str, Any]:
    """Write a shard, pairs side by side in their order; gives its record."""
    skipped, made = {}, {}
    for pair, result in maker.make(pairs):
        if isinstance(result, str):
            skipped[pair.id] = result
            bad.add(pair.id, result)
        else:
            try:
                made[pair.id] = [_members(sample) for sample in result]
            except BadSample as error:
                skipped[pair.id] = error.reason
                bad.add(pair.id, error.reason)
        bar.advance()
    statistics = StatisticsAccumulator()
    with whole_file(path) as file:
        writer = SampleWriter(file)
        for pair in pairs:
            for sample, members in made.pop(pair.id, ()):
                data, sizes = packed(sample.info.id, members)
                writer.append(data, sample_entry(sample.info, sizes))
                if sample.info.split == "train":
                    statistics.add({key: decode(key, members[key]) for key in counted(members)})
        entry = writer.end(path.name)
    if not writer.samples:
        path.unlink()
    return {"entry": entry if writer.samples else None, "statistics": statistics.state(), "skipped": skipped}


def _members(sample: Sample) -> tuple[Sample, dict[str, bytes]]:
    values = {"clip.json": sample.info, **sample.values}
    return sample, encoded(sample.info, {key: values[key] for key in KEYS if key in values})
