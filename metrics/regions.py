"""PSNR and SSIM where it matters: inside boxes around mouth and hands."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from metrics.frames import MeanOverFrames, pair_frames
from metrics.points import as_pose, visible
from metrics.reconstruction import psnr, ssim_map

_ROUNDING: Final = 1e-3  # pixels: fractions in single precision do not hit the edge of a pixel


def part_boxes(pose: Tensor, parts: Sequence[slice]) -> Tensor:
    """Boxes around parts of a body, frame by frame.

    Args:
        pose: (T, 134, 3): x and y as fractions of the frame, score; a point with score 0 is missing.
        parts: slices of the points: `models.human.keypoints.LIPS`, `LEFT_HAND`, `RIGHT_HAND`, ...

    Returns:
        (T, K, 4) left, top, right, bottom as fractions of the frame, -1 where no point of the part is there.
    """
    pose = as_pose(pose)
    boxes = []
    for part in parts:
        points, there = pose[:, part, :2], visible(pose)[:, part, None]
        low = torch.where(there, points, torch.inf).amin(1)
        high = torch.where(there, points, -torch.inf).amax(1)
        boxes.append(torch.where(there.any(1), torch.cat([low, high], -1), -1.0))
    return torch.stack(boxes, 1)


def region_mask(boxes: Tensor, height: int, width: int, dilation: float = 0.0) -> Tensor:
    """The pixels that boxes touch.

    Args:
        boxes: (T, K, 4) left, top, right, bottom as fractions of the frame; a box that is all -1, or holds NaN, is
            missing, and so is one without area.
        height, width: of the frame in pixels.
        dilation: how far each side is moved outwards, as a part of the box's width or height.

    Returns:
        (T, height, width) bool.

    Raises:
        ValueError: another shape.
    """
    boxes = torch.as_tensor(boxes).double()
    if boxes.ndim != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes are (T, K, 4): left, top, right, bottom; these are {tuple(boxes.shape)}")
    low, high = boxes[..., :2], boxes[..., 2:]
    missing = (boxes == -1).all(-1) | boxes.isnan().any(-1) | (high <= low).any(-1)
    grown = dilation * (high - low)
    size = torch.tensor([width, height], dtype=torch.float64, device=boxes.device)
    low = ((low - grown) * size + _ROUNDING).floor()
    high = ((high + grown) * size - _ROUNDING).ceil()
    high = torch.where(missing[..., None], low, high)  # nothing lies in a missing box
    x = torch.arange(width, device=boxes.device)
    y = torch.arange(height, device=boxes.device)
    across = (x >= low[..., 0, None]) & (x < high[..., 0, None])  # (T, K, width)
    down = (y >= low[..., 1, None]) & (y < high[..., 1, None])  # (T, K, height)
    return (down[..., :, None] & across[..., None, :]).any(1)


class _InRegion(MeanOverFrames):
    """A mean over the frames that show the region; the others count in `unseen`."""

    unseen: Tensor
    higher_is_better = True

    def __init__(self, dilation: float = 0.2) -> None:
        super().__init__()
        if not dilation >= 0:
            raise ValueError(f"dilation={dilation}: boxes are made larger, so it is 0 or more")
        self.dilation = dilation
        self.add_state("unseen", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Tensor, truth: Tensor, region: Tensor | np.ndarray) -> None:
        """Add a clip.

        Args:
            generated, truth: (T, 3, H, W) each, uint8 or float in [0, 1].
            region: boxes (T, K, 4) as fractions of the frame, which are dilated and joined, -1 where missing; or a
                mask (T, H, W), bool or weights from 0 to 1, which is taken as it is.
        """
        generated, truth = pair_frames(generated, truth, torch.float64)
        weights = self._weights(torch.as_tensor(region).to(generated.device), generated)
        values, there = self._measure(generated, truth, weights)
        self.unseen += (~there).sum().to(self.unseen.device)
        self._add(values[there])

    def _weights(self, region: Tensor, frames: Tensor) -> Tensor:
        frame_count, _, height, width = frames.shape
        if region.ndim == 3 and tuple(region.shape) == (frame_count, height, width):
            weights = region.double()
            if not ((weights >= 0) & (weights <= 1)).all():
                raise ValueError("a mask is bool, or weights from 0 to 1; for 0 and 255 give mask > 0")
            return weights
        if region.ndim == 3 and len(region) == frame_count and region.shape[-1] == 4:
            return region_mask(region, height, width, self.dilation).double()
        raise ValueError(
            f"a region is boxes ({frame_count}, K, 4) or a mask ({frame_count}, {height}, {width}); this one is "
            f"{tuple(region.shape)}"
        )

    def _measure(self, generated: Tensor, truth: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """A value per frame (T,), and which frames have one (T,)."""
        raise NotImplementedError


class RegionPSNR(_InRegion):
    """PSNR inside a region, of each frame that shows it, then mean over them (IM-19); higher is better.

    10 log10(1 / sum w (x - y)^2 / sum w) with w the mask, or 1 inside the joined boxes, and 0 outside; 100 dB at most.
    With a mask of the whole frame it is PSNR. A frame without the region counts in `unseen` alone.

    Args:
        dilation: how far each side of a box is moved outwards, as a part of its width or height (ours).
    """

    def _measure(self, generated: Tensor, truth: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        area = weights.sum((1, 2))
        errors = ((generated - truth).square().mean(1) * weights).sum((1, 2))
        return psnr(errors / area), area > 0


class RegionSSIM(_InRegion):
    """SSIM inside a region, of each frame that shows it, then mean over them (IM-19); 1 for equal frames.

    The weighted mean of `metrics.reconstruction.ssim_map`: the windows are centred inside the region, and reach five
    pixels beyond it. With a mask of the whole frame it is SSIM. A region that lies in the outermost five pixels counts
    in `unseen`.

    Args:
        dilation: how far each side of a box is moved outwards, as a part of its width or height (ours).
    """

    def _measure(self, generated: Tensor, truth: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        values = ssim_map(generated, truth)
        edge = (weights.shape[-1] - values.shape[-1]) // 2
        weights = weights[:, edge:-edge, edge:-edge]
        area = weights.sum((1, 2))
        return (values * weights).sum((1, 2)) / area, area > 0
