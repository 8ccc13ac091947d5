"""Rows of a table of videos: what gives their frames, all their figures a clip at a time, who wins."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index
from settings import ConfigError, get_logger
from settings.progress import Progress
from trainers.evaluation.clips import ids_of
from trainers.evaluation.comparison import Figure, spread, verdict
from trainers.evaluation.lip_reader import LipReader
from trainers.evaluation.pretrained import Pretrained
from trainers.evaluation.split import split_results
from trainers.evaluation.talks import PICTURE, Talk
from trainers.evaluation.video_figures import SYNCNET, Tally, Yardsticks, combined
from trainers.evaluation.videos import Shot
from trainers.stage.latents import Latents

logger = get_logger(__name__)

DECIDING: Final = ("psnr_mouth_hands", "lip_correlation")
"""Figures in which a network has to beat every baseline."""
Watch = Callable[[str, int, int, Tensor, Shot], None]
"""Is told of every video that is made: its row, seed, clip by number, frames (T, 3, H, W), and the true clip."""


@dataclass(frozen=True)
class Answer:
    """One row of the table.

    Attributes:
        frames: gives the frames (T, 3, H, W) of a clip by its number, its true frames and a seed.
        chance: whether a seed changes anything.
        seams: of a video of so many frames, those at which a window takes over; None where no windows made it.
    """

    frames: Callable[[int, Shot, int], Tensor]
    chance: bool = False
    seams: Callable[[int], Sequence[int]] | None = None


def plain_answers(latents: Latents, batch: int, seams: Callable[[int], Sequence[int]] | None) -> dict[str, Answer]:
    """Rows that no network makes: the copied source, what the autoencoder makes of the truth, the truth.

    Args:
        latents: the autoencoder.
        batch: frames that it rebuilds at once.
        seams: of the network that is measured, by which seams of the truth are taken.
    """
    return {
        "source": Answer(lambda number, shot, seed: shot.frames[:1].expand_as(shot.frames)),
        "reconstruction": Answer(lambda number, shot, seed: latents.rebuild(shot.frames, batch)),
        "truth": Answer(lambda number, shot, seed: shot.frames, seams=seams),
    }


def fitting_splits(shards: str) -> list[str]:
    """The split whose clips networks that measure are fitted to: train, or what there is of val and test."""
    index = Index.load(shards)
    return [split for split in ("train", "val", "test") if ids_of(index, split, PICTURE)][:1]


def yardsticks_of(
    given: Mapping[str, str],
    shards: str,
    size: tuple[int, int] | None,
    how: FitMode,
    reader_steps: int,
    follows: bool,
    progress: Progress,
) -> Yardsticks:
    """The lip reader, fitted, and the networks whose weights were given.

    Args:
        given: `weights` of the options.
        shards: folder or URL of the clips.
        size, how: how frames are fitted.
        reader_steps: of fitting the lip reader.
        follows: whether videos are driven by the true poses.
        progress: is told what is done.
    """
    import metrics

    weights = dict(given)
    syncnet = weights.pop(SYNCNET, None)
    pretrained = Pretrained(weights, others=(SYNCNET,))
    lacking = [*pretrained.missing, *([] if syncnet else [f"Sync-C, Sync-D (weights.{SYNCNET})"])]
    if lacking:
        logger.info("left out, for want of weights: %s", "; ".join(lacking))
    sync = None if syncnet is None else metrics.LipSync(syncnet)
    progress.say("fitting the lip reader to training frames")
    reader = LipReader.fit(shards, size, fitting_splits(shards), reader_steps, how=how)
    return Yardsticks(pretrained, reader, sync, follows)


def figures_of(
    answers: Mapping[str, Answer],
    shots: Iterable[Shot],
    talks: Sequence[Talk],
    yardsticks: Yardsticks,
    seeds: Sequence[int],
    progress: Progress,
    watch: Watch | None = None,
) -> dict[tuple[str, int], dict[str, Any]]:
    """Figures by row and seed; a row that knows no chance has those of the first seed alone.

    Args:
        answers: the rows; "truth" is the true videos.
        shots: the clips' frames, in any order, read as they are wanted.
        talks: the clips.
        yardsticks: what videos are measured with.
        seeds: of the noise.
        progress: is told of every clip.
        watch: is told of every video.
    """
    tallies = {
        (name, seed): Tally(yardsticks, is_truth=name == "truth")
        for name, answer in answers.items()
        for seed in (seeds if answer.chance else seeds[:1])
    }
    progress.expect(len(tallies) * len(talks))
    numbers = {talk.info.id: number for number, talk in enumerate(talks)}
    for shot in shots:
        number = numbers[shot.info.id]
        for (name, seed), tally in tallies.items():
            answer = answers[name]
            windows = None if answer.seams is None else answer.seams(len(shot.frames))
            frames = answer.frames(number, shot, seed)
            tally.update(frames, shot, talks[number].sound, windows)
            if watch is not None:
                watch(name, seed, number, frames, shot)
            progress.advance(1, "clips made")
    return {key: tally.compute() for key, tally in tallies.items()}


def spread_of(
    figures: Mapping[tuple[str, int], Mapping[str, float]], answers: Mapping[str, Answer], seeds: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Each row's figures over seeds and clips."""
    systems = {}
    for name in dict.fromkeys(name for name, _ in figures):
        own = [figures[key] for key in figures if key[0] == name]
        # What needs no chance is the same for every seed.
        systems[name] = spread(combined(own if answers[name].chance else own * len(seeds)))
    return systems


def described(
    talks: Sequence[Talk],
    systems: Mapping[str, Any],
    labels: Mapping[str, str],
    about: Mapping[str, Figure],
    deciding: Sequence[str] = DECIDING,
    bounds: Collection[str] = ("reconstruction",),
) -> dict[str, Any]:
    """What is stored of a split: its clips, its rows in the order of their labels, and who wins.

    Args:
        talks: the clips.
        systems: as `spread_of` gives them.
        labels: names of the rows to read.
        about: title and meaning of each figure.
        deciding: figures in which "model" is held against the other rows.
        bounds: rows that are no rivals.
    """
    rivals = {name: systems[name] for name in labels if name in systems and name not in bounds}
    verdicts = {
        name: verdict(rivals, name, about[name], labels, len(talks))
        for name in deciding
        if name in rivals.get("model", {})
    }
    seconds = sum(talk.frames / talk.info.fps for talk in talks)
    return split_results([talk.info for talk in talks], seconds, systems, labels, verdicts)


def check_fps(index: Index, shards: str, networks: Mapping[str, Any]) -> None:
    """Raises ConfigError for networks, by the names of their rows, of another frame rate than the clips'."""
    for name, network in networks.items():
        if abs(index.fps - network.fps) > 1e-3:
            raise ConfigError(
                f"{shards} holds clips at {index.fps:g} frames a second, {name} was trained at {network.fps:g}"
            )


def check_sizes(models: Mapping[str, Any]) -> None:
    """Raises ConfigError for networks, by the names of their rows, whose frames have another `size` than "model"'s."""
    size = models["model"].size
    for name, other in models.items():
        if other.size != size:
            raise ConfigError(
                f"{name} makes frames of {other.size or 'the clips own size'}, this network of "
                f"{size or 'the clips own size'}: they cannot stand in one table"
            )
