"""Measuring UniVDM: its videos with guidance and without, baselines, ablations, the paper's table (PH-18, PH-20)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from datamodules.shards.index import Index
from models.human.autoencoder import PoseAutoencoder
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.best import best_checkpoint
from trainers.evaluation.clips import ids_of, present_splits
from trainers.evaluation.comparison import Figure, verdict
from trainers.evaluation.evaluator import describe, load_evaluator
from trainers.evaluation.read_poses import DWPOSE, Reading, ReadPoses, check_reading, reading_of
from trainers.evaluation.read_poses import FIGURES as OF_POSES
from trainers.evaluation.tables import meanings
from trainers.evaluation.talks import PICTURE, Talk, load_talks
from trainers.evaluation.video_figures import Yardsticks
from trainers.evaluation.video_rows import (
    DECIDING,
    check_fps,
    check_sizes,
    described,
    figures_of,
    spread_of,
    yardsticks_of,
)
from trainers.evaluation.videos import read_shots
from trainers.paha.evaluation import cost
from trainers.paha.evaluation.rows import Rows
from trainers.paha.evaluation.scores import SCORES, Jury
from trainers.paha.evaluation.video_model import UniVDMModel
from trainers.paha.evaluation.video_paper import DIFFERENT, PAPER, PAPER_SOURCE, TITLES
from trainers.paha.system import Classifiers, UniVDMFigureOptions
from trainers.run.exports import find_export

logger = get_logger(__name__)

STAGE: Final = "paha.univdm"
LABELS: Final = {
    "model": "this model, no guidance",
    "sg": "sequential guidance",
    "dg": "differential guidance",
    "shuffled_audio": "shuffled audio",
    "source": "copied source frame",
    "reconstruction": "autoencoder's own (ceiling)",
    "truth": "truth",
}
OF_GUIDANCE: Final = ("lip_correlation", "bas_distance", "fgd", "fvd", *SCORES.values())
"""Figures in which guidance is held against none."""
_CHECKED: Final = 3  # clips on which a back end has to find somebody, before anything is made


def measure_videos(export: Export, options: UniVDMFigureOptions, folder: Path) -> dict[str, Any]:
    """Figures of `paha.univdm` for `trainers.evaluate`; `folder` is where a pose autoencoder is trained.

    Raises:
        ConfigError: shards without what the network reads, runs that cannot stand in one table, an autoencoder or
            classifiers that are not there or do not know its latents.
    """
    options.rows()
    model = UniVDMModel(export, options, "this network")
    models, labels = {"model": model}, dict(LABELS)
    for name, run in options.beside.items():
        models[name], labels[name] = _beside(name, run, options), name
    check_sizes(models)
    jury = Jury(options, model.network, model.judges if options.given else None)
    for region, about in jury.by.items():
        if about["guides"]:
            logger.warning("the classifier that guides is asked what it thinks; judge_%s=RUN asks another", region)
    keys = tuple(dict.fromkeys(key for one in models.values() for key in one.keys))
    index = Index.load(options.shards)
    check_fps(index, options.shards, {name: one.network for name, one in models.items()})
    splits = {split: ids_of(index, split, keys, options.clips) for split in present_splits(index, options, keys)}
    weights = dict(options.weights)
    dwpose = weights.pop(DWPOSE, None)
    yardsticks = yardsticks_of(
        weights, options.shards, model.size, model.fit, options.reader_steps, False, options.progress
    )
    options.progress.say("fitting the pose reader to training frames")
    read = reading_of(options.poses, options.shards, model.size, model.fit, options.pose_steps, dwpose, options.device)
    if options.poses != "reader":
        some = next(iter(splits.values()))[:_CHECKED]
        check_reading(read, options.poses, read_shots(options.shards, some, 1.0, model.size, model.fit))
    encoder, evaluator = load_evaluator(
        options.evaluator, folder / "evaluator", options.shards, options.evaluator_config
    )
    figures = {**yardsticks.figures, **OF_POSES, **jury.figures, **cost.FIGURES}
    read_keys = tuple(key for key in keys if key not in PICTURE)
    results = {}
    for split, ids in splits.items():
        started = time.perf_counter()
        talks = load_talks(options.shards, ids, options.seconds, model.size, model.fit, read_keys)
        rows = Rows(models, options, talks, jury)
        results[split] = _measure_split(rows, options, talks, yardsticks, read, encoder, labels, figures)
        results[split]["seen_in_training"] = split == "train"
        logger.info("%s: %d clips, %.0f s", split, len(talks), time.perf_counter() - started)
    return {
        "checkpoint": best_checkpoint(export),
        "evaluator": describe(evaluator),
        "poses_by": options.poses,
        "guidance": _guidance(model, options),
        "judged_by": jury.by,
        "figures": meanings(figures),
        "splits": results,
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "titles": TITLES, "note": DIFFERENT},
    }


def _measure_split(
    rows: Rows,
    options: UniVDMFigureOptions,
    talks: Sequence[Talk],
    yardsticks: Yardsticks,
    read: Reading,
    encoder: PoseAutoencoder,
    labels: Mapping[str, str],
    about: Mapping[str, Figure],
) -> dict[str, Any]:
    answers, poses, model = rows.answers(), ReadPoses(read, encoder, talks), rows.models["model"]
    shots = read_shots(options.shards, [talk.info.id for talk in talks], options.seconds, model.size, model.fit)
    figures = figures_of(answers, shots, talks, yardsticks, options.seeds, options.progress, poses.add)
    for row, seed in figures:
        figures[row, seed] |= poses.figures(row, seed) | rows.figures(row, seed)
    systems = spread_of(figures, answers, options.seeds)
    guides = [guide for guide in options.rows() if guide in systems]
    deciding = (*DECIDING, *(name for name in OF_GUIDANCE if name not in DECIDING))
    part = described(talks, systems, labels, about, deciding, ("reconstruction", *guides))
    if "model" in systems:
        part["guided"] = {guide: _against_none(part, guide, about) for guide in guides}
        for guide, verdicts in part["guided"].items():
            for name, found in verdicts.items():
                if name in part["verdicts"]:
                    part["verdicts"][name]["text"] += f". {labels[guide].capitalize()}: {found['text']}"
    return part


def _against_none(part: Mapping[str, Any], guide: str, about: Mapping[str, Figure]) -> dict[str, Any]:
    """What a kind of guidance gains, clip by clip, over none."""
    systems = part["systems"]
    return {
        name: verdict(
            {"model": systems[guide], "none": systems["model"]}, name, about[name], {"none": "none"}, part["clips"]
        )
        for name in OF_GUIDANCE
        if name in systems[guide] and name in systems["model"]
    }


def _guidance(model: UniVDMModel, options: UniVDMFigureOptions) -> dict[str, Any] | None:
    """Which classifiers guided, and how far; None where none did."""
    if not options.given:
        return None
    networks = {
        f"pce_{region}": {"name": export.name, "sha256": export.sha256}
        for region, export in model.judges.exports.items()
    }
    return {name: getattr(options, name) for name in Classifiers.__dataclass_fields__} | networks


def _beside(name: str, run: str, options: UniVDMFigureOptions) -> UniVDMModel:
    """Another run of the stage, such as one without PAR (PH-21)."""
    if name in LABELS:
        raise ConfigError(f"beside={{{name}: ...}}: a row is called that already; choose another name")
    export = find_export(run)
    if export.stage != STAGE:
        raise ConfigError(f"beside={{{name}: {run}}} is a network of {export.stage}; one of {STAGE} is needed")
    return UniVDMModel(export, options, name)
