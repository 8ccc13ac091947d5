"""Which pairs there will be: of the index alone, the same for every task of an array."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np

from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index, SampleEntry
from datamodules.shards.table import ClipTable, select
from models.paha.univdm import UniVDM
from preprocessing.negatives.options import Options
from settings import ConfigError

NEEDED: Final = ("latents.npz", "speech.npz", "audio.flac")
FACES: Final = ("face.npz", "pose.npz")
"""What says where the face is, the first that all clips have."""


@dataclass(frozen=True)
class Pair:
    """One pair, by numbers of clips in the table and of frames in them.

    Attributes:
        id: of the pair; its clips are called so with "-real" and "-made" behind it.
        clip: that is shown.
        start: first frame of the part that is paired.
        frames: of both.
        reference: frame of the clip that is the picture.
        heard: clip whose speech the generated one has.
        heard_start: first frame of that speech.
        seed: of the noise.
    """

    id: str
    clip: int
    start: int
    frames: int
    reference: int
    heard: int
    heard_start: int
    seed: int


@dataclass(frozen=True)
class Plan:
    """All pairs.

    Attributes:
        table: the clips.
        keys: of a clip that are read.
        shards: name of each shard to be made, and its pairs.
        left_out: clips that make no pair, and why.
    """

    table: ClipTable
    keys: tuple[str, ...]
    shards: list[tuple[str, list[Pair]]]
    left_out: dict[str, str]


def make_plan(options: Options, index: Index, folder: ShardFolder, network: UniVDM) -> Plan:
    """Draw pairs, each clip's from a stream of its own: other clips beside it change nothing but whom it hears.

    In each round every clip of a split is heard once, by the one before it in a drawn order: a clip whose speech were
    generated more often than another's could be told by its speech. The order of the table would not do: neighbours in
    it are mostly of one person, so that in one round all would hear somebody else and in the next nearly all their own
    voice.

    Raises:
        ConfigError: no clip has what is needed, or none is long enough.
    """
    needed = (*NEEDED, *(("image.npz",) if network.image_channels else ()))
    entries = {sample.id: sample for shard in index.shards for sample in shard.samples}
    left_out = {sample.id: reason for sample in entries.values() if (reason := _lacking(sample, needed))}
    wanted = set(select(index, options.where, folder).ids)
    left_out = {clip: reason for clip, reason in left_out.items() if clip in wanted}
    usable = wanted - set(left_out)
    faces = next((key for key in FACES if all(key in entries[clip].keys for clip in usable)), FACES[-1])
    table = ClipTable(index, lambda sample: sample.id in usable)
    shortest = min(options.lengths)
    able = np.flatnonzero(table.frames >= shortest).tolist()
    short = np.flatnonzero(table.frames < shortest).tolist()
    left_out |= {table.ids[number]: f"shorter than {shortest} frames" for number in short}
    if not able:
        reasons = next(iter(left_out.items()), ("no clip", "none passes the filters of 'where'"))
        raise ConfigError(f"input={options.input}: no clip makes a pair; {reasons[0]}: {reasons[1]}")
    pairs = []
    for numbers in _hearing_each_other(options.heard, [entries[table.ids[number]] for number in able], able):
        if len(numbers) == 1:
            left_out[table.ids[numbers[0]]] = "no other clip of its split, whose speech it could have"
            continue
        for copy in range(options.pairs_per_clip):
            mixed = [numbers[place] for place in _stream(options.seed, "heard", copy)[1].permutation(len(numbers))]
            heard = dict(zip(mixed, [*mixed[1:], mixed[0]], strict=True))
            pairs += [_draw(options, table, number, heard[number], copy) for number in numbers]
    pairs.sort(key=lambda pair: pair.clip)
    if not pairs:
        raise ConfigError(f"input={options.input}: no split has two clips, of which one could have the other's speech")
    count = options.pairs_per_shard
    shards = [(f"shard-{n // count:06d}.tar", pairs[n : n + count]) for n in range(0, len(pairs), count)]
    return Plan(table, (*needed, faces), shards, left_out)


def _hearing_each_other(heard: str, entries: Sequence[SampleEntry], numbers: Sequence[int]) -> list[list[int]]:
    """Groups of clips that have each other's speech: those of a split, or of a speaker in it.

    The only clips of their speakers in a split are a group of their own, or a split with one clip of each speaker
    would have no pairs to be measured on.
    """
    by_split: defaultdict[str, defaultdict[str | None, list[int]]] = defaultdict(lambda: defaultdict(list))
    for entry, number in zip(entries, numbers, strict=True):
        by_split[entry.split][entry.speaker if heard == "same_speaker" else None].append(number)
    groups = []
    for speakers in by_split.values():
        alone = [number for own in speakers.values() if len(own) == 1 for number in own]
        groups += [own for own in speakers.values() if len(own) > 1] + ([alone] if alone else [])
    return groups


def _draw(options: Options, table: ClipTable, number: int, heard: int, copy: int) -> Pair:
    """A pair of one clip's picture, with another's speech in what is generated.

    Speech is heard where the pair of its own clip shows it: the same sound stands once beside a filmed clip and once
    beside a generated one, and says nothing by itself.
    """
    seed, rng = _stream(options.seed, table.ids[number], copy)
    place, other = rng.random(), _stream(options.seed, table.ids[heard], copy)[1].random()
    there = min(table.frames[number], table.frames[heard])
    frames = int(rng.choice([length for length in options.lengths if length <= there]))
    start, heard_start = (
        int(share * (table.frames[clip] - frames + 1)) for share, clip in ((place, number), (other, heard))
    )
    reference = int(rng.integers(table.frames[number])) if options.reference == "random" else start
    name = f"{table.ids[number]}-{copy}"
    return Pair(name, number, start, frames, reference, heard, heard_start, seed)


def _stream(seed: int, clip: str, copy: int) -> tuple[int, np.random.Generator]:
    drawn = blake2b(f"{seed} {clip} {copy}".encode(), digest_size=7).digest()
    number = int.from_bytes(drawn, "little")
    return number, np.random.default_rng(number)


def _lacking(sample: SampleEntry, needed: tuple[str, ...]) -> str | None:
    for key in needed:
        if key not in sample.keys:
            return f"{key} is missing"
    return None if any(key in sample.keys for key in FACES) else f"{' and '.join(FACES)} are missing"
