"""Measuring a stage that makes poses from speech: the model, its baselines, three seeds (MMGT-23)."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from datamodules.shards.index import Index
from models.human.autoencoder import PoseAutoencoder
from pretrained.exports import Export
from settings import ConfigError, get_logger
from trainers.evaluation.clips import KEYS, EvaluationClip, load_clips, present_splits
from trainers.evaluation.comparison import spread, verdict
from trainers.evaluation.evaluator import describe, load_evaluator
from trainers.evaluation.pose_figures import FIGURES, measure
from trainers.evaluation.split import split_results
from trainers.evaluation.tables import meanings
from trainers.mmgt.animation import SMGAAnimator
from trainers.mmgt.evaluation import baselines
from trainers.mmgt.system import GestureOptions

logger = get_logger(__name__)

LABELS: Final = {
    "model": "this model",
    "shuffled_audio": "shuffled audio",
    "nearest_audio": "nearest audio",
    "held_pose": "held first pose",
    "mean_pose": "mean pose",
    "own_mean_pose": "own mean (oracle)",
    "truth": "truth",
}
PAPER: Final[list[dict[str, Any]]] = [
    {"system": "MM-Diffusion", "fgd": 141.76, "diversity": 0.0998},
    {"system": "EDGE + Animate-anyone", "fgd": 6.72, "diversity": 0.0855},
    {"system": "EDGE + Hallo", "fgd": 7.57, "diversity": 0.0846},
    {"system": "MMGT, audio driven", "fgd": 6.02, "diversity": 0.0824},
]
"""The gesture columns of table I of the MMGT paper (MMGT-23)."""

PAPER_SOURCE: Final = "MMGT, table I, gesture columns, audio driven"
DIFFERENT: Final = (
    "The paper's figures are of other data (PATS: speakers jon, kubinec, oliver, seth, 2,048 test windows, DWPose key "
    "points) and of another pose autoencoder, trained on PATS. FGD and Diversity live in an autoencoder's feature "
    "space: neither may be compared across the two tables, only within one."
)

DECIDING: Final = ("lip_correlation", "bas_distance")  # figures in which the model has to beat every baseline


class PoseModel(Protocol):
    """What is measured: an animator that gives poses for many clips at once."""

    fps: float

    def hear(self, speech: dict[str, np.ndarray], clip_id: str) -> np.ndarray:
        """What the model listens to, (T, C), of a clip's speech.npz."""
        ...

    def poses(
        self,
        first_poses: Sequence[np.ndarray],
        speech: Sequence[np.ndarray],
        *,
        seed: int,
        steps: int | None,
        guidance: float | None,
    ) -> list[np.ndarray]:
        """Poses (T, 134, 3) for each first pose (134, 3) and speech (T, C)."""
        ...


def measure_gestures(export: Export, options: GestureOptions, folder: Path) -> dict[str, Any]:
    """Figures of a stage that makes poses, for `trainers.evaluate`; `folder` is where an autoencoder is trained."""
    animator = SMGAAnimator(export, device=options.device)
    encoder, encoder_export = load_evaluator(
        options.evaluator, folder / "evaluator", options.shards, options.evaluator_config
    )
    return {
        "evaluator": describe(encoder_export),
        "figures": meanings(FIGURES),
        "splits": evaluate_gestures(animator, encoder, options),
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


def evaluate_gestures(model: PoseModel, encoder: PoseAutoencoder, options: GestureOptions) -> dict[str, Any]:
    """Figures of every split by name.

    Returns:
        For each split that has clips: `clips`, `seconds`, `speakers`, `systems` (name to figures with mean, std and the
        value of each seed), `labels`, `verdicts`.

    Raises:
        ConfigError: no held-out clips, or clips at another frame rate than the model's.
    """
    index = Index.load(options.shards)
    if abs(index.fps - model.fps) > 1e-3:
        raise ConfigError(
            f"{options.shards} holds clips at {index.fps:g} frames a second, the model was trained at {model.fps:g}"
        )
    neighbours = None
    if options.wants("nearest_audio"):
        options.progress.say("reading training clips for the nearest-audio baseline")
        neighbours = baselines.NearestNeighbour(options.shards, index.statistics, limit=options.neighbours)
    results = {}
    for split in present_splits(index, options, KEYS, "pose, speech and sound"):
        clips = load_clips(options.shards, split, options.clips, options.seconds, model.hear)
        logger.info("%s: measuring %d clips", split, len(clips))
        results[split] = _measure_split(model, encoder, options, clips, index.statistics, neighbours)
        results[split]["seen_in_training"] = split == "train"
    return results


def _measure_split(
    model: PoseModel,
    encoder: PoseAutoencoder,
    options: GestureOptions,
    clips: list[EvaluationClip],
    statistics: dict[str, Any],
    neighbours: baselines.NearestNeighbour | None,
) -> dict[str, Any]:
    own = [clip.speech for clip in clips]
    answers: dict[str, Callable[[int], list[np.ndarray]]] = {
        "model": lambda seed: generate(model, clips, own, options, seed),
        "shuffled_audio": lambda seed: generate(model, clips, baselines.other_speech(clips, seed), options, seed),
    }
    fixed = {
        "mean_pose": baselines.mean_pose(clips, statistics),
        "own_mean_pose": baselines.own_mean_pose(clips),
        "held_pose": baselines.held_pose(clips),
        "truth": [clip.pose for clip in clips],
    }
    if neighbours is not None and len(neighbours):
        fixed["nearest_audio"] = neighbours.poses(clips)
    answers = {name: answer for name, answer in answers.items() if options.wants(name)}
    options.progress.expect(len(answers) * len(options.seeds) * len(clips))
    measured = {name: measure(poses, clips, encoder) for name, poses in fixed.items() if options.wants(name)}
    # What needs no chance is the same for every seed.
    systems = {name: spread([figures] * len(options.seeds)) for name, figures in measured.items()}
    for name, answer in answers.items():
        started = time.perf_counter()
        systems[name] = spread([measure(answer(seed), clips, encoder) for seed in options.seeds])
        logger.info("  %s: %.0f s", LABELS[name], time.perf_counter() - started)
    ordered = {name: systems[name] for name in LABELS if name in systems}
    verdicts = {name: verdict(ordered, name, FIGURES[name], LABELS, len(clips)) for name in DECIDING}
    seconds = sum(clip.frames / clip.info.fps for clip in clips)
    return split_results([clip.info for clip in clips], seconds, ordered, LABELS, verdicts)


def generate(
    model: PoseModel, clips: Sequence[EvaluationClip], speech: Sequence[np.ndarray], options: GestureOptions, seed: int
) -> list[np.ndarray]:
    """The model's poses for every clip, in batches of clips of nearly one length."""
    poses: list[np.ndarray] = [np.zeros(0)] * len(clips)
    for number, part in enumerate(batches([clip.frames for clip in clips], options.batch)):
        output = model.poses(
            [clips[i].pose[0] for i in part],
            [speech[i] for i in part],
            seed=seed + 1000 * number,  # other noise in every batch
            steps=options.steps,
            guidance=options.guidance,
        )
        for i, one in zip(part, output, strict=True):
            poses[i] = one
        options.progress.advance(len(part), "clips made")
    return poses


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of clips in batches; within one no clip is more than 15 % longer than another, so little is padded."""
    parts: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not parts or len(parts[-1]) == size or lengths[i] > 1.15 * lengths[parts[-1][0]]:
            parts.append([])
        parts[-1].append(i)
    return parts
