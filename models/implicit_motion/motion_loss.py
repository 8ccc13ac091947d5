"""The loss of the motion diffusion (IM-15, IM-16)."""

import torch
from torch import Tensor

from models.losses.motion import difference_loss


def motion_diffusion_loss(
    noise_pred: Tensor,
    noise: Tensor,
    x0_pred: Tensor,
    x0: Tensor,
    before: Tensor,
    *,
    known: Tensor,
    continued: Tensor,
    weight: Tensor | None = None,
    lambda_mse: float = 1.0,
    lambda_velocity: float = 1.0,
    lambda_acceleration: float = 1.0,
) -> dict[str, Tensor]:
    """L_simple (Eq. 7) and, on the x0 estimate, L_MSE, L_impvel and L_accel (Eq. 4 to 6).

    Each is the mean over a sample's numbers, then over samples (the paper sums over channels: a constant factor). Where
    a window goes on from frames before it, velocity and acceleration reach back to them (ours).

    Args:
        noise_pred, noise: (B, T, C).
        x0_pred, x0: (B, T, C).
        before: (B, 4, C) true frames before the first.
        known: (B, T) bool, false where there is padding.
        continued: (B,) bool, whether the window goes on from `before`.
        weight: (B,) factor of each sample's L_simple, from the diffusion weighting.
        lambda_mse: weight of L_MSE.
        lambda_velocity: weight of L_impvel.
        lambda_acceleration: weight of L_accel.

    Returns:
        "loss", "loss_simple", "loss_mse", "loss_velocity" and "loss_acceleration", scalars.
    """
    here = known[..., None].expand_as(x0)

    def differences(order: int) -> Tensor:
        # As many frames before the window as the first difference needs that has a predicted frame in it.
        last = before[:, before.shape[1] - order :]
        there = torch.cat([continued[:, None, None].expand_as(last), here], 1)
        return difference_loss(torch.cat([last, x0_pred], 1), torch.cat([last, x0], 1), there, order)

    simple = difference_loss(noise_pred, noise, here, weight=weight)
    mse, velocity, acceleration = (differences(order) for order in range(3))
    return {
        "loss": simple + lambda_mse * mse + lambda_velocity * velocity + lambda_acceleration * acceleration,
        "loss_simple": simple,
        "loss_mse": mse,
        "loss_velocity": velocity,
        "loss_acceleration": acceleration,
    }
