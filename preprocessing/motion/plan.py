"""What there is to import: the shards to be made, what goes into each, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from csv import DictReader
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import FILE_NAME, Index
from models.human.motion import FPS
from preprocessing.motion.clips import Read, speech_features
from preprocessing.motion.from_shards import read_sample
from preprocessing.motion.humanml3d import MOTIONS, TEXTS, read_humanml3d
from preprocessing.motion.options import Options
from preprocessing.motion.smplx_files import read_smplx_file, rest_of, speaker_of
from preprocessing.sources.manifest import assign_splits
from preprocessing.step import SourceFile
from settings import ConfigError

SPLITS: Final = ("train", "val", "test")
BEAT_SPLITS: Final = "train_test_split.csv"


@dataclass(frozen=True)
class ImportPlan:
    """An import.

    Attributes:
        shards: name of every shard to be made, and the jobs whose clips it will hold, in order.
        read: does one job; may run in another process.
        fps: of the index.
        made_of: what decides what comes out, beside the options, as plain values.
        statistics: of the input's index, which those of body motion are added to; none where all are to be made.
        unlisted: files that are there, but in no list of the data set's.
    """

    shards: list[tuple[str, list[Any]]]
    read: Callable[[Any], Read]
    fps: float
    made_of: Any
    statistics: dict[str, Any] | None = None
    unlisted: list[str] = field(default_factory=list)

    @property
    def jobs(self) -> int:
        """How many jobs there are in all."""
        return sum(len(jobs) for _, jobs in self.shards)


def make_plan(options: Options) -> ImportPlan:
    """Look at the input.

    Raises:
        ConfigError: nothing there that can be imported, or no body model at `model`, no pretrained model for speech.
        datamodules.shards.index.IndexFileError: shards without an index.
    """
    location = Path(options.input).expanduser()
    remote = "://" in options.input
    if not remote and not location.exists():
        raise ConfigError(f"input={options.input} does not exist; give a folder of SMPL-X files, HumanML3D or shards")
    kind = options.format
    if kind == "auto":
        if remote or location.name == FILE_NAME or (location / FILE_NAME).is_file():
            kind = "shards"
        else:
            kind = "humanml3d" if (location / MOTIONS).is_dir() else "smplx"
    if kind == "shards":
        return _of_shards(options)
    if kind == "humanml3d":
        sources, unlisted = _humanml3d(location)
        return _of_files(options, sources, partial(read_humanml3d, options=options), unlisted)
    # What is wrong with a pretrained model is said before anything is written.
    if options.model is not None:
        rest_of(options.model)
    speech_features(options)
    return _of_files(options, _smplx(location, options), partial(read_smplx_file, options=options), [])


def _of_files(
    options: Options, sources: list[SourceFile], read: Callable[[Any], Read], unlisted: list[str]
) -> ImportPlan:
    splits = assign_splits(sources, options.splits, options.split_by, options.seed)
    jobs = [(source, splits[source.name]) for source in sources]
    count = options.files_per_shard
    shards = [(f"shard-{i // count:06d}.tar", jobs[i : i + count]) for i in range(0, len(jobs), count)]
    made_of = [[source.name, _size(source.path), split] for source, split in jobs]
    return ImportPlan(shards, read, float(FPS), made_of, unlisted=unlisted)


def _of_shards(options: Options) -> ImportPlan:
    index, folder = Index.load(options.input), ShardFolder(options.input, options.cache)
    output = Path(options.output).expanduser()
    if not folder.remote and output.resolve() == Path(folder.base).resolve():
        raise ConfigError("'output' is the folder of the input; give another one")
    shards: list[tuple[str, list[Any]]] = [
        (shard.name, [(shard, sample) for sample in shard.samples]) for shard in index.shards
    ]
    made_of = [shard.sha256 for shard in index.shards]
    return ImportPlan(shards, partial(read_sample, folder=folder), index.fps, made_of, index.statistics)


def _smplx(location: Path, options: Options) -> list[SourceFile]:
    root = location if location.is_dir() else location.parent
    shut = Path(options.output).expanduser().resolve()
    files = sorted(location.rglob("*.npz")) if location.is_dir() else [location]
    files = [f for f in files if not _hidden(f.relative_to(root)) and shut not in f.resolve().parents]
    if not files:
        raise ConfigError(
            f"input={options.input}: no .npz file (SMPL-X motion of AMASS or BEAT2), no folder {MOTIONS} (HumanML3D), "
            f"no {FILE_NAME} (shards) in it"
        )
    splits = _beat_splits(root)
    sources = []
    for file in files:
        name = file.relative_to(root).as_posix()
        row = {"speaker": speaker_of(name), "split": splits.get(file.stem)}
        sources.append(SourceFile(file, name, file.parent, {key: value for key, value in row.items() if value}))
    return sources


def _beat_splits(root: Path) -> dict[str, str]:
    """Split by file stem, from BEAT2's table with the columns id and type, where there is one."""
    table = root / BEAT_SPLITS
    if not table.is_file():
        return {}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            return {row["id"]: row["type"] for row in DictReader(file) if row["type"]}
    except (UnicodeDecodeError, KeyError) as error:
        raise ConfigError(f"{table} is no table with the columns id and type ({error})") from None


def _humanml3d(location: Path) -> tuple[list[SourceFile], list[str]]:
    folder = location / MOTIONS
    if not folder.is_dir() or not (location / TEXTS).is_dir():
        raise ConfigError(f"{location} has no folder {MOTIONS if not folder.is_dir() else TEXTS}, as HumanML3D has")
    there = {path.stem for path in folder.glob("*.npy")}
    listed: dict[str, str] = {}
    for split in SPLITS:
        table = location / f"{split}.txt"
        for name in table.read_text(encoding="utf-8-sig").split() if table.is_file() else ():
            listed.setdefault(name, split)
    names: dict[str, str | None] = dict(listed) if listed else dict.fromkeys(there)
    if not names:
        raise ConfigError(f"{folder} holds no .npy file, and no name is listed in train.txt, val.txt or test.txt")
    sources = []
    for name, of in sorted(names.items()):
        row = {"split": of} if of else {}
        sources.append(SourceFile(folder / f"{name}.npy", f"{MOTIONS}/{name}.npy", folder, row))
    return sources, sorted(there - set(names))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
