"""Measures of generated people, as torchmetrics `Metric`s: `update` per clip, `compute` once.

    frechet   FrechetDistance            between two sets of features
    gesture   FGD, Diversity             on the pose autoencoder's features (MMGT-23)
    beats     BeatAlignmentScore         audio onsets against motion beats (PH-20)
    motion    PoseError, VelocityError, AccelerationError, MissedPoints
    lips      LipCorrelation             lip opening against the truth's

Poses are (..., T, 134, 3): x and y as fractions of the frame, and a score; a point without a score is missing. Lengths
are measured in **frame heights**: y as it is, x times width / height (`metrics.points`), so that a circle in the
picture is a circle for the measure, and every clip has the same unit whether its shoulders are seen or not.
"""

import importlib
from typing import Any

_HOMES = {
    "FrechetDistance": "metrics.frechet",
    "FGD": "metrics.gesture",
    "Diversity": "metrics.gesture",
    "BeatAlignmentScore": "metrics.beats",
    "PoseError": "metrics.motion",
    "VelocityError": "metrics.motion",
    "AccelerationError": "metrics.motion",
    "MissedPoints": "metrics.motion",
    "LipCorrelation": "metrics.lips",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a measure when it is asked for: torchmetrics takes seconds to import."""
    if name not in _HOMES:
        raise AttributeError(f"module 'metrics' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
