"""Poses put onto the person in a picture of any scale: a head, half of a body, all of it (VA-10, VA-16)."""

from functools import cache
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from models.human.body import HEIGHT, REST_JOINTS
from models.human.keypoints import FACE, NECK, NOSE, POINTS
from models.human.projection import project_joints
from models.human.retarget import BONES, both_sides, lengths_of, longest, retarget, target_of

How = Literal["by lengths", "by usual proportions", "still"]
"""How poses came onto a person: sized by what both show, by how people are built, or not at all."""
_EYES, _EARS = (14, 15), (16, 17)
_HEAD: Final = (NOSE, *_EYES, *_EARS)
_FACE: Final = tuple(range(FACE.start, FACE.stop))
_WHOLE: Final = 60  # points of a face that tell how high it is
# Of adults who look at the camera, as MediaPipe finds them (ours). In distances of the ears: how far a face's points
# lie from their middle, its height from brows to chin, eyes from each other, the nose from the middle of the shoulders.
# In heights of the body: a hand from the wrist to the middle knuckle.
_SPREAD, _FACE_HEIGHT, _EYES_APART, _NOSE_ABOVE, _PALM = 0.42, 1.2, 0.54, 1.5, 0.055


class Placed(NamedTuple):
    """Poses as the person in a picture has them.

    Attributes:
        keypoints: (T, 134, 2) pixels of the picture; (-1, -1) where missing.
        scores: (T, 134), 0 where missing.
        how: they came there.
    """

    keypoints: Tensor
    scores: Tensor
    how: How


def onto_person(keypoints: Tensor, scores: Tensor, own: Tensor, own_scores: Tensor) -> Placed:
    """Poses with the lengths, the size and the place of the person in a picture; directions stay, so gestures do.

    What both show tells the size. Where they have no length in common, as poses without faces and a picture of a head
    alone, both are held against usual proportions. The mean neck comes where the person's is, or the mean head where
    no neck is seen. A head that the poses never show is the picture's own, carried along by the neck. Poses of which
    nothing can be put into a picture with a head, such as legs alone, leave the person as in the picture: their
    parts are outside of it.

    Args:
        keypoints: (T, 134, 2) in any unit with square pixels.
        scores: (T, 134), 0 where a point is missing.
        own: (134, 2) the person in the picture, in square pixels of it.
        own_scores: (134,) likewise.

    Raises:
        ValueError: the picture shows neither a head nor anything that the poses have, too.
    """
    sized = _sized(keypoints, scores, own, own_scores)
    if sized is not None:
        moved, shown = _with_head(sized.keypoints, scores, own, own_scores)
        put = _put(moved, shown, own, own_scores)
        if put is not None:
            return Placed(torch.where((shown > 0)[..., None], put, -1.0), shown, sized.how)
    if not _shows_head(own_scores):
        raise ValueError("the picture shows no head, and no bone, face or hand that the poses have, too")
    count = len(keypoints)
    return Placed(own.expand(count, -1, -1).clone(), own_scores.expand(count, -1).clone(), "still")


def measures(keypoints: Tensor, scores: Tensor) -> Tensor:
    """(18,) longest `Lengths` of a sequence by the longer side, distances of eyes and of ears; NaN where never seen.

    Args:
        keypoints: (T, 134, 2) in any unit with square pixels.
        scores: (T, 134), 0 where a point is missing.
    """
    pairs = []
    for right, left in (_EYES, _EARS):
        apart = (keypoints[:, right] - keypoints[:, left]).norm(dim=-1)
        pairs.append(longest(apart, (scores[:, right] > 0) & (scores[:, left] > 0)))
    return torch.cat([both_sides(lengths_of(keypoints, scores)).stack(), torch.stack(pairs)])


@cache
def usual() -> Tensor:
    """(18,) the same of an adult, in metres: the stated skeleton as it is projected, with a head and hands."""
    found = measures(*project_joints(REST_JOINTS[None]))
    ears, face = found[-1], len(BONES)
    found[BONES.index((NECK, NOSE))] = _NOSE_ABOVE * ears
    found[face], found[-2] = _SPREAD * ears, _EYES_APART * ears
    found[face + 1 : face + 3] = _PALM * HEIGHT
    return found


def neck_of(own: Tensor, own_scores: Tensor) -> Tensor:
    """Where a person's neck is in a picture, (2,) pixels; where it is not seen, the height of a face below the head.

    Args:
        own: (134, 2) pixels.
        own_scores: (134,), of which the neck or something of the head is seen.
    """
    if own_scores[NECK] > 0:
        return own[NECK]
    face = own[FACE][own_scores[FACE] > 0]
    if len(face) >= _WHOLE:
        middle, height = face.mean(0), face[:, 1].max() - face[:, 1].min()
    else:
        size = _median(measures(own[None], own_scores[None]) / usual())
        middle = own[[point for point in (*_HEAD, *_FACE) if own_scores[point] > 0]].mean(0)
        height = own.new_zeros(()) if size is None else _FACE_HEIGHT * usual()[-1] * size
    return middle + own.new_tensor([0.0, 1.0]) * height


def _sized(keypoints: Tensor, scores: Tensor, own: Tensor, own_scores: Tensor) -> Placed | None:
    """Poses with the person's lengths, wherever they are; None where nothing tells a size."""
    theirs, mine = measures(keypoints, scores), measures(own[None], own_scores[None])
    how: How = "by lengths"
    size = _median(mine / theirs)
    if size is None:
        own_size, their_size = _median(mine / usual()), _median(theirs / usual())
        if own_size is None or their_size is None:
            return None
        how, size = "by usual proportions", own_size / their_size
    source = lengths_of(keypoints, scores)
    target = target_of(own, own_scores, source, size)
    return Placed(retarget(keypoints, scores, target, source=source, size=size), scores, how)


def _with_head(moved: Tensor, scores: Tensor, own: Tensor, own_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Where the poses never show a head, the person's own goes along with the neck."""
    if _shows_head(scores) or not _shows_head(own_scores):
        return moved, scores
    points = [*_HEAD, *_FACE]
    moved, scores = moved.clone(), scores.clone()
    moved[:, points] = moved[:, [NECK]] + own[points] - neck_of(own, own_scores)
    scores[:, points] = torch.where(scores[:, [NECK]] > 0, own_scores[points], 0.0)
    return moved, scores


def _put(moved: Tensor, scores: Tensor, own: Tensor, own_scores: Tensor) -> Tensor | None:
    """Poses at the person's place; None where the two have none in common."""
    weight = (scores > 0).to(moved)[..., None]
    middles = (moved * weight).sum(0) / weight.sum(0).clamp(min=1)
    both = (scores > 0).any(0) & (own_scores > 0)
    groups = ((NECK,), (NOSE,), _HEAD, _FACE, range(POINTS))
    common = next((found for points in groups if (found := [point for point in points if both[point]])), None)
    if common is None:
        return None
    shift = (own[common] - middles[common]).mean(0)
    moved = moved + shift
    body = [point for point in range(POINTS) if point not in (*_HEAD, *_FACE)]
    if (own_scores[body] <= 0).all() and (scores[:, NECK] > 0).any():
        # Of a head alone: nearer to it a neck would be in the picture.
        below = neck_of(own, own_scores)[1] - middles[NECK, 1] - shift[1]
        moved[:, body, 1] += below.clamp(min=0)
    return moved


def _shows_head(scores: Tensor) -> bool:
    return bool((scores[..., [*_HEAD, *_FACE]] > 0).any())


def _median(ratios: Tensor) -> Tensor | None:
    known = ratios[ratios.isfinite() & (ratios > 0)]
    return known.median() if len(known) else None
