"""Poses of one person brought onto another: bone lengths, size and place in the picture (VA-10)."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.human.keypoints import FACE, LEFT_HAND, LEFT_WRIST, NECK, NOSE, RIGHT_HAND, RIGHT_WRIST

# Parent and child, parents before their children, from the neck outwards.
BONES: Final = (
    (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
)  # fmt: skip
LONGEST: Final = 0.95  # share of the frames below which the longest projected length lies
_MIRRORED: Final = (3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8, 12)  # the same bone of the other side
_FORESHORTENED: Final = 0.8  # of what the rest of the body tells: a bone of a single picture that short points at us


class Lengths(NamedTuple):
    """How large a person is in a picture.

    Attributes:
        bones: (13,) longest projected length of each of `BONES`; NaN where it was never seen.
        face, left_hand, right_hand: scalars, likewise: mean distance of the face points from their middle, distance of
            the middle knuckle from the wrist.
    """

    bones: Tensor
    face: Tensor
    left_hand: Tensor
    right_hand: Tensor

    def stack(self) -> Tensor:
        """(16,) all of them."""
        return torch.cat([self.bones, torch.stack([self.face, self.left_hand, self.right_hand])])


def lengths_of(keypoints: Tensor, scores: Tensor) -> Lengths:
    """The longest projected lengths of a sequence, 95th percentiles over its frames.

    Args:
        keypoints: (T, 134, 2) in any unit with square pixels.
        scores: (T, 134), 0 where a point is missing.
    """
    parents, children = (torch.tensor(side) for side in zip(*BONES, strict=True))
    bones = (keypoints[:, children] - keypoints[:, parents]).norm(dim=-1)
    visible = (scores[:, children] > 0) & (scores[:, parents] > 0)
    long = [longest(bones[:, bone], visible[:, bone]) for bone in range(len(BONES))]
    weight = (scores[:, FACE] > 0).to(keypoints)[..., None]
    count = weight.sum(1, keepdim=True)
    middle = (keypoints[:, FACE] * weight).sum(1, keepdim=True) / count.clamp(min=1)
    spread = ((keypoints[:, FACE] - middle).norm(dim=-1) * weight[..., 0]).sum(1) / count[:, 0, 0].clamp(min=1)
    face = longest(spread, count[:, 0, 0] >= 60)
    hands = []
    for hand in (LEFT_HAND, RIGHT_HAND):
        wrist, knuckle = hand.start, hand.start + 9
        palm = (keypoints[:, knuckle] - keypoints[:, wrist]).norm(dim=-1)
        hands.append(longest(palm, (scores[:, knuckle] > 0) & (scores[:, wrist] > 0)))
    return Lengths(torch.stack(long), face, *hands)


def both_sides(lengths: Lengths) -> Lengths:
    """Each bone and hand as long as the longer of its two sides, or as the one that was seen."""
    bones = torch.fmax(lengths.bones, lengths.bones[list(_MIRRORED)])
    hand = torch.fmax(lengths.left_hand, lengths.right_hand)
    return Lengths(bones, lengths.face, hand, hand)


def target_of(pose: Tensor, scores: Tensor, like: Lengths, size: Tensor | None = None) -> Lengths:
    """A person's lengths from one picture, where bones may point at the camera or be outside (ours).

    A bone takes the longer of its two sides. One that was not seen, or is shorter than 0.8 of what the person's size
    tells (the median ratio to `like` over what is seen), takes the length of `like` at that size.

    Args:
        pose: (134, 2) with square pixels.
        scores: (134,).
        like: lengths of the poses that will be brought onto the person.
        size: how much larger than they the person is, where the two have no length in common; None refuses that.

    Raises:
        ValueError: nothing of the person is seen that the poses have, too.
    """
    have = both_sides(lengths_of(pose[None], scores[None])).stack()
    ratios = have / like.stack()
    known = ratios[ratios.isfinite() & (ratios > 0)]
    if len(known):
        size = known.median()
    elif size is None:
        raise ValueError("the picture shows no bone, face or hand that the poses have, too")
    usual = like.stack() * size
    wanted = torch.where(ratios.isfinite() & (ratios >= _FORESHORTENED * size), have, usual)
    return Lengths(wanted[: len(BONES)], *wanted[len(BONES) :].unbind())


def retarget(
    keypoints: Tensor,
    scores: Tensor,
    target: Lengths,
    neck: Tensor | None = None,
    source: Lengths | None = None,
    size: Tensor | None = None,
) -> Tensor:
    """Poses with another person's lengths: directions stay, so gestures do.

    Args:
        keypoints: (T, 134, 2) in any unit with square pixels.
        scores: (T, 134).
        target: the person's lengths, in the unit that is wanted.
        neck: (2,) where the person's neck is; the sequence's mean neck is put there. None leaves it at the origin.
        source: lengths of the poses; None measures them.
        size: how much larger the person is, where no length of both is known.

    Returns:
        (T, 134, 2). Where a length of either is not known, the person's size stands in for it.
    """
    source = lengths_of(keypoints, scores) if source is None else source
    ratios = target.stack() / source.stack()
    known = ratios[ratios.isfinite() & (ratios > 0)]
    if len(known):
        size = known.median()
    elif size is None:
        raise ValueError("poses and person have no length in common")
    ratios = torch.where(ratios.isfinite() & (ratios > 0), ratios, size)
    sway = ratios[[0, 3]].mean()  # the shoulders carry it
    there = scores[:, NECK] > 0
    home = keypoints[there, NECK].mean(0) if there.any() else keypoints.new_zeros(2)
    output = keypoints.clone()
    output[:, NECK] = (keypoints[:, NECK] - home) * sway + (0 if neck is None else neck)
    for bone, (parent, child) in enumerate(BONES):
        output[:, child] = output[:, parent] + (keypoints[:, child] - keypoints[:, parent]) * ratios[bone]
    face, left, right = ratios[len(BONES) :]
    moves = [(NOSE, list(range(14, 18)) + list(range(FACE.start, FACE.stop)), face)]
    moves += [(LEFT_WRIST, list(range(LEFT_HAND.start, LEFT_HAND.stop)), left)]
    moves += [(RIGHT_WRIST, list(range(RIGHT_HAND.start, RIGHT_HAND.stop)), right)]
    moves += [(13, [18, 19, 20], ratios[11]), (10, [21, 22, 23], ratios[8])]
    for root, points, ratio in moves:
        output[:, points] = output[:, [root]] + (keypoints[:, points] - keypoints[:, [root]]) * ratio
    return torch.where((scores > 0)[..., None], output, torch.full_like(output, -1))


def longest(lengths: Tensor, visible: Tensor) -> Tensor:
    """95th percentile of lengths (T,) over the frames in which they are seen; NaN where they never are."""
    return lengths[visible].quantile(LONGEST) if visible.any() else lengths.new_tensor(torch.nan)
