"""The one datamodule of all stages: a stage names the keys it needs, the config says which clips and windows."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import torch

from datamodules.clip import BadSample, BadSamples
from datamodules.keys import KEYS, LATENTS, VIDEO, Latents, keys_read
from datamodules.media.fitting import FitMode
from datamodules.order.streams import Partition, Shuffle
from datamodules.order.windows import Cut
from datamodules.shards.cache import ShardFolder
from datamodules.shards.index import Index
from datamodules.shards.samples import WHOLE, ClipReader, LoadedClip, Oblong, ReadRequest
from datamodules.shards.table import ClipTable, select
from datamodules.transport.loader import ClipLoader, WindowDataset
from settings import ConfigError, get_logger
from settings.ranges import Count, Fraction, Pixels, Positive, Seed, Whole

logger = get_logger(__name__)

_MIB = 1 << 20
_TRIED = 20  # clips that are looked at for one that can be read


class ClipDataModule(L.LightningDataModule):
    """Reads windows of clips from shards, local or remote, in an order that depends on (seed, epoch) alone.

    Args:
        keys: what of a sample to decode ("pose.npz", ...), given by the stage; nothing else is decoded.
        shards: folder or URL (http, https, s3) of shards and their index.json.
        batch_size: windows of a batch on each rank; 8 where neither it nor `global_batch` is given.
        global_batch: windows of one optimiser step of all ranks together, accumulated batches included; split evenly,
            refused where it does not divide.
        window: frames of a window.
        window_seconds: length of a window in seconds, in place of `window`.
        windows: "stride": every `stride` seconds, as far as whole windows fit; "random": `windows_per_clip` of
            each clip and epoch; "clip": whole clips, padded at the end where a batch has several lengths.
        stride: seconds from one window to the next.
        windows_per_clip: random windows of each clip and epoch.
        pairs: deal clips that are a pair, whose ids differ only behind the last "-" (`x-real`, `x-made`), one behind
            the other, so that both are in one batch; whole clips and an even batch only.
        epoch: "exhaustive": every window once; "random": `steps_per_epoch` batches of shuffled windows, none twice
            before all have come.
        steps_per_epoch: batches of a random epoch on each rank.
        drop_last: leave out the windows of an epoch that do not fill a batch on every rank.
        where: filters on any field of clip.json: a value, a list of values, or {min: ..., max: ...};
            `where.licence=[CC-BY,CC0]`, `where.consent=true`, `where.extra.loudness={min: -30}`.
        train_split: split or splits to train on.
        val_split: split or splits to validate on.
        test_split: split or splits to test on.
        seed: of the shuffles.
        shuffle_buffer: clips whose windows are mixed in each virtual stream; so many may be in memory at once.
        streams: virtual streams that ranks and workers share; ranks x workers should divide it.
        workers: processes that decode for each rank; 0 decodes in the training process.
        prefetch: batches that each worker makes ahead.
        memory_mb: decoded clips that are kept for each worker, in MiB.
        video_size: height and width to bring frames to; the video's own where none.
        video_fit: what happens to frames of another shape than `video_size`: "crop" takes the middle, "pad" puts black
            bars around; they are never stretched.
        latents: a stage that reads latents gets them "cached", from latents.npz (`preprocessing.features`), or frames
            to "encode" in every step, which need no such shards and take most of the step.
        speech_layers: layers of the pretrained speech model to read, by number; all that are stored where none.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
        cache_limit_gb: size that the copies may take; the longest unused leave first.
        bad_sample_limit: share of damaged samples that is an error, from `bad_sample_minimum` on.
        bad_sample_minimum: number of damaged samples below which they are only counted and named.

    Raises:
        ConfigError: options that do not go together, an unknown filter field, or a split without windows.
        IndexFileError, ShardError: data that are not there.
    """

    def __init__(
        self,
        keys: tuple[str, ...],
        *,
        shards: str,
        batch_size: Count | None = None,
        global_batch: Count | None = None,
        window: Count = 80,
        window_seconds: Positive | None = None,
        windows: Literal["stride", "random", "clip"] = "stride",
        stride: Positive = 0.5,
        windows_per_clip: Count = 1,
        pairs: bool = False,
        epoch: Literal["exhaustive", "random"] = "exhaustive",
        steps_per_epoch: Count | None = None,
        drop_last: bool = False,
        where: dict[str, Any] | None = None,
        train_split: str | list[str] = "train",
        val_split: str | list[str] = "val",
        test_split: str | list[str] = "test",
        seed: Seed = 0,
        shuffle_buffer: Count = 32,
        streams: Count = 64,
        workers: Whole = 2,
        prefetch: Count = 2,
        memory_mb: Count = 1024,
        video_size: tuple[Pixels, Pixels] | None = None,
        video_fit: FitMode = "crop",
        latents: Latents = "cached",
        speech_layers: list[Whole] | None = None,
        cache: Path | None = None,
        cache_limit_gb: Positive | None = None,
        bad_sample_limit: Fraction = 0.01,
        bad_sample_minimum: Whole = 20,
    ):
        super().__init__()
        unknown = [key for key in keys if key.removeprefix(WHOLE) not in KEYS]
        if unknown:
            raise ConfigError(f"data: a stage asks for the key '{unknown[0]}'; clips have {', '.join(KEYS)}")
        numbers: dict[str, float] = {"window": window, "windows_per_clip": windows_per_clip}
        numbers |= {"batch_size": _or_one(batch_size), "global_batch": _or_one(global_batch)}
        numbers |= {"shuffle_buffer": shuffle_buffer, "streams": streams, "prefetch": prefetch, "memory_mb": memory_mb}
        numbers |= {"stride": stride, "window_seconds": _or_one(window_seconds)}
        for name, value in numbers.items():
            if value <= 0:
                raise ConfigError(f"data.{name} must be above 0, got {value}")
        if seed < 0 or workers < 0:
            raise ConfigError(f"data.seed and data.workers must not be below 0, got {seed} and {workers}")
        if epoch == "random" and not steps_per_epoch:
            raise ConfigError("data.epoch=random needs the length of an epoch: give data.steps_per_epoch")
        if epoch == "exhaustive" and steps_per_epoch is not None:
            raise ConfigError(
                "data.steps_per_epoch goes with data.epoch=random; an exhaustive epoch ends after every window"
            )
        if latents not in ("cached", "encode"):
            raise ConfigError(f"data.latents is cached or encode, got {latents}")
        self.keys, self.seed = keys_read(keys, latents), seed
        self._in_place = {LATENTS: VIDEO} if latents == "encode" and LATENTS in keys else {}
        # Of a global batch, what is left for a rank is known when ranks are: `fit` sets it.
        self.batch_size = (global_batch or 8) if batch_size is None else batch_size
        self._window, self._window_seconds, self._mode = window, window_seconds, windows
        self._stride, self._per_clip = stride, windows_per_clip
        self._steps = steps_per_epoch if epoch == "random" else None
        self._drop_last, self._where = drop_last, dict(where or {})
        self._splits = {"train": train_split, "val": val_split, "test": test_split}
        self._shuffle = Shuffle(seed, streams, shuffle_buffer, pairs=pairs)
        self._workers, self._prefetch, self._memory = workers, prefetch, memory_mb * _MIB
        if video_size and min(video_size) < 1:
            raise ConfigError(f"data.video_size is height and width in pixels, both above 0, got {list(video_size)}")
        self._wanted = ReadRequest(
            self.keys,
            None if speech_layers is None else tuple(speech_layers),
            (video_size[0], video_size[1]) if video_size else None,
            video_fit,
        )
        self._oblong = Oblong(self._wanted)
        self._shards = shards
        self._folder = ShardFolder(shards, cache, int(cache_limit_gb * 1024**3) if cache_limit_gb else None)
        self._bad = BadSamples(bad_sample_limit, bad_sample_minimum)
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """The data set's index, read once."""
        if self._index is None:
            self._index = Index.load(self._shards)
            for problem in self._folder.check(self._index.shards):
                logger.warning("%s; its damaged samples will be skipped", problem)
        return self._index

    @property
    def statistics(self) -> dict[str, Any]:
        """Statistics of the training split for normalisation (`datamodules.statistics`)."""
        return self.index.statistics

    def facts(self) -> dict[str, Any]:
        """What stages have to agree with.

        `fps`; `window` in frames, "clip" for whole clips; `keys`, the number of clips that have each, and `in_place`,
        what is read where a stage asks for another (frames for latents that it encodes); and, of the first
        clip of the training split that can be read, where it has them: `picture` (height and width as frames come),
        each array's `channels` of the table of keys (`speech_channels`, `layer_channels`, ...; 0 where it is left out),
        and "implicit.network" and the like, SHA-256 of the network that made a key.

        Raises:
            ConfigError: no clip can be read.
            IndexFileError, ShardError: data that are not there.
        """
        cut = self._cut(self._mode, self._stride)
        keys = Counter(key for shard in self.index.shards for sample in shard.samples for key in sample.keys)
        known: dict[str, Any] = {
            "fps": self.index.fps,
            "window": "clip" if cut.mode == "clip" else cut.length,
            "keys": keys,
        }
        known["in_place"] = self._in_place
        if not all(keys.get(key.removeprefix(WHOLE)) for key in self.keys):
            return known
        return known | self._of_first_clip()

    def _of_first_clip(self) -> dict[str, Any]:
        clip = self._first_clip()
        if clip is None:
            return {}
        found: dict[str, Any] = {}
        if "video.mp4" in clip.values:
            found["picture"] = self._wanted.video_size or (clip.info.height, clip.info.width)
            self._oblong([clip.info])
        for name, value in clip.values.items():
            for part, array in KEYS[name].arrays.items():
                if array.channels is not None:
                    found[array.channels] = value[part].shape[-1] if part in value else 0
                elif part == "network" and part in value:
                    found[f"{KEYS[name].stem}.{part}"] = value[part].tobytes().hex()
        return found

    def _first_clip(self) -> LoadedClip | None:
        """The first clip of the training split that can be read; None where there is no clip."""
        table = self._table("train")
        read, reason = ClipReader(table, self._folder, self._wanted, 0), ""
        for number in range(min(len(table), _TRIED)):
            try:
                return read(number)
            except BadSample as error:
                reason = error.reason
        if reason:
            raise ConfigError(f"data: none of the first clips of {self._shards} can be read ({reason})")
        return None

    @property
    def bad_samples(self) -> Counter[str]:
        """Samples skipped so far on this rank, by reason."""
        return self._bad.counts

    @property
    def fingerprint(self) -> str:
        """Of the training data and their windows: a place in an epoch of others means nothing."""
        return _fingerprint(self._table("train"), self._cut(self._mode, self._stride))

    def train_dataloader(self) -> ClipLoader:
        """Shuffled windows of the training split; its state is a place in the epoch.

        Raises:
            ConfigError: no such windows, or pairs that no batch holds.
        """
        if self._shuffle.pairs and (self._mode != "clip" or self.batch_size % 2):
            raise ConfigError(
                f"data.pairs=true deals two whole clips at a time: it needs data.windows=clip, which is {self._mode}, "
                f"and an even number of clips in a rank's batch, which has {self.batch_size}"
            )
        loader = self._loader("train", self._cut(self._mode, self._stride), self._shuffle, self._steps, self._drop_last)
        if loader is None:
            raise ConfigError(self._nothing("train"))
        return loader

    def val_dataloader(self) -> ClipLoader | list[ClipLoader]:
        """Windows of the validation split, one behind the other in the order of the index; [] without any."""
        return self._evaluation("val")

    def test_dataloader(self) -> ClipLoader | list[ClipLoader]:
        """Windows of the test split, as for validation."""
        return self._evaluation("test")

    def _evaluation(self, name: str) -> ClipLoader | list[ClipLoader]:
        mode: Literal["stride", "clip"] = "clip" if self._mode == "clip" else "stride"
        loader = self._loader(name, self._cut(mode, None), Shuffle(self.seed, enabled=False), fixed=True)
        if loader is None:
            logger.warning("%s", self._nothing(name))
            return []
        return loader

    def _loader(
        self,
        name: str,
        cut: Cut,
        shuffle: Shuffle,
        steps: int | None = None,
        drop_last: bool = False,
        fixed: bool = False,
    ) -> ClipLoader | None:
        table = self._table(name)
        short = int((cut.counts(table.frames) == 0).sum())
        if short:
            logger.info("%d of %d clips of split %s are shorter than a window and not used", short, len(table), name)
        rank, ranks = _world(self)
        partition = Partition(rank, ranks, self.batch_size, drop_last)
        pinned = torch.cuda.is_available()
        reader = ClipReader(table, self._folder, self._wanted, self._memory)
        dataset = WindowDataset(reader, cut, shuffle, partition, pinned)
        if not dataset.windows or not partition.steps(0, dataset.windows if steps is None else 1 << 60):
            return None
        options: dict[str, Any] = {"num_workers": self._workers}
        if self._workers:
            options |= {"prefetch_factor": self._prefetch, "persistent_workers": True}
        total = dataset.windows if steps is None else steps * ranks * self.batch_size
        fingerprint = _fingerprint(table, cut)
        return ClipLoader(dataset, self._bad, fingerprint, total, fixed, pinned, self._oblong, **options)

    def _table(self, name: str) -> ClipTable:
        split = self._splits[name]
        where = {"split": split} | self._where
        if "split" in self._where:
            raise ConfigError("data.where.split: name splits with data.train_split, data.val_split and data.test_split")
        return select(self.index, where, self._folder, self._bad.add)

    def _cut(self, mode: Literal["stride", "random", "clip"], stride: float | None) -> Cut:
        fps = self.index.fps
        length = self._window if self._window_seconds is None else max(1, round(self._window_seconds * fps))
        return Cut(mode, length, length if stride is None else max(1, round(stride * fps)), self._per_clip)

    def _nothing(self, name: str) -> str:
        splits = Counter(sample.split for shard in self.index.shards for sample in shard.samples)
        held = ", ".join(f"{split} ({count} clips)" for split, count in splits.items()) or "no clips"
        cut = self._cut(self._mode, self._stride)
        windows = int(cut.counts(self._table(name).frames).sum())
        if windows and self._drop_last and name == "train":
            return (
                f"data: the {windows} windows in split '{self._splits[name]}' of {self._shards} fill no batch of "
                f"{self.batch_size} on every rank, and data.drop_last=true leaves out the rest. Set "
                "data.drop_last=false or a smaller batch"
            )
        filters = f" that pass data.where={self._where}" if self._where else ""
        what, window = ("clips", "") if cut.mode == "clip" else (f"windows of {cut.length} frames", ", data.window")
        return (
            f"data: no {what} in split '{self._splits[name]}' of {self._shards}{filters}; the data set holds {held}. "
            f"Set data.{name}_split{window} or data.where"
        )


def _fingerprint(table: ClipTable, cut: Cut) -> str:
    return f"{table.fingerprint}-{cut.mode}-{cut.length}-{cut.stride}-{cut.per_clip}"


def _or_one(number: float | None) -> float:
    return 1 if number is None else number


def _world(module: L.LightningDataModule) -> tuple[int, int]:
    """Rank and number of ranks, from the trainer, else from the process group, else one alone."""
    if module.trainer is not None:
        return module.trainer.global_rank, module.trainer.world_size
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
