"""What the video network sees of a pose: the body below the neck, and a disc where the head is (VA-12)."""

from typing import Final

import torch
from torch import Tensor

from models.human.draw import REFERENCE_SIZE
from models.human.keypoints import BODY, HANDS, LEFT_EYE_RIM, NOSE, NOSE_RIDGE, POINTS, RIGHT_EYE_RIM
from models.video.skeletons import LAYERS, THRESHOLD, Strokes, draw_skeletons

HEAD: Final = 1 / 16
"""Radius of the disc in shorter sides of the picture (ours)."""
STILL: Final = (
    *range(NOSE_RIDGE.start, NOSE_RIDGE.stop),
    *(rim.start + corner for rim in (RIGHT_EYE_RIM, LEFT_EYE_RIM) for corner in (0, 3)),
)
"""Points whose mean is the middle of the face: the ridge of the nose and the corners of the eyes. Neither speech nor a
blink moves them (ours): the middle of all points goes down with the chin, and would tell how far a mouth is open."""
_HEAD_OF_BODY: Final = frozenset({NOSE, 14, 15, 16, 17})  # nose, eyes, ears
_SEEN: Final = (frozenset(range(BODY.start, BODY.stop)) - _HEAD_OF_BODY) | frozenset(range(HANDS.start, HANDS.stop))
BELOW: Final = tuple(layer for layer in LAYERS if _SEEN.issuperset((*layer.starts, *layer.ends)))
"""Strokes of the body from the neck down, and of the hands."""
_DISC: Final = (255, 255, 255)


def face_middle(pose: Tensor) -> Tensor:
    """Where the middle of the face is, (..., 3) x and y as fractions of the frame, score; (-1, -1, 0) where unknown.

    Without any of the points that hold still it is the body's own nose, as in poses of people who are far away.

    Args:
        pose: (..., 134, 3) x and y as fractions of the frame, score.
    """
    still = pose[..., list(STILL), :]
    seen = (still[..., 2] >= THRESHOLD) & still.isfinite().all(-1)
    count = seen.sum(-1, keepdim=True)
    middle = torch.where(seen[..., None], still[..., :2], 0).sum(-2) / count.clamp(min=1)
    nose = pose[..., NOSE, :]
    known = ((nose[..., 2] >= THRESHOLD) & nose.isfinite().all(-1))[..., None]
    middle = torch.where(count > 0, middle, torch.where(known, nose[..., :2], -1))
    return torch.cat([middle, ((count > 0) | known).to(middle.dtype)], -1)


@torch.no_grad()
def draw_pose_pictures(pose: Tensor, height: int, width: int, head: float = HEAD) -> Tensor:
    """Pictures of poses from which no point of a face can be read (VA-12).

    The disc has one size for all frames and all people, whatever their faces do; hands are drawn over it.

    Args:
        pose: (..., 134, 3) x and y as fractions of the frame, score.
        height: rows H.
        width: columns W.
        head: radius of the disc in shorter sides of the picture.

    Returns:
        (..., 3, H, W) in [0, 1], on black. What lies outside of the frame is not drawn (VA-16).
    """
    disc = Strokes([POINTS], [POINTS], [_DISC], head * REFERENCE_SIZE)
    with_middle = torch.cat([pose, face_middle(pose)[..., None, :]], -2)
    return draw_skeletons(with_middle, height, width, (disc, *BELOW))
