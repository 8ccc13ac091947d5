"""The command `python -m preprocessing.features`: shards with what a trained network makes of their clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np

from datamodules.clip import BadSample, BadSamples, decode
from datamodules.keys import KEYS
from datamodules.media.fitting import FitMode
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index
from datamodules.statistics import StatisticsAccumulator
from preprocessing.features.clips import OpenClip, Parts, read_clips
from preprocessing.features.work import FeatureWork
from preprocessing.features.writer import WRITERS, Loaded, Writer
from preprocessing.runs.command import run_command, tell_first
from preprocessing.runs.writer import SampleWriter, encoded, packed, whole_file
from settings import Choice, ConfigError
from settings.device import device_of
from settings.progress import Progress
from settings.ranges import Count, Whole

KEPT: Final = ("clip.json", "audio.flac")


@dataclass(frozen=True)
class Options:
    """Add what a trained network makes of clips to shards: motion features (IM-4, IM-3), latents of a video, ...

    Writes the same samples with one key more, and an index with the statistics that stages normalise the new key by.
    Stop it at any time and start it again with the same options: whole shards are kept. Clips that cannot be read are
    left out, counted and named.

    Args:
        input: folder or URL of shards and their index.json.
        output: folder for the new shards and their index.json.
        network: the network that makes them; for implicit_motion a trained base network, its run folder or its saved
            network (export/); for latents an autoencoder, a run of video.autoencoder, its folder or its hub name; for
            image a CLIP vision network, for speech a wav2vec 2.0, WavLM, HuBERT or Whisper, by folder or hub name;
            for identity a face network's file, or "colours"; for head a head template (preprocessing.head); for
            chatanyone a trained renderer of chatanyone.
        writer: what is made: implicit_motion makes implicit.npz, latents makes latents.npz, image makes image.npz,
            speech puts layers into speech.npz, identity makes identity.npz, head makes head.npz,
            chatanyone makes chatanyone.npz.
        drop: keys to leave out of the new shards, such as video.mp4, where the stage needs it no more.
        workers: processes that decode; 0 decodes in this one.
        video_fit: what happens to oblong frames: "crop" takes the middle, "pad" puts black bars around; left out, as
            the network's own run says (data.video_fit), else "crop".
        batch: frames that the network reads at once; left out, 64 for implicit_motion, 32 for image and
            chatanyone, 8 for latents.
        device: cpu, cuda, or auto.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
        restart: throw away what an earlier run left in the output folder.
        progress: say how far it is and how long it still takes.
    """

    input: str
    output: str
    network: str
    writer: Annotated[dict, Choice(WRITERS)] = field(default_factory=lambda: {"name": "implicit_motion"})
    drop: list[str] = field(default_factory=list)
    workers: Whole = 2
    video_fit: FitMode | None = None
    batch: Count | None = None
    device: str = "auto"
    cache: Path | None = None
    restart: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        writer: type[Writer] = WRITERS.get(self.writer["name"])
        kept = (*KEPT, writer.key)
        for key in self.drop:
            if key not in KEYS or key in kept:
                able = ", ".join(k for k in KEYS if k not in kept)
                raise ConfigError(f"'drop' cannot leave out {key!r}; it can {able}")
        if self.workers < 0 or (self.batch or 1) < 1:
            raise ConfigError(f"'workers' must be 0 or more and 'batch' 1 or more, got {self.workers} and {self.batch}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command(Options, argv, prog="python -m preprocessing.features", make=make_features, tell=_tell)


def _tell(options: Options, summary: dict[str, Any]) -> None:
    key = WRITERS.get(options.writer["name"]).key
    print(f"{summary['clips']} clips with {key} in {options.output}; {len(summary['skipped'])} left out")
    tell_first("not usable", map(": ".join, summary["skipped"].items()), options.output)


def make_features(options: Options) -> dict[str, Any]:
    """Write the shards; go on where an earlier run stopped.

    Returns:
        What `summary.json` holds: "clips", "frames", "skipped" (clip to reason), "network" (hash of its weights).

    Raises:
        ConfigError: no such network there, or output on top of the input.
        RunError, OutputError: the output folder holds something else, or cannot be written.
        IndexFileError, ShardError: the input is not there.
    """
    index, folder = Index.load(options.input), ShardFolder(options.input, options.cache)
    output = Path(options.output).expanduser()
    if not folder.remote and output.resolve() == Path(folder.base).resolve():
        raise ConfigError("'output' is the folder of the input; give another one")
    writer: Writer = WRITERS.build(options.writer)
    loaded = writer.load(options.network, options.video_fit)
    what = {"network": loaded.sha256, "drop": sorted(options.drop), **loaded.made_of}
    work = FeatureWork(output, index, writer.key, what)
    if not work.begin(options.restart):
        return work.summary()
    device = device_of(options.device)
    loaded.network.to(device)
    bad = BadSamples()
    total = sum(sample.frames for shard in index.shards for sample in shard.samples)
    result = [shard for shard in index.shards if work.is_made(shard.name)]
    before = sum(sample.frames for shard in result for sample in shard.samples)
    with Progress("frames read by the network", total, done=before, shown=options.progress) as bar:
        for shard in index.shards:
            if shard in result:
                continue
            parts = Parts(folder, shard, writer.reads, loaded.frames, options.batch or writer.batch)
            clips = read_clips(parts, shard, device, options.workers, bar)
            work.record(shard.name, _write(output / shard.name, clips, writer, loaded, options.drop, bad))
    return work.finish()


def _write(
    path: Path, clips: Iterator[OpenClip], writer: Writer, loaded: Loaded, drop: list[str], bad: BadSamples
) -> dict[str, Any]:
    """Write a shard; gives its record: entry of the index (None where no clip is good), statistics, clips left out."""
    skipped = {}
    statistics = StatisticsAccumulator([writer.key])
    with whole_file(path) as file:
        samples = SampleWriter(file)
        for clip in clips:
            try:
                arrays, data = _make(clip, writer, loaded)
            except BadSample as error:
                skipped[clip.sample.id] = error.reason
                bad.add(clip.sample.id, error.reason)
                continue
            members = clip.members | {writer.key: data}
            kept = {key: members[key] for key in KEYS if key in members and key not in drop}
            packing, sizes = packed(clip.sample.id, kept)
            samples.append(packing, clip.sample.model_copy(update={"keys": sizes}).model_dump())
            if clip.sample.split == "train":
                statistics.add({writer.key: arrays})
        entry = samples.end(path.name)
    if not samples.samples:
        path.unlink()
    return {"entry": entry if samples.samples else None, "statistics": statistics.state(), "skipped": skipped}


def _make(clip: OpenClip, writer: Writer, loaded: Loaded) -> tuple[dict[str, Any], bytes]:
    """The arrays of the new key and their bytes, which are checked against the schema. Raises BadSample."""
    if clip.damage is not None:
        raise BadSample(clip.damage, clip.sample.id)
    info = decode("clip.json", clip.members["clip.json"], clip.sample.id)
    also: tuple[str, ...] = getattr(writer, "also", ())
    keys = (*writer.reads, *(key for key in also if key in clip.members))
    output = loaded.make(info, clip.values(keys), clip.frames)
    arrays = {**output, "network": np.frombuffer(bytes.fromhex(loaded.sha256), np.uint8)}
    return arrays, encoded(info, {writer.key: arrays})[writer.key]
