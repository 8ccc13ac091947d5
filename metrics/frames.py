"""What every measure of pictures shares: what frames are, and in which range."""

import torch
from torch import Tensor
from torchmetrics import Metric

_SLACK = 1e-3  # a decoder's rounding; anything more is another range


def as_frames(frames: Tensor, dtype: torch.dtype = torch.float32, name: str = "frames") -> Tensor:
    """Check frames and give them as floats in [0, 1].

    Args:
        frames: (T, 3, H, W) RGB, uint8 or float in [0, 1].
        dtype: of the result.
        name: what the error calls them.

    Raises:
        ValueError: another shape or range; says which.
    """
    frames = torch.as_tensor(frames)
    shape = tuple(frames.shape)
    if frames.ndim != 4 or shape[1] != 3 or 0 in shape:
        hint = "; permute(0, 3, 1, 2) puts the channels second" if frames.ndim == 4 and shape[-1] == 3 else ""
        raise ValueError(f"{name} are (T, 3, height, width); these are {shape}{hint}")
    if frames.dtype == torch.uint8:
        return frames.to(dtype) / 255
    if not frames.is_floating_point():
        raise ValueError(f"{name} are uint8, or floats in [0, 1]; these are {frames.dtype}")
    low, high = (float(value) for value in frames.aminmax())
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise ValueError(
            f"{name} as floats lie in [0, 1]; these go from {low:.3g} to {high:.3g}: scale them, and clamp what a "
            "network gave"
        )
    return frames.to(dtype).clamp(0, 1)


def pair_frames(generated: Tensor, truth: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Two clips of one shape as floats in [0, 1]; raises ValueError where the shapes differ."""
    generated = as_frames(generated, dtype, "generated frames")
    truth = as_frames(truth, dtype, "true frames")
    if generated.shape != truth.shape:
        raise ValueError(f"generated {tuple(generated.shape)} and true {tuple(truth.shape)} frames differ in shape")
    return generated, truth


def as_bytes(frames: Tensor) -> Tensor:
    """Frames (T, 3, H, W) as uint8, floats rounded: what a saved picture holds."""
    frames = torch.as_tensor(frames)
    checked = as_frames(frames)
    return frames if frames.dtype == torch.uint8 else (checked * 255).round().to(torch.uint8)


class MeanOverFrames(Metric):
    """A mean over all frames of all clips, kept as two sums."""

    total: Tensor
    frames: Tensor
    is_differentiable = False
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        self.total += values.double().sum().to(self.total.device)
        self.frames += len(values)

    def compute(self) -> Tensor:
        """The mean over frames, a scalar; NaN without a frame."""
        return self.total / self.frames if self.frames > 0 else torch.tensor(float("nan"))
