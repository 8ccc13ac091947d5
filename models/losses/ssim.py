"""Structural similarity of pictures."""

import torch
from torch import Tensor

from models.losses.gaussian import full_precision, gaussian_filter


def ssim_map(generated: Tensor, target: Tensor, sigma: float = 1.5, radius: int = 5) -> Tensor:
    """SSIM around every pixel (Wang et al. 2004), differentiable; the usual window is 11 pixels, sigma 1.5.

    SSIM = (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_x^2 + s_y^2 + C2)), C1 = 0.01^2 and C2 = 0.03^2,
    with means m, variances s^2 and covariance s_xy under a gaussian window. At the borders the window is what of it
    lies inside of the picture.

    Args:
        generated: (N, C, H, W) in [0, 1].
        target: (N, C, H, W) in [0, 1]; takes no gradient.
        sigma: of the window, in pixels.
        radius: of the window, in pixels.

    Returns:
        (N, C, H, W) in [-1, 1], float32 at least; 1 where both are the same.
    """
    with full_precision(generated.device):
        x = generated if generated.dtype == torch.float64 else generated.float()
        y = target.detach().to(x.dtype)
        channels = x.shape[1]
        means = gaussian_filter(torch.cat([x, x.square() + y.square(), x * y], 1), sigma, radius)
        m_x, squares, products = means.split(channels, 1)
        m_y = gaussian_filter(y, sigma, radius)
        both, cross = m_x.square() + m_y.square(), m_x * m_y
        c1, c2 = 0.01**2, 0.03**2
        return (2 * cross + c1) * (2 * (products - cross) + c2) / ((both + c1) * (squares - both + c2))
