"""Measuring the networks of MMGT's second stage: their videos, baselines, ablations, the paper's tables (MMGT-23)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch import Tensor

from datamodules.shards.index import Index
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.best import best_checkpoint
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.exchange import exchanged
from trainers.evaluation.pose_figures import OF_VIDEOS
from trainers.evaluation.tables import meanings
from trainers.evaluation.talks import PICTURE, SPEECH, Talk, load_talks
from trainers.evaluation.video_figures import Yardsticks
from trainers.evaluation.video_rows import (
    Answer,
    check_fps,
    check_sizes,
    described,
    figures_of,
    plain_answers,
    spread_of,
    yardsticks_of,
)
from trainers.evaluation.videos import Shot, read_shots
from trainers.mmgt.evaluation.baselines import NearestNeighbour
from trainers.mmgt.evaluation.driven import Poses, frames_at
from trainers.mmgt.evaluation.video_model import VideoModel
from trainers.mmgt.evaluation.video_paper import DIFFERENT, PAPER, PAPER_SOURCE, TITLES
from trainers.mmgt.system import VideoFigureOptions
from trainers.run.exports import find_export

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "shuffled_audio": "shuffled audio",
    "nearest_audio": "nearest audio",
    "source": "copied source frame",
    "reconstruction": "autoencoder's own (ceiling)",
    "truth": "truth",
}
_WINDOW: Final = 80  # frames that the nearest speech is looked for in


def measure_videos(export: Export, options: VideoFigureOptions, folder: Path) -> dict[str, Any]:
    """Figures of `mmgt.video_pose` and `mmgt.video_audio` for `trainers.evaluate`.

    Raises:
        ConfigError: shards without what the network reads, runs that cannot stand in one table, an autoencoder that
            is not there, or a way of driving that the network does not know.
    """
    model = VideoModel(export, options, "this network", options.drive)
    models, labels = {"model": model}, dict(LABELS)
    for name, run in options.beside.items():
        if name in LABELS:
            raise ConfigError(f"beside={{{name}: ...}}: a row is called that already; choose another name")
        models[name], labels[name] = VideoModel(find_export(run), options, name, model.drive), name
    _check(models, options)
    keys = tuple(dict.fromkeys(key for one in models.values() for key in one.keys))
    index = Index.load(options.shards)
    check_fps(index, options.shards, {name: one.network for name, one in models.items()})
    splits = {split: ids_of(index, split, keys, options.clips) for split in present_splits(index, options, keys)}
    heard = all(set(ids) <= set(ids_of(index, split, (*PICTURE, *SPEECH))) for split, ids in splits.items())
    poses = Poses(options, folder, model.network.fps) if model.drive == "audio" else None
    yardsticks = yardsticks_of(
        options.weights,
        options.shards,
        model.size,
        model.fit,
        options.reader_steps,
        model.drive in ("both", "pose"),
        options.progress,
    )
    read = tuple(dict.fromkeys([key for key in keys if key not in PICTURE] + (list(SPEECH) if heard else [])))
    results = {}
    for split, ids in splits.items():
        started = time.perf_counter()
        talks = load_talks(options.shards, ids, options.seconds, model.size, model.fit, read)
        results[split] = _measure_split(models, labels, options, talks, yardsticks, poses, index)
        results[split]["seen_in_training"] = split == "train"
        logger.info("%s: %d clips, %.0f s", split, len(talks), time.perf_counter() - started)
    figures = yardsticks.figures if poses is None else {**yardsticks.figures, **OF_VIDEOS}
    return {
        "drive": model.drive,
        "checkpoint": best_checkpoint(export),
        **({} if poses is None else {"evaluator": poses.evaluator}),
        "figures": meanings(figures),
        "splits": results,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "titles": TITLES, "note": DIFFERENT},
    }


def _measure_split(
    models: Mapping[str, VideoModel],
    labels: Mapping[str, str],
    options: VideoFigureOptions,
    talks: Sequence[Talk],
    yardsticks: Yardsticks,
    poses: Poses | None,
    index: Index,
) -> dict[str, Any]:
    generated_poses = {} if poses is None else poses.of(talks, options.seeds)
    answers = {
        name: answer
        for name, answer in _answers(models, options, talks, generated_poses, index).items()
        if name in options.beside or options.wants(name)
    }
    model = models["model"]
    shots = read_shots(options.shards, [talk.info.id for talk in talks], options.seconds, model.size, model.fit)
    figures = figures_of(answers, shots, talks, yardsticks, options.seeds, options.progress)
    if poses is not None:
        for name, seed in figures:
            figures[name, seed] |= poses.measure(name, seed, talks, generated_poses)
    return described(talks, spread_of(figures, answers, options.seeds), labels, yardsticks.figures)


def _answers(
    models: Mapping[str, VideoModel],
    options: VideoFigureOptions,
    talks: Sequence[Talk],
    generated_poses: Mapping[tuple[str, int], Sequence[np.ndarray]],
    index: Index,
) -> dict[str, Answer]:
    """Every row by its name."""
    answers = {name: _generated(model, talks, generated_poses, "model") for name, model in models.items()}
    if models["model"].listens or generated_poses:
        answers["shuffled_audio"] = _generated(models["model"], talks, generated_poses, "shuffled_audio")
    answers |= plain_answers(models["model"].latents, options.batch, models["model"].seams)
    if options.wants("nearest_audio") and all("handcrafted" in talk.speech for talk in talks):
        nearest = _nearest(options, talks, models["model"], index)
        if nearest is not None:
            answers["nearest_audio"] = nearest
    return answers


def _generated(
    model: VideoModel,
    talks: Sequence[Talk],
    generated_poses: Mapping[tuple[str, int], Sequence[np.ndarray]],
    row: str,
) -> Answer:
    """A network's videos, of each clip's own speech, or (`row` "shuffled_audio") of another one's."""
    own = [model.hear(talk) for talk in talks] if model.listens else None
    others: dict[int, list[np.ndarray]] = {}

    def frames(number: int, shot: Shot, seed: int) -> Tensor:
        heard = own
        if own is not None and row == "shuffled_audio":
            if seed not in others:
                others[seed] = exchanged(own, seed)
            heard = others[seed]
        talk = talks[number]
        poses = None if model.drive == "speech_only" else talk.pose
        if generated_poses:
            poses = generated_poses[row, seed][number]
        # Another noise for each clip.
        return model.generate(
            shot.frames[0], talk, poses, None if heard is None else heard[number], seed + 1000 * number
        )

    return Answer(frames, chance=True, seams=model.seams)


def _nearest(options: VideoFigureOptions, talks: Sequence[Talk], model: VideoModel, index: Index) -> Answer | None:
    """The frames of the training clips whose speech is nearest; None where there are none."""
    options.progress.say("reading training clips for the nearest-audio baseline")
    window = min(_WINDOW, *(talk.frames for talk in talks))
    keys = (*PICTURE, "speech.npz")
    bank = NearestNeighbour(options.shards, index.statistics, window, options.neighbours, keys)
    if not len(bank):
        return None

    def frames(number: int, shot: Shot, seed: int) -> Tensor:
        talk = talks[number]
        places = bank.places(talk.speech["handcrafted"], talk.info.speaker)
        size = (shot.frames.shape[2], shot.frames.shape[3])
        return frames_at(options.shards, places, size, model.fit)

    return Answer(frames)


def _check(models: Mapping[str, VideoModel], options: VideoFigureOptions) -> None:
    """Whether all can stand in one table."""
    model = models["model"]
    check_sizes(models)
    for name, other in models.items():
        if options.overlap is not None and options.overlap >= other.network.window:
            raise ConfigError(
                f"overlap={options.overlap}: the window of {name} has {other.network.window} frames; give fewer"
            )
    if model.drive == "audio" and options.smga is None:
        raise ConfigError("drive=audio: say which network of mmgt.smga makes the poses of the speech, smga=RUN")
    if model.drive != "audio" and options.smga is not None:
        raise ConfigError(f"smga={options.smga}: poses are made of speech with drive=audio alone; here {model.drive}")
