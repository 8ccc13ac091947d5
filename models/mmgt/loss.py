"""The loss of SMGA (MMGT-10)."""

import torch
from torch import Tensor

from models.losses.motion import motion_loss
from models.mmgt.pose_space import face_channels


def smga_loss(
    predicted: Tensor,
    truth: Tensor,
    known: Tensor,
    *,
    lambda_face: float = 3.0,
    lambda_body: float = 1.0,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """L = lambda_f L_f + lambda_b L_b, each over its own key points (Eq. 18).

    Args:
        predicted: (B, T, 402) x0.
        truth: (B, T, 402).
        known: (B, T, 402) bool, where the truth is known.
        lambda_face: weight of the 68 face points; 0 is the ablation without face loss (MMGT-24).
        lambda_body: weight of all other points.
        weight: (B,) factor of each sample, from the diffusion weighting.

    Returns:
        "loss", "loss_face" and "loss_body", scalars.
    """
    face = torch.nonzero(face_channels()).squeeze(1)  # on the CPU: a look at it waits for no device
    first, last = int(face[0]), int(face[-1]) + 1  # the face points stand together, so slices do

    def body(x: Tensor) -> Tensor:
        return torch.cat([x[..., :first], x[..., last:]], -1)

    loss_face = motion_loss(predicted[..., first:last], truth[..., first:last], known[..., first:last], weight)
    loss_body = motion_loss(body(predicted), body(truth), body(known), weight)
    return {
        "loss": lambda_face * loss_face + lambda_body * loss_body,
        "loss_face": loss_face,
        "loss_body": loss_body,
    }
