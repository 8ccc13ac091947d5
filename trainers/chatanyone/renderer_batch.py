"""What the renderer reads of a batch: frames, key points of head, body and hands, and which frames it may take."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from models.chatanyone.grid import KNOWN, Heads
from models.chatanyone.hands import SEEN
from models.chatanyone.head import INDICES
from models.human.keypoints import (
    HANDS,
    LEFT_ELBOW,
    LEFT_SHOULDER,
    LEFT_WRIST,
    LIPS,
    NECK,
    RIGHT_ELBOW,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from settings import ConfigError

LIMBS: Final = (RIGHT_WRIST, LEFT_WRIST, RIGHT_ELBOW, LEFT_ELBOW, RIGHT_SHOULDER, LEFT_SHOULDER, NECK)
"""Landmarks that the first implicit key points of a body are held to, in this order (CA-12)."""
BOX: Final = 0.1
"""Share of a box's side by which it is made larger on each side."""


class Pair(NamedTuple):
    """B source frames, N driving frames of each of their windows, and what is known of them.

    Attributes:
        image: (B, 3, H, W) in [0, 1].
        driving: (B, N, 3, H, W).
        image_head: the head's key points (B, K, 3) in [-1, 1].
        driving_head: (B, N, K, 3).
        image_pose: (B, 134, 3).
        driving_pose: (B, N, 134, 3).
        shown: (B, N) bool, where heads are seen in source and driving frame.
    """

    image: Tensor
    driving: Tensor
    image_head: Tensor
    driving_head: Tensor
    image_pose: Tensor
    driving_pose: Tensor
    shown: Tensor


def limbs(pose: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first landmarks of limbs, (..., m, 2) in [-1, 1], and (..., m) bool, which are seen in the frame.

    Args:
        pose: (..., 134, 3) x and y as fractions of the frame, score.
        count: of the body's implicit key points.
    """
    chosen = pose[..., list(LIMBS[:count]), :]
    inside = ((chosen[..., :2] >= 0) & (chosen[..., :2] <= 1)).all(-1)
    return 2 * chosen[..., :2] - 1, inside & (chosen[..., 2] >= SEEN)


def hands_of(pose: Tensor) -> Tensor:
    """The points of both hands (..., 42, 3) of poses (..., 134, 3), as pictures of hands are drawn from them."""
    return pose[..., HANDS, :]


def pixels(video: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """(B, T, 3, H, W) uint8 to floats in [0, 1]. Raises ConfigError for another height and width."""
    if tuple(video.shape[-2:]) != size:
        (rows, columns), (height, width) = video.shape[-2:], size
        raise ConfigError(
            f"stage.network.height and width are {height} and {width}, but the frames are {columns} x {rows} pixels "
            f"(width x height); set data.video_size=[{height},{width}]"
        )
    return video.contiguous().to(dtype) / 255


def pair(batch: Any, found: Heads, size: tuple[int, int], dtype: torch.dtype, where: Tensor) -> Pair:
    """Frames of each window, taken among those in which the head is seen, or of a window without any, among all.

    Args:
        batch: of frames and poses.
        found: the heads in all of them.
        size: height and width.
        dtype: of what comes out.
        where: (B, N + 1) in [0, 1]: the source frame first, 0 a window's first frame and 1 its last.
    """
    heads, seen = found
    order = torch.argsort((~seen).to(torch.uint8), dim=1, stable=True)  # frames with a head first, in their order
    count = torch.where(seen.any(1), seen.sum(1), seen.shape[1])[:, None]
    index = (where * count).floor().long().clamp(max=seen.shape[1] - 1)
    chosen = order.gather(1, torch.minimum(index, count - 1))
    rows = torch.arange(len(chosen), device=chosen.device)[:, None]
    frames, heads = pixels(batch.video[rows, chosen], size, dtype), heads[rows, chosen].to(dtype)
    pose, shown = batch.pose[rows, chosen], seen[rows, chosen]
    return Pair(
        frames[:, 0], frames[:, 1:], heads[:, 0], heads[:, 1:], pose[:, 0], pose[:, 1:], shown[:, 1:] & shown[:, :1]
    )


def whole_window(batch: Any, found: Heads, size: tuple[int, int], dtype: torch.dtype) -> Pair:
    """The first frame of each window as the source of all of its frames; `found` are the heads in them."""
    video, (heads, seen) = pixels(batch.video, size, dtype), found
    heads, pose = heads.to(dtype), batch.pose
    return Pair(video[:, 0], video, heads[:, 0], heads, pose[:, 0], pose, seen & seen[:, :1])


def turns(numbers: Tensor, ratio: float) -> Tensor:
    """Affine maps (..., 2, 3) of coordinates in [-1, 1] that turn, scale and move pictures.

    Args:
        numbers: (..., 4) half turns, change of scale, and by how far along x and y.
        ratio: of a picture's width to its height: an angle is one of the picture, not of its coordinates.
    """
    angle, scale, x, y = numbers.unbind(-1)
    angle, scale = torch.pi * angle, 1 + scale
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([cosine, -sine / ratio, x], -1), torch.stack([sine * ratio, cosine, y], -1)], -2)


def boxes(pose: Tensor, part: str, height: int, width: int) -> Tensor:
    """Pixels of mouth or hands: (R, H, W) bool of poses (R, 134, 3), boxes about the points, made a tenth larger.

    Args:
        pose: x and y as fractions of the frame, score.
        part: "mouth" or "hands".
        height: of the frame.
        width: of the frame.
    """
    from metrics.regions import part_boxes, region_mask

    half = (HANDS.start + HANDS.stop) // 2
    parts = {"mouth": (LIPS,), "hands": (slice(HANDS.start, half), slice(half, HANDS.stop))}[part]
    return region_mask(part_boxes(pose, parts), height, width, BOX)


def psnr(frames: Tensor, truth: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Decibels of frames (R, 3, H, W), the mean over those that show anything of a mask (R, H, W), and how many do."""
    error = (frames - truth).float().square().mean(1)
    weight = torch.ones_like(error) if mask is None else mask.to(error)
    area = weight.sum((1, 2))
    mean = (error * weight).sum((1, 2)) / area.clamp(min=1)
    shown = (area > 0).to(mean)
    return (-10 * mean.clamp(min=1e-10).log10() * shown).sum() / shown.sum().clamp(min=1), shown.sum()


def check_seen(statistics: Mapping[str, Any], hands: bool) -> None:
    """Raises ConfigError where no training clip shows a head, or none a hand that is to be drawn.

    Args:
        statistics: of the index: points that nobody has seen have deviation 1 and mean 0.
        hands: whether hands are drawn.
    """
    if "pose" not in statistics:
        return
    known = [any(mean) or std != [1.0, 1.0] for mean, std in zip(*(statistics["pose"][n] for n in ("mean", "std")))]
    if sum(known[i] for i in INDICES) < KNOWN * len(INDICES):
        raise ConfigError("no clip of the training split shows a face, by whose points the renderer moves heads")
    if hands and not any(known[HANDS]):
        raise ConfigError(
            "no clip of the training split has a point of a hand, which stage.network.hands=true draws: set "
            "stage.network.hands=false and stage.hand_weight=0, or make shards whose pose step finds hands"
        )
