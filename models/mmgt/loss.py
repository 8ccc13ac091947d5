"""The loss of SMGA (MMGT-10)."""

from typing import Final, Literal

import torch
from torch import Tensor

from models.human.keypoints import FACE
from models.losses.motion import motion_loss

FACE_LOSSES: Final = ("own", "off", "general")


def smga_loss(
    predicted: Tensor,
    truth: Tensor,
    known: Tensor,
    *,
    lambda_face: float = 3.0,
    lambda_body: float = 1.0,
    face_loss: Literal["own", "off", "general"] = "own",
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """L = lambda_f L_f + lambda_b L_b, each over its own key points (Eq. 18).

    The paper's L_f and L_b are sums over 68 and 66 points. Here each is its points' mean times their number over 67,
    half of all: both are then divided by the same, and a face point weighs lambda_f / lambda_b of a body point, 3 and
    not the 2.91 (3 x 66 / 68) of two plain means.

    Args:
        predicted: (B, T, 402) x0.
        truth: (B, T, 402).
        known: (B, T, 402) bool, where the truth is known.
        lambda_face: weight of the 68 face points.
        lambda_body: weight of all other points.
        face_loss: "own" is Eq. 18. The two readings of the ablation without it (MMGT-24): "off" leaves L_f out,
            "general" puts one loss over all key points in place of both.
        weight: (B,) factor of each sample, from the diffusion weighting.

    Returns:
        "loss", "loss_face" and "loss_body", scalars; the last two whatever enters the first.
    """
    first, last = 3 * FACE.start, 3 * FACE.stop  # x, y and score of the face points
    channels = predicted.shape[-1]

    def body(x: Tensor) -> Tensor:
        return torch.cat([x[..., :first], x[..., last:]], -1)

    share = 2 * (last - first) / channels
    loss_face = share * motion_loss(predicted[..., first:last], truth[..., first:last], known[..., first:last], weight)
    loss_body = (2 - share) * motion_loss(body(predicted), body(truth), body(known), weight)
    if face_loss == "general":
        loss = motion_loss(predicted, truth, known, weight)
    elif face_loss == "off":
        loss = lambda_body * loss_body
    else:
        loss = lambda_face * loss_face + lambda_body * loss_body
    return {"loss": loss, "loss_face": loss_face, "loss_body": loss_body}
