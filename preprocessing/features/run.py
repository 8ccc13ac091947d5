"""The command `python -m preprocessing.features`: shards with the features of a frozen base network in them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.clip import KEYS, BadSample, check, decode, encode
from datamodules.media.fitting import Fit, FitMode
from datamodules.media.video import read_window
from datamodules.shards.bad_samples import BadSamples
from datamodules.shards.cache import ShardError, ShardFolder
from datamodules.shards.index import Index, IndexFileError, SampleEntry, ShardEntry
from datamodules.shards.members import read_members
from datamodules.statistics import Moments
from models.implicit_motion.base import ImplicitMotion
from models.implicit_motion.features import appearance_of, motion_of
from models.implicit_motion.motion_encoder import MOTION
from preprocessing.features.work import FeatureWork
from preprocessing.runs.work import RunError
from preprocessing.runs.writer import OutputError, SampleWriter, member, whole_file
from pretrained.exports import load_frozen
from settings import ConfigError, build, command
from settings.device import device_of
from settings.output import faults_of
from settings.progress import Progress
from settings.ranges import Count, Whole

KEY: Final = "implicit.npz"
KEPT: Final = ("clip.json", "audio.flac", KEY)


class Read(NamedTuple):
    """A clip's members, its motion features (T, 768) and the appearance (A,) of its first frame."""

    members: dict[str, bytes]
    motion: np.ndarray
    appearance: np.ndarray


@dataclass(frozen=True)
class Options:
    """Add motion features and appearance of implicit_motion's base network to shards (IM-4, IM-3).

    Writes the same samples with one key more, `implicit.npz`, and an index with the statistics that the motion stage
    normalises by. Stop it at any time and start it again with the same options: whole shards are kept. Clips that
    cannot be read are left out, counted and named.

    Args:
        input: folder or URL of shards and their index.json.
        output: folder for the new shards and their index.json.
        network: the trained base network: its run folder or its saved network (export/).
        drop: keys to leave out of the new shards, such as video.mp4, which the motion stage then needs no more.
        workers: processes that decode; 0 decodes in this one.
        video_fit: what happens to oblong frames: "crop" takes the middle, "pad" puts black bars around; left out, as
            the network's own run says (data.video_fit).
        batch: frames that the network reads at once.
        device: cpu, cuda, or auto.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
        restart: throw away what an earlier run left in the output folder.
        progress: say how far it is and how long it still takes.
    """

    input: str
    output: str
    network: str
    drop: list[str] = field(default_factory=list)
    workers: Whole = 2
    video_fit: FitMode | None = None
    batch: Count = 64
    device: str = "auto"
    cache: Path | None = None
    restart: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for key in self.drop:
            if key not in KEYS or key in KEPT:
                able = ", ".join(k for k in KEYS if k not in KEPT)
                raise ConfigError(f"'drop' cannot leave out {key!r}; it can {able}")
        if self.workers < 0 or self.batch < 1:
            raise ConfigError(f"'workers' must be 0 or more and 'batch' 1 or more, got {self.workers} and {self.batch}")


class Clips(Dataset):
    """The clips of a shard, each with its frames, read and decoded by workers.

    Args:
        folder: of the shards.
        shard: which of them.
        size: height and width that frames are brought to.
        fit: what happens to oblong frames.
    """

    def __init__(self, folder: ShardFolder, shard: ShardEntry, size: int, fit: FitMode = "crop"):
        self._folder, self._shard, self._size, self._fit = folder, shard, size, fit

    def __len__(self) -> int:
        return len(self._shard.samples)

    def __getitem__(self, number: int) -> tuple[dict[str, bytes], Tensor] | str:
        """All members of a clip and its frames (T, 3, S, S) uint8; where it is damaged, the reason."""
        sample = self._shard.samples[number]
        try:
            with self._folder.open(self._shard) as file:
                file.seek(sample.offset)
                members = read_members(file.read(sample.size), sample.id, tuple(sample.keys))
            if "video.mp4" not in members:
                raise BadSample("video.mp4 is missing", sample.id)
            info = decode("clip.json", members["clip.json"], sample.id)
            fit = Fit.of(info.height, info.width, (self._size, self._size), self._fit)
            frames = read_window(members["video.mp4"], 0, sample.frames, fit, sample.id)
        except BadSample as error:
            return error.reason
        return members, torch.from_numpy(frames).permute(0, 3, 1, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    values = command(Options, argv, prog="python -m preprocessing.features")
    signal.signal(signal.SIGTERM, _stop)
    try:
        options = build(values, Options)
        with faults_of(Path(options.output).expanduser()):
            made = make_features(options)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        return 2
    except (OutputError, RunError, ShardError, IndexFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; start it again with the same options and it goes on", file=sys.stderr)
        return 130
    print(f"{made['clips']} clips with {KEY} in {options.output}; {len(made['skipped'])} left out")
    for clip, reason in made["skipped"].items():
        print(f"  not usable: {clip}: {reason}")
    return 0


def make_features(options: Options) -> dict[str, Any]:
    """Write the shards; go on where an earlier run stopped.

    Returns:
        What `summary.json` holds: "clips", "frames", "skipped" (clip to reason), "network" (hash of its weights).

    Raises:
        ConfigError: no base network there, or output on top of the input.
        RunError, OutputError: the output folder holds something else, or cannot be written.
        IndexFileError, ShardError: the input is not there.
    """
    index, folder = Index.load(options.input), ShardFolder(options.input, options.cache)
    output = Path(options.output).expanduser()
    if not folder.remote and output.resolve() == Path(folder.base).resolve():
        raise ConfigError("'output' is the folder of the input; give another one")
    network, sha256 = load_frozen(ImplicitMotion, "network", options.network, "implicit_motion's base network")
    fit = options.video_fit or trained_fit(options.network)
    work = FeatureWork(output, index, {"network": sha256, "drop": sorted(options.drop), "video_fit": fit})
    if options.restart:
        work.discard()
    work.claim()
    done = work.finished()
    if done is not None:
        return done
    network.to(device_of(options.device))
    bad = BadSamples()
    total = sum(sample.frames for shard in index.shards for sample in shard.samples)
    made = [shard for shard in index.shards if work.is_made(shard.name)]
    before = sum(sample.frames for shard in made for sample in shard.samples)
    with Progress("frames read by the network", total, done=before, shown=options.progress) as bar:
        for shard in index.shards:
            if shard in made:
                continue
            clips = _clips(network, shard, Clips(folder, shard, network.image_size, fit), options, bar)
            work.record(shard.name, _write(output / shard.name, shard, clips, sha256, options, bad))
    return work.finish()


def trained_fit(network: str) -> FitMode:
    """What happened to oblong frames in the training of a network; "crop" where it does not lie in its run folder."""
    where = Path(network).expanduser()
    for folder in (where, where.resolve().parent):
        if (folder / "config.yaml").is_file():
            data = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")).get("data", {})
            return "pad" if data.get("video_fit") == "pad" else "crop"
    return "crop"


def _clips(
    network: ImplicitMotion, shard: ShardEntry, clips: Clips, options: Options, bar: Progress
) -> Iterator[Read | str]:
    """Each clip of a shard, with its features; where it is damaged, the reason."""
    device = next(network.parameters()).device
    more: dict[str, Any] = {"prefetch_factor": 1} if options.workers else {}
    loader = DataLoader(clips, batch_size=None, num_workers=options.workers, **more)
    for sample, read in zip(shard.samples, loader, strict=True):
        if isinstance(read, str):
            bar.advance(sample.frames)
            yield read
            continue
        members, frames = read
        motion = torch.cat([motion_of(network, part.to(device)) for part in frames.split(options.batch)])
        appearance = appearance_of(network, frames[:1].to(device))[0]
        yield Read(members, motion.cpu().numpy(), appearance.cpu().numpy())
        bar.advance(len(frames))


def _write(
    path: Path, shard: ShardEntry, clips: Iterator[Read | str], sha256: str, options: Options, bad: BadSamples
) -> dict[str, Any]:
    """Write a shard; gives its record: entry of the index (None where no clip is good), moments, clips left out."""
    skipped = {}
    features, moves = Moments((MOTION,)), Moments((MOTION,))
    with whole_file(path) as file:
        writer = SampleWriter(file)
        for sample, read in zip(shard.samples, clips, strict=True):
            try:
                members = _members(sample, read, sha256)
            except BadSample as error:
                skipped[sample.id] = error.reason
                bad.add(sample.id, error.reason)
                continue
            kept = {key: members[key] for key in KEYS if key in members and key not in options.drop}
            data = b"".join(member(f"{sample.id}.{key}", value) for key, value in kept.items())
            sizes = {key: len(value) for key, value in kept.items()}
            writer.append(data, sample.model_copy(update={"keys": sizes}).model_dump())
            if sample.split == "train" and isinstance(read, Read):
                features.add(read.motion)
                moves.add(read.motion - read.motion.mean(0))
        entry = writer.end(shard.name)
    if not writer.samples:
        path.unlink()
    return {
        "entry": entry if writer.samples else None,
        "features": features.state(),
        "moves": moves.state(),
        "skipped": skipped,
    }


def _members(sample: SampleEntry, read: Read | str, sha256: str) -> dict[str, bytes]:
    """The members of a clip with the new one, which is checked against the schema. Raises BadSample."""
    if isinstance(read, str):
        raise BadSample(read, sample.id)
    info = decode("clip.json", read.members["clip.json"], sample.id)
    network = np.frombuffer(bytes.fromhex(sha256), np.uint8)
    data = encode(KEY, {"motion": read.motion, "appearance": read.appearance, "network": network})
    check(KEY, decode(KEY, data, sample.id), info, sample.id)
    return read.members | {KEY: data}


def _stop(number: int, frame: FrameType | None) -> None:
    """A polite end by a cluster or a person: the same as Ctrl-C."""
    raise KeyboardInterrupt
