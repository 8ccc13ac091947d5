"""The figures of one set of poses against the truth (MMGT-23, PH-20)."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from datamodules.media.hearing import audio_onsets
from models.human.autoencoder import PoseAutoencoder
from trainers.evaluation.clips import EvaluationClip, visible
from trainers.evaluation.comparison import Figure
from trainers.evaluation.per_clip import PerClip, combine, mean_over_clips
from trainers.evaluation.talks import Talk

FIGURES: Final[dict[str, Figure]] = {
    "fgd": Figure("FGD", "lower", "squared Frechet distance of pose-autoencoder features to the truth's"),
    "diversity": Figure("Diversity", "near", "mean distance between pose-autoencoder features of generated windows"),
    "bas": Figure("BAS", "near", "beat alignment of motion beats with speech onsets, 0 to 1"),
    "bas_distance": Figure("|BAS - truth|", "lower", "distance of BAS from the truth's own"),
    "velocity_error": Figure("Velocity", "lower", "mean distance of velocities, frame heights a second"),
    "acceleration_error": Figure(
        "Acceleration", "lower", "mean distance of accelerations, frame heights a second squared"
    ),
    "lip_correlation": Figure("Lips r", "higher", "Pearson correlation of lip opening with the truth, mean over clips"),
    "pose_error": Figure("Pose error", "lower", "mean squared distance of points, 1e-3 squared frame heights"),
    "missed_points": Figure("Missed", "lower", "share of the truth's points left out"),
    "rule_lips": Figure("Rule: lips", "higher", "synthetic speakers: share of the lip rule's variance explained"),
    "rule_beats": Figure(
        "Rule: beats", "higher", "synthetic speakers: share of stress beats with a hand stroke within 0.12 s"
    ),
}
OF_VIDEOS: Final[Mapping[str, Figure]] = {name: FIGURES[name] for name in ("fgd", "diversity", "bas", "bas_distance")}
"""Those that stand in a table of videos."""
_POSE_UNIT: Final = 1e3


def measure(poses: Sequence[np.ndarray], clips: Sequence[EvaluationClip], encoder: PoseAutoencoder) -> dict[str, float]:
    """All figures of one answer.

    Args:
        poses: one (T, 134, 3) per clip.
        clips: the truth.
        encoder: the pose autoencoder of FGD and Diversity.

    Returns:
        Figure by name, each an `OverClips`.
    """
    import metrics

    fgd, diversity = PerClip(metrics.FGD(encoder)), PerClip(metrics.Diversity(encoder))
    bas, true_bas = PerClip(metrics.BeatAlignmentScore()), PerClip(metrics.BeatAlignmentScore())
    velocity, acceleration = PerClip(metrics.VelocityError()), PerClip(metrics.AccelerationError())
    lips, error = PerClip(metrics.LipCorrelation()), PerClip(metrics.PoseError())
    missed = PerClip(metrics.MissedPoints())
    meters = (fgd, diversity, bas, true_bas, velocity, acceleration, lips, error, missed)
    for raw, clip in zip(poses, clips, strict=True):
        generated, truth = torch.from_numpy(visible(raw)), torch.from_numpy(clip.pose)
        fgd.update(generated, generated=True)
        fgd.update(truth, generated=False)
        diversity.update(generated)
        bas.update(generated, clip.onsets, clip.info.fps, clip.aspect)
        true_bas.update(truth, clip.onsets, clip.info.fps, clip.aspect)
        velocity.update(generated, truth, clip.info.fps, clip.aspect)
        acceleration.update(generated, truth, clip.info.fps, clip.aspect)
        lips.update(generated, truth)
        error.update(generated, truth, clip.aspect)
        missed.update(generated, truth)
        for meter in meters:
            meter.end_clip()
    score, true_score = bas.compute(), true_bas.compute()
    figures = {
        "fgd": fgd.compute(),
        "diversity": diversity.compute(),
        "bas": score,
        "bas_distance": combine(lambda value, true: abs(value - true), score, true_score),
        "velocity_error": velocity.compute(),
        "acceleration_error": acceleration.compute(),
        "lip_correlation": lips.compute(),
        "pose_error": combine(lambda value: value * _POSE_UNIT, error.compute()),
        "missed_points": missed.compute(),
    }
    return figures | _rule(poses, clips)


def measure_talks(
    poses: Sequence[np.ndarray], truth: Sequence[np.ndarray], talks: Sequence[Talk], encoder: PoseAutoencoder
) -> dict[str, float]:
    """FGD, Diversity and BAS of the poses in videos.

    Args:
        poses: one (T, 134, 3) per clip.
        truth: likewise, of the true clips.
        talks: the clips, with their sound.
        encoder: the pose autoencoder of FGD and Diversity.
    """
    clips = [
        EvaluationClip(talk.info, true, np.zeros((0, 0)), audio_onsets(talk.sound))
        for talk, true in zip(talks, truth, strict=True)
        if talk.sound is not None
    ]
    found = measure(poses, clips, encoder)
    return {name: found[name] for name in OF_VIDEOS}


def _rule(poses: Sequence[np.ndarray], clips: Sequence[EvaluationClip]) -> dict[str, float]:
    """How much of the synthetic speakers' rule is recovered; nothing for real clips."""
    from preprocessing.synthetic.phonemes import Phoneme
    from preprocessing.synthetic.rule import recovered

    found = [
        recovered(pose, [Phoneme(**phoneme) for phoneme in clip.phonemes], clip.info.fps) if clip.phonemes else {}
        for pose, clip in zip(poses, clips, strict=True)
    ]
    if not any(found):
        return {}
    return {
        "rule_lips": mean_over_clips([one.get("lip_variance", np.nan) for one in found]),
        "rule_beats": mean_over_clips([one.get("beats_hit", np.nan) for one in found]),
    }
