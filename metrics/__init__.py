"""Measures of generated people, as torchmetrics `Metric`s: `update` per clip, `compute` once.

    reconstruction  PSNR, SSIM                 of frames (IM-19)
    regions         RegionPSNR, RegionSSIM     of frames, inside boxes or masks
    lpips           LPIPS                      of frames, by AlexNet or VGG-16
    fid             FID                        over frames, by Inception-v3
    fvd             FVD, KVD, I3DFID           over windows of 16 frames, or of still ones, by I3D
    expression      EFID, ExpressionDistance   over expressions of faces, by Deep3DFaceRecon, or key points (VA-17)
    sync            LipSync                    LSE-D and LSE-C, by SyncNet
    identity        CSIM                       of faces, by ArcFace
    head_pose       HeadPoseError              degrees
    frechet         FrechetDistance            between two sets of features
    kernel          KernelDistance             the same by a kernel, as KID and KVD take it (MMGT-23)
    gesture         FGD, Diversity, TGD        on the pose autoencoder's features (MMGT-23, IM-19)
    beats           BeatAlignmentScore         audio onsets against motion beats (PH-20)
    text_motion     RPrecision, MultiModality  on vectors of texts and motions (VA-17)
    actions         recognise, strokes         actions and beat gestures in synthetic body motion, by rules
    motion          PoseError, VelocityError, AccelerationError, MissedPoints
    lips            LipCorrelation             lip opening against the truth's

Frames are (T, 3, H, W), RGB, uint8 or float in [0, 1]. A figure that depends on a published network has a `source`,
which says whose weights made it, and a `label`, which says so in its name where they are not the standard ones.

Poses are (..., T, 134, 3): x and y as fractions of the frame, and a score; a point without a score is missing. Lengths
are measured in **frame heights**: y as it is, x times width / height (`metrics.points`), so that a circle in the
picture is a circle for the measure, and every clip has the same unit whether its shoulders are seen or not.
"""

import importlib
from typing import Any

import models  # noqa: F401 - first: torchmetrics imports torchvision, which `models` makes importable

_HOMES = {
    "PSNR": "metrics.reconstruction",
    "SSIM": "metrics.reconstruction",
    "RegionPSNR": "metrics.regions",
    "RegionSSIM": "metrics.regions",
    "LPIPS": "metrics.lpips",
    "FID": "metrics.fid",
    "FVD": "metrics.fvd",
    "KVD": "metrics.fvd",
    "I3DFID": "metrics.fvd",
    "EFID": "metrics.expression",
    "ExpressionDistance": "metrics.expression",
    "LipSync": "metrics.sync",
    "CSIM": "metrics.identity",
    "HeadPoseError": "metrics.head_pose",
    "FrechetDistance": "metrics.frechet",
    "KernelDistance": "metrics.kernel",
    "FGD": "metrics.gesture",
    "Diversity": "metrics.gesture",
    "TGD": "metrics.gesture",
    "BeatAlignmentScore": "metrics.beats",
    "RPrecision": "metrics.text_motion",
    "MultiModality": "metrics.text_motion",
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
