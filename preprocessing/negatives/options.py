"""What the command of negatives can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from preprocessing.runs.tasks import task_of
from settings import ConfigError
from settings.ranges import Count, NonNegative, Seed, Whole

HOW_ONLY: Final = (
    "input", "output", "batch", "decode_batch", "device", "cache", "task_index", "task_count", "restart", "progress",
)  # fmt: skip
"""Options that change how a run is made, not what comes out."""
LENGTHS: Final = (30, 60, 90, 120)


@dataclass(frozen=True)
class Options:
    """Make pairs of a filmed and a generated clip, from which classifiers of picture and speech learn (PAHA, PH-11).

    A trained UniVDM makes a clip of a picture of each clip and of another clip's speech; beside it stands a part of the
    filmed clip, as long, with its own speech. Both have gone through decoder, video encoder and encoder, so that only
    what they show tells them apart. Stop it at any time and start it again with the same options: whole shards are
    kept. In a SLURM job array every task does its share and the last one writes the index.

    Args:
        run: the paha.univdm that generates: its run folder, saved network (export/) or hub name.
        input: folder or URL of shards with latents.npz (of its autoencoder), speech.npz, sound, and face.npz or
            pose.npz; image.npz where it reads an image encoder.
        output: folder for the shards of pairs and their index.json.
        checkpoint: of a run folder: "last" is the newest one, "best" the best, a number the one of that step, which
            `checkpoint.keep_steps` has kept.
        autoencoder: whose latents the network knows; left out, as its run says.
        where: filters on fields of clip.json, as data.where of a training: `where.consent=true`.
        pairs_per_clip: pairs of each clip.
        lengths: frames of a pair, drawn anew for each (PH-13).
        reference: the picture is the first frame of the part that is paired, or any of the clip (PH-13).
        heard: whose speech generated clips have: another clip's of anyone (PH-11), or of the same speaker (ours): where
            speakers are few, a voice that is not the person's gives generated clips away by itself. The only clip of
            its speaker in a split hears another that is as alone.
        steps: denoising steps; left out, the network's own.
        guidance_reference: weight of guidance by the picture, 1 is none; left out, the network's own.
        guidance_audio: by the speech.
        seed: of what is drawn.
        pairs_per_shard: pairs of a shard, which is what a stopped run loses at most.
        keep_video: keep the frames of both, to look at; the classifiers need them not.
        keep_plain: keep latents that have not passed decoder and video encoder, for a control in `trainers.evaluate`.
        batch: clips generated at once.
        decode_batch: frames decoded and encoded at once.
        device: cpu, cuda, or auto.
        cache: folder for copies of remote shards; $COSPEECH_CACHE or ~/.cache/cospeech where none.
        task_index: which task of a job array this is, from 0; none asks SLURM.
        task_count: how many tasks there are; none asks SLURM.
        restart: throw away what an earlier run left in the output folder.
        progress: say how far it is and how long it still takes.
    """

    run: str
    input: str
    output: str
    checkpoint: str | Whole = "last"
    autoencoder: str | None = None
    where: dict[str, Any] = field(default_factory=dict)
    pairs_per_clip: Count = 1
    lengths: list[Count] = field(default_factory=lambda: list(LENGTHS))
    reference: Literal["first", "random"] = "random"
    heard: Literal["anyone", "same_speaker"] = "anyone"
    steps: Count | None = None
    guidance_reference: NonNegative | None = None
    guidance_audio: NonNegative | None = None
    seed: Seed = 0
    pairs_per_shard: Count = 32
    keep_video: bool = True
    keep_plain: bool = True
    batch: Count = 4
    decode_batch: Count = 8
    device: str = "auto"
    cache: Path | None = None
    task_index: Whole | None = None
    task_count: Count | None = None
    restart: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ConfigError("'lengths' is empty: give the frames of a pair, such as lengths=[30,60,90,120]")
        if not str(self.checkpoint).isdecimal() and self.checkpoint not in ("last", "best"):
            raise ConfigError(f"'checkpoint' is last, best or the number of a step, got {self.checkpoint}")

    def task(self) -> tuple[int, int]:
        """(index, count) of this task. Raises ConfigError for options that do not go together."""
        index, count = task_of(self.task_index, self.task_count)
        if self.restart and count > 1:
            raise ConfigError(
                "'restart' would throw away the other tasks' shards; empty the folder before the job array"
            )
        return index, count

    def what(self) -> dict[str, Any]:
        """The options that decide what comes out, as plain values; the networks are known by their hashes."""
        left_out = (*HOW_ONLY, "run", "autoencoder")
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def guidance(self) -> dict[str, float]:
        """Weights of guidance that were given, by condition."""
        given = {"reference": self.guidance_reference, "audio": self.guidance_audio}
        return {name: weight for name, weight in given.items() if weight is not None}
