"""What the motion tokenizer is trained by, and how far its motion is off (VA-4)."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from models.human.motion import FPS, PARTS, recover_joints
from models.versa.tokenizer import MotionTokenizer, Reconstruction

DECIMETRES: Final = 10.0  # to the metre
TENTH: Final = 0.1  # of a decimetre, and of a metre a second: errors below it count by their square
MILLIMETRES: Final = 1000.0


def tokenizer_loss(
    network: MotionTokenizer,
    reconstruction: Reconstruction,
    *,
    beta: float = 0.02,
    position_weight: float = 2.0,
    velocity_weight: float = 0.2,
) -> dict[str, Tensor]:
    """Eq. 2: reconstruction and beta times commitment; the codebook's own term is its moving average (VA-4).

    The reconstruction is that of T2M-GPT (Zhang et al. 2023), smooth L1 of the normalised vectors and of velocities,
    with the places of joints beside them (ours): an error of the root's turn or way is small in the vector and grows
    with every frame.

    Args:
        network: whose normalisation it is.
        reconstruction: of a batch.
        beta: weight of the commitment.
        position_weight: weight of the joints' places, from where a window begins: smooth L1 in decimetres, whose
            square ends at a tenth.
        velocity_weight: weight of the joints' velocities, the same in metres a second.

    Returns:
        `loss` and its parts `reconstruction`, `positions`, `velocities`, `commitment`, each the mean over samples of
        each one's mean over what is no padding.
    """
    joints, truth = joints_of(network, reconstruction)
    speed, true_speed = (joints.diff(dim=1) * FPS, truth.diff(dim=1) * FPS)
    losses = {
        "reconstruction": mean_of(
            _distance(reconstruction.motion.float(), reconstruction.truth.float()), reconstruction.mask
        ),
        "positions": mean_of(_distance(DECIMETRES * joints, DECIMETRES * truth, TENTH), reconstruction.mask),
        "velocities": mean_of(_distance(speed, true_speed, TENTH), reconstruction.mask[:, 1:]),
        "commitment": reconstruction.commitment,
    }
    loss = losses["reconstruction"] + beta * losses["commitment"]
    loss = loss + position_weight * losses["positions"] + velocity_weight * losses["velocities"]
    return {"loss": loss, **losses}


@torch.no_grad()
def tokenizer_errors(network: MotionTokenizer, reconstruction: Reconstruction) -> dict[str, Tensor]:
    """`mpjpe`, mean distance of joints in millimetres, and `error_<part>`, mean distance of each part in deviations."""
    joints, truth = joints_of(network, reconstruction)
    off = (reconstruction.motion.float() - reconstruction.truth.float()).abs()
    errors = {f"error_{name}": mean_of(off[..., part], reconstruction.mask) for name, part in PARTS.items()}
    return {"mpjpe": MILLIMETRES * mean_of((joints - truth).norm(dim=-1), reconstruction.mask), **errors}


def joints_of(network: MotionTokenizer, reconstruction: Reconstruction) -> tuple[Tensor, Tensor]:
    """Joints (B, M, 22, 3) in metres of the reconstruction and of the truth, both from the origin."""
    return (
        recover_joints(network.denormalise(reconstruction.motion.float())),
        recover_joints(network.denormalise(reconstruction.truth.float())),
    )


def mean_of(errors: Tensor, mask: Tensor) -> Tensor:
    """Mean over samples of each one's mean: errors (B, M, ...) where the mask (B, M) is 1; 0 without a frame."""
    each = (errors.flatten(2).mean(2) * mask).sum(1) / mask.sum(1).clamp(min=1)
    return each.mean()


def _distance(output: Tensor, truth: Tensor, square_to: float = 1.0) -> Tensor:
    return F.smooth_l1_loss(output, truth, reduction="none", beta=square_to)
