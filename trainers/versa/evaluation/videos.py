"""Measuring VersaAnimator's video half: its videos, baselines, ablations, the paper's table (VA-17)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from datamodules.shards.index import Index
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.best import best_checkpoint
from trainers.evaluation.body_figures import BodyFigures, conditions, judges_of
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.eye_reader import EyeReader
from trainers.evaluation.face_judge import FaceJudge
from trainers.evaluation.tables import meanings
from trainers.evaluation.talks import PICTURE, SPEECH, Talk, load_talks
from trainers.evaluation.video_figures import Yardsticks
from trainers.evaluation.video_rows import (
    check_fps,
    check_sizes,
    described,
    figures_of,
    fitting_splits,
    spread_of,
    yardsticks_of,
)
from trainers.evaluation.videos import read_shots
from trainers.run.exports import find_export
from trainers.versa.evaluation.made_poses import MadePoses
from trainers.versa.evaluation.video_model import VersaVideoModel
from trainers.versa.evaluation.video_paper import DIFFERENT, PAPER, PAPER_SOURCE, TITLES
from trainers.versa.evaluation.video_rows import LABELS, Rows, verdicts_of
from trainers.versa.system import VersaVideoFigureOptions

logger = get_logger(__name__)

STAGES: Final = ("versa.pose_video", "versa.audio_video")


def measure_videos(export: Export, options: VersaVideoFigureOptions, folder: Path) -> dict[str, Any]:
    """Figures of `versa.pose_video` and `versa.audio_video` for `trainers.evaluate`.

    Raises:
        ConfigError: shards without what the network reads, runs that cannot stand in one table, networks that are not
            there, or a way of driving that the network does not know.
    """
    model = VersaVideoModel(export, options, "this network", options.drive)
    models, labels = {"model": model}, dict(LABELS)
    for name, run in options.beside.items():
        models[name] = _beside(name, run, options, model)
        labels[name] = name
    labels |= _motions(options, model)
    check_sizes(models)
    made = MadePoses(options, model.size) if model.drive == "audio" else None
    keys = tuple(dict.fromkeys(key for one in models.values() for key in one.keys))
    index = Index.load(options.shards)
    check_fps(index, options.shards, {name: one.network for name, one in models.items()})
    splits = {split: ids_of(index, split, keys, options.clips) for split in present_splits(index, options, keys)}
    heard = all(set(ids) <= set(ids_of(index, split, (*PICTURE, *SPEECH))) for split, ids in splits.items())
    follows = model.drive in ("both", "pose")
    yardsticks = yardsticks_of(
        options.weights, options.shards, model.size, model.fit, options.reader_steps, follows, options.progress
    )
    eyes, judge = _readers(options, model)
    judges = judges_of(yardsticks.pretrained.networks.get("arcface"), judge)
    conditioning = {name for one in models.values() for name in conditions(judges, one.conditioned_by)}
    for name in sorted(conditioning):
        logger.warning("%s is taken by the network that the videos are conditioned on, so it proves no likeness", name)
    read = tuple(dict.fromkeys([key for key in keys if key not in PICTURE] + (list(SPEECH) if heard else [])))
    about = yardsticks.figures | BodyFigures(eyes, judges, lambda *clip: clip[-1].pose).figures
    results = {}
    for split, ids in splits.items():
        started = time.perf_counter()
        talks = load_talks(options.shards, ids, options.seconds, model.size, model.fit, read)
        rows = Rows(models, options, talks, made)
        bodies = BodyFigures(eyes, judges, rows.followed)
        part = _measure_split(rows, options, talks, yardsticks, bodies, labels)
        part["verdicts"] = verdicts_of(part, about, labels, list(options.beside))
        results[split] = part | {"seen_in_training": split == "train"}
        logger.info("%s: %d clips, %.0f s", split, len(talks), time.perf_counter() - started)
    return {
        "drive": model.drive,
        "checkpoint": best_checkpoint(export),
        "judged_by": {name: {"network": str(one.source), "conditions": False} for name, one in judges.items()}
        | {name: {"network": str(judges[name].source), "conditions": True} for name in conditioning},
        "identity_by": {name: one.identity_by for name, one in models.items()},
        **({} if made is None else {"poses_by": made.used, "poses_fitted": made.guessed}),
        "figures": meanings(about),
        "splits": results,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "titles": TITLES, "note": DIFFERENT},
    }


def _measure_split(
    rows: Rows,
    options: VersaVideoFigureOptions,
    talks: Sequence[Talk],
    yardsticks: Yardsticks,
    bodies: BodyFigures,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    answers, model = rows.answers(), rows.models["model"]
    shots = read_shots(options.shards, [talk.info.id for talk in talks], options.seconds, model.size, model.fit)
    figures = figures_of(answers, shots, talks, yardsticks, options.seeds, options.progress, bodies.add)
    for row, seed in figures:
        figures[row, seed] |= bodies.of(row, seed)
    about = yardsticks.figures | bodies.figures
    return described(talks, spread_of(figures, answers, options.seeds), labels, about, deciding=())


def _readers(options: VersaVideoFigureOptions, model: VersaVideoModel) -> tuple[EyeReader | None, FaceJudge | None]:
    """What reads eyes, and what tells people apart, fitted; None where the frames do not show enough."""
    options.progress.say("fitting the eye reader and the face judge to training frames")
    splits, steps = fitting_splits(options.shards), options.reader_steps
    judge = FaceJudge.fit(options.shards, model.size, splits, steps, how=model.fit)
    try:
        return EyeReader.fit(options.shards, model.size, splits, steps, how=model.fit), judge
    except ConfigError:
        logger.info("Eyes r is left out: no clip's eyes are large enough to be read")
        return None, judge


def _beside(name: str, run: str, options: VersaVideoFigureOptions, model: VersaVideoModel) -> VersaVideoModel:
    """Another run for the same table, such as one without attention to the face."""
    if name in LABELS:
        raise ConfigError(f"beside={{{name}: ...}}: a row is called that already; choose another name")
    export = find_export(run)
    if export.stage not in STAGES:
        raise ConfigError(f"beside={{{name}: {run}}} is a network of {export.stage}; one of {STAGES[1]} is needed")
    return VersaVideoModel(export, options, name, model.drive)


def _motions(options: VersaVideoFigureOptions, model: VersaVideoModel) -> dict[str, str]:
    """Labels of the rows whose poses other networks make; whether all that makes poses is asked for rightly."""
    if model.drive == "audio" and options.motion is None:
        raise ConfigError("drive=audio: say which network of versa.audio_motion makes poses of the speech, motion=RUN")
    for option in ("motion", "motions", "bank", "tokenizer"):
        if model.drive != "audio" and getattr(options, option):
            raise ConfigError(f"{option}: poses are made of speech with drive=audio alone; here {model.drive}")
    for name in options.motions:
        if name in LABELS or name in options.beside:
            raise ConfigError(f"motions={{{name}: ...}}: a row is called that already; choose another name")
    return {name: name for name in options.motions}
