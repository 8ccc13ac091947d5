"""Measuring a stage that makes poses from speech: the model, its baselines, three seeds (MMGT-23)."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from datamodules.shards.index import Index
from models.human.autoencoder import PoseAutoencoder
from settings import ConfigError, get_logger
from trainers.evaluation.clips import Clip, choose_ids, load_clips
from trainers.evaluation.comparison import spread, verdict
from trainers.evaluation.evaluator import describe, load_evaluator
from trainers.evaluation.plan import Plan
from trainers.evaluation.tables import meanings
from trainers.mmgt.evaluation import baselines
from trainers.mmgt.evaluation.figures import FIGURES, measure
from trainers.run.exports import Export
from trainers.stages import ANIMATORS

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


def measure_gestures(export: Export, plan: Plan, folder: Path) -> dict[str, Any]:
    """Figures of a stage that makes poses, for `trainers.evaluate`; `folder` is where an autoencoder is trained."""
    animator = ANIMATORS.get(export.stage)(export, device=plan.device)
    encoder, encoder_export = load_evaluator(plan.evaluator, folder / "evaluator", plan.shards, plan.evaluator_config)
    return {
        "evaluator": describe(encoder_export),
        "figures": meanings(FIGURES),
        "splits": evaluate_gestures(animator, encoder, plan),
        "paper": {"source": PAPER_SOURCE, "rows": PAPER, "note": DIFFERENT},
    }


def evaluate_gestures(model: PoseModel, encoder: PoseAutoencoder, plan: Plan) -> dict[str, Any]:
    """Figures of every split by name.

    Returns:
        For each split that has clips: `clips`, `seconds`, `speakers`, `systems` (name to figures with mean, std and the
        value of each seed), `labels`, `verdicts`.

    Raises:
        ConfigError: no held-out clips, or clips at another frame rate than the model's.
    """
    index = Index.load(plan.shards)
    if abs(index.fps - model.fps) > 1e-3:
        raise ConfigError(
            f"{plan.shards} holds clips at {index.fps:g} frames a second, the model was trained at {model.fps:g}"
        )
    neighbours = None
    if plan.wants("nearest_audio"):
        plan.progress.say("reading training clips for the nearest-audio baseline")
        neighbours = baselines.NearestNeighbour(plan.shards, index.statistics, limit=plan.neighbours)
    results = {}
    for split in present_splits(index, plan):
        clips = load_clips(plan.shards, split, plan.clips, plan.seconds, model.hear)
        logger.info("%s: measuring %d clips", split, len(clips))
        results[split] = _measure_split(model, encoder, plan, clips, index.statistics, neighbours)
        results[split]["seen_in_training"] = split == "train"
    return results


def present_splits(index: Index, plan: Plan) -> list[str]:
    """The asked-for splits that have clips; where none was asked for, test and test_unseen, else val, else train."""
    for wanted in [plan.splits] if plan.splits else [["test", "test_unseen"], ["val"], ["train"]]:
        if found := [split for split in wanted if choose_ids(index, split, None)]:
            return found
    raise ConfigError(
        f"{plan.shards} has no clips with pose, speech and sound in {', '.join(plan.splits or ['any split'])}; give "
        "splits=[...], or data=FOLDER with held-out clips"
    )


def _measure_split(
    model: PoseModel,
    encoder: PoseAutoencoder,
    plan: Plan,
    clips: list[Clip],
    statistics: dict[str, Any],
    neighbours: baselines.NearestNeighbour | None,
) -> dict[str, Any]:
    own = [clip.speech for clip in clips]
    answers: dict[str, Callable[[int], list[np.ndarray]]] = {
        "model": lambda seed: generate(model, clips, own, plan, seed),
        "shuffled_audio": lambda seed: generate(model, clips, baselines.other_speech(clips, seed), plan, seed),
    }
    fixed = {
        "mean_pose": baselines.mean_pose(clips, statistics),
        "own_mean_pose": baselines.own_mean_pose(clips),
        "held_pose": baselines.held_pose(clips),
        "truth": [clip.pose for clip in clips],
    }
    if neighbours is not None and len(neighbours):
        fixed["nearest_audio"] = neighbours.poses(clips)
    answers = {name: answer for name, answer in answers.items() if plan.wants(name)}
    plan.progress.expect(len(answers) * len(plan.seeds) * len(clips))
    measured = {name: measure(poses, clips, encoder) for name, poses in fixed.items() if plan.wants(name)}
    # What needs no chance is the same for every seed.
    systems = {name: spread([figures] * len(plan.seeds)) for name, figures in measured.items()}
    for name, answer in answers.items():
        started = time.perf_counter()
        systems[name] = spread([measure(answer(seed), clips, encoder) for seed in plan.seeds])
        logger.info("  %s: %.0f s", LABELS[name], time.perf_counter() - started)
    ordered = {name: systems[name] for name in LABELS if name in systems}
    return {
        "clips": len(clips),
        "ids": [clip.info.id for clip in clips],
        "seconds": float(sum(clip.frames / clip.info.fps for clip in clips)),
        "speakers": len({clip.info.speaker for clip in clips}),
        "systems": ordered,
        "labels": {name: LABELS[name] for name in ordered},
        "verdicts": {name: verdict(ordered, name, FIGURES[name], LABELS, len(clips)) for name in DECIDING},
    }


def generate(
    model: PoseModel, clips: Sequence[Clip], speech: Sequence[np.ndarray], plan: Plan, seed: int
) -> list[np.ndarray]:
    """The model's poses for every clip, in batches of clips of nearly one length."""
    poses: list[np.ndarray] = [np.zeros(0)] * len(clips)
    for number, part in enumerate(batches([clip.frames for clip in clips], plan.batch)):
        made = model.poses(
            [clips[i].pose[0] for i in part],
            [speech[i] for i in part],
            seed=seed + 1000 * number,  # other noise in every batch
            steps=plan.steps,
            guidance=plan.guidance,
        )
        for i, one in zip(part, made, strict=True):
            poses[i] = one
        plan.progress.advance(len(part), "clips made")
    return poses


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of clips in batches; within one no clip is more than 15 % longer than another, so little is padded."""
    parts: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not parts or len(parts[-1]) == size or lengths[i] > 1.15 * lengths[parts[-1][0]]:
            parts.append([])
        parts[-1].append(i)
    return parts
