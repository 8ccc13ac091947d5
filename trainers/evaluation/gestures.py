"""Measuring a stage that makes poses from speech: the model, its baselines, three seeds (MMGT-23)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from datamodules.index import Index
from models.human.autoencoder import PoseAutoencoder
from settings import ConfigError, get_logger
from trainers.evaluation import baselines
from trainers.evaluation.clips import Clip, choose_ids, load_clips
from trainers.evaluation.figures import FIGURES, measure, spread

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
DECIDING: Final = ("lip_correlation", "bas_distance")  # figures in which the model has to beat every baseline


class PoseModel(Protocol):
    """What is measured: an animator that gives poses for many clips at once."""

    fps: float

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


@dataclass(frozen=True)
class Plan:
    """How is measured; the fields are `trainers.evaluate`'s arguments."""

    shards: str
    splits: list[str] | None
    seeds: list[int]
    steps: int | None
    guidance: float | None
    clips: int | None
    seconds: float | None
    batch: int
    neighbours: int


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
    neighbours = baselines.NearestNeighbour(plan.shards, index.statistics, limit=plan.neighbours)
    results = {}
    for split in present_splits(index, plan):
        clips = load_clips(plan.shards, split, plan.clips, plan.seconds)
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
    neighbours: baselines.NearestNeighbour,
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
    if len(neighbours):
        fixed["nearest_audio"] = neighbours.poses(clips)
    measured = {name: measure(poses, clips, encoder) for name, poses in fixed.items()}
    # What needs no chance is the same for every seed.
    systems = {name: spread([figures] * len(plan.seeds)) for name, figures in measured.items()}
    for name, answer in answers.items():
        started = time.perf_counter()
        systems[name] = spread([measure(answer(seed), clips, encoder) for seed in plan.seeds])
        logger.info("  %s: %.0f s", LABELS[name], time.perf_counter() - started)
    ordered = {name: systems[name] for name in LABELS if name in systems}
    return {
        "clips": len(clips),
        "seconds": float(sum(clip.frames / clip.info.fps for clip in clips)),
        "speakers": len({clip.info.speaker for clip in clips}),
        "systems": ordered,
        "labels": {name: LABELS[name] for name in ordered},
        "verdicts": {name: verdict(ordered, name) for name in DECIDING},
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
    return poses


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of clips in batches; within one no clip is more than 15 % longer than another, so little is padded."""
    parts: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not parts or len(parts[-1]) == size or lengths[i] > 1.15 * lengths[parts[-1][0]]:
            parts.append([])
        parts[-1].append(i)
    return parts


def verdict(systems: dict[str, Any], name: str) -> dict[str, Any]:
    """Whether the model beats every baseline in a figure: in the mean, and in each seed."""
    sign = 1 if FIGURES[name].better == "higher" else -1
    rivals = {
        rival: figures[name]
        for rival, figures in systems.items()
        if rival not in ("model", "truth") and name in figures
    }
    mine = systems["model"][name]
    if np.isnan(mine["mean"]):
        return {"beats_all": None, "beats_all_in_each_seed": None, "best_baseline": None, "text": "no clip shows it"}
    best = max(rivals, key=lambda rival: sign * rivals[rival]["mean"])
    in_mean = bool(sign * mine["mean"] > sign * rivals[best]["mean"])
    each = all(
        sign * a > sign * b for rival in rivals.values() for a, b in zip(mine["values"], rival["values"], strict=True)
    )
    text = f"{'beats' if in_mean else 'does not beat'} every baseline; the best of them: {LABELS[best]}"
    return {"beats_all": in_mean, "beats_all_in_each_seed": bool(each), "best_baseline": best, "text": text}
