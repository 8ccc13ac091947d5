"""Pictures for tests of losses."""

import torch
from torch import Tensor
from torch.nn import functional as F


def pictures(count: int = 2, size: int = 64, seed: int = 0) -> Tensor:
    """Smooth blobs and fine texture, (count, 3, size, size) in [0, 1]."""
    g = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(count, 3, 6, 6, generator=g), size=(size, size), mode="bilinear")
    return (0.8 * smooth + 0.2 * torch.rand(count, 3, size, size, generator=g)).clamp(0, 1)


def noisy(frames: Tensor, strength: float, seed: int = 9) -> Tensor:
    """The same frames with noise of a standard deviation."""
    return frames + strength * torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))
