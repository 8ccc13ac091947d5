"""Whether generated frames show their own moment: each nearer to its own true frame than to the clip's others."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from metrics.frames import pair_frames
from metrics.regions import part_boxes, region_mask
from trainers.evaluation.videos import DILATION, PARTS

SPACED: Final = 12
"""Frames of a clip that are told apart; chance is one in so many."""


def own_frame_retrieval(
    generated: Tensor,
    truth: Tensor,
    pose: Tensor,
    spaced: int = SPACED,
    parts: Sequence[slice] = PARTS["mouth_hands"],
) -> np.ndarray:
    """Which of a clip's frames are nearer to their own true frame than to the others, inside the true boxes of parts.

    The frames are the middles of as many equal parts of the clip, so that the first, which a network is given, is
    none of them. The distance is the mean squared error inside the boxes that the parts have in the frame's own truth;
    a frame that is as near to another one is no hit.

    Args:
        generated, truth: (T, 3, H, W) each, uint8 or float in [0, 1].
        pose: (T, 134, 3) of the true frames.
        spaced: how many frames.
        parts: slices of the points; mouth and hands where left out.

    Returns:
        (n,) bool, n at most `spaced`: frames that show none of the parts are left out.
    """
    at = spaced_frames(len(truth), spaced)
    output, true = pair_frames(generated[at], truth[at])
    height, width = truth.shape[-2:]
    inside = region_mask(part_boxes(pose[at], parts), height, width, DILATION)
    hits = []
    for number, (frame, mask) in enumerate(zip(output, inside, strict=True)):
        if not mask.any() or len(at) < 2:
            continue
        errors = (frame[:, mask] - true[:, :, mask]).double().square().mean((1, 2))
        own, others = errors[number], torch.cat([errors[:number], errors[number + 1 :]])
        hits.append(bool(own < others.min()))
    return np.array(hits, bool)


def spaced_frames(frames: int, spaced: int = SPACED) -> list[int]:
    """The middles of so many equal parts of a clip, each frame once."""
    parts = min(spaced, frames)
    return [int((number + 0.5) * frames / parts) for number in range(parts)]
