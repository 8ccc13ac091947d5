"""A linear head template from the face points of clips: nothing to download, no licence to sign (CA-1)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.chatanyone.head import EXPRESSIONS, IDENTITIES, LANDMARKS, HeadTemplate
from models.chatanyone.head_fit import AWAY, FEWEST, NoHead, start_pose
from models.human.canonical_face import CANONICAL, RIGID

_ROUNDS: Final = 4  # mean face and poses take turns
_KNOWN: Final = 1e-3  # share of the first direction's spread below which a direction says nothing
# The egg that the rest of the face lies on, in the canonical face's centimetres (ours): half axes to the side and up,
# height of its middle, depth of its middle and how far it stands out.
_EGG: Final = (8.0, 13.0, -1.0, -3.0, 8.5)


class SeenFace(NamedTuple):
    """The face points of a clip.

    Attributes:
        points: (T, 68, 2) heights of the frame.
        seen: (T, 68) bool.
    """

    points: Tensor
    seen: Tensor


def linear_template(clips: Sequence[SeenFace], distance: float = 2.0) -> HeadTemplate:
    """Learn mean face, directions of expression and of identity.

    Rigid motion is taken out by Procrustes on the points that no mouth and no brow moves: the pose of each frame is the
    scaled rotation that brings the mean face nearest to it. What is left, turned back to the front, is the clip's mean
    (identity) and how frames differ from it (expression); both are brought to their principal directions. Points in a
    plane do not tell depth: that is the canonical face's for eyes and nose, and an egg's for the rest; directions of
    expression lie in the plane of the face.

    Args:
        clips: of as many people and minutes as there are.
        distance: usual distance of a head from the camera, heights of the frame.

    Raises:
        NoHead: no frame shows a whole face from the front, or points that are not finite.
    """
    kept = [found for clip in clips if (found := _whole(clip)) is not None]
    if not kept:
        raise NoHead("no head: no clip has a frame in which all 68 face points are seen from the front")
    rigid = list(RIGID)
    canonical = torch.from_numpy(CANONICAL) * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    mean = torch.zeros(LANDMARKS, 3, dtype=torch.float64)
    mean[rigid] = canonical
    flat: list[Tensor] = []
    scales: list[Tensor] = []
    for number in range(_ROUNDS):
        flat, scales, away = [], [], []
        for points in kept:
            rotation, scale, place = start_pose(
                mean[rigid], points[:, rigid], torch.ones(len(points), len(rigid), dtype=torch.float64)
            )
            inside = torch.rad2deg(torch.acos(rotation[:, 2, 2].clamp(-1, 1))) <= AWAY
            depth = mean[:, 2] if number else _depth(_frontal(points, rotation, scale, place, mean[:, 2] * 0))
            flat.append(_frontal(points, rotation, scale, place, depth)[inside])
            scales.append(scale[inside])
            away.append(inside)
        if not any(inside.any() for inside in away):
            raise NoHead(f"no head: all are turned away by more than {AWAY:g} degrees")
        plane = torch.cat(flat).mean(0)
        mean = torch.cat([plane, _depth(plane[None])[:, None]], 1)
        mean[rigid, 2] = canonical[:, 2] - canonical[:, 2].mean() + mean[rigid, 2].mean()
    size = torch.cat(scales).median()
    mean, flat = mean * size, [values * size for values in flat if len(values)]
    noise_left, expressions = _directions([values - values.mean(0) for values in flat], EXPRESSIONS)
    _, identities = _directions([(values.mean(0) - mean[:, :2])[None] for values in flat], IDENTITIES)
    template = HeadTemplate(kind="linear", distance=distance)
    template.set_shape(mean - mean.mean(0), expressions, identities, max(noise_left, 1e-3 * float(_height(mean))))
    return template


def _whole(clip: SeenFace) -> Tensor | None:
    """The frames (n, 68, 2) of a clip that show all of a face."""
    if not clip.points[clip.seen].isfinite().all():
        raise NoHead("the face points are not finite (NaN or infinity)")
    rows = clip.seen.sum(1) >= max(FEWEST, LANDMARKS)
    return clip.points[rows].double() if rows.any() else None


def _frontal(points: Tensor, rotation: Tensor, scale: Tensor, place: Tensor, depth: Tensor) -> Tensor:
    """Where points (T, 68, 2) are on the face (T, 68, 2), seen from the front, if they have this depth (68,)."""
    seen = (points - place[:, None]) / scale[:, None, None]
    seen = seen - depth[..., None] * rotation[:, None, :2, 2]
    return torch.linalg.solve(rotation[:, :2, :2], seen.mT).mT


def _depth(plane: Tensor) -> Tensor:
    """Depth (68,) of points (n, 68, 2) on the canonical face, away from the camera."""
    wide, high, level, behind, out = _EGG
    x, y = plane.mean(0).unbind(-1)
    round_ = (1 - (x / wide).square() - ((-y - level) / high).square()).clamp(min=0).sqrt()
    depth = -(behind + out * round_)
    depth[list(RIGID)] = -torch.from_numpy(CANONICAL)[:, 2]
    # The lids lie between the corners of their eye; wings of the nose beside its base.
    for start in (36, 42):
        depth[start : start + 6] = depth[[start, start + 3]].mean()
        depth[[start, start + 3]] = -torch.from_numpy(CANONICAL)[[RIGID.index(start), RIGID.index(start + 3)], 2]
    depth[32] = depth[[31, 33]].mean()
    depth[34] = depth[[33, 35]].mean()
    return depth


def _directions(samples: Sequence[Tensor], most: int) -> tuple[float, Tensor]:
    """What is left on average, and principal directions (n, 68, 3) of samples (m, 68, 2), as long as the spread."""
    rows = torch.cat(list(samples)).flatten(1)
    _, sizes, directions = torch.linalg.svd(rows, full_matrices=False)
    spread = sizes / max(len(rows), 1) ** 0.5
    number = int((spread[:most] > max(_KNOWN * float(spread[0]), 1e-9)).sum())
    left = float(spread[number:].square().sum() / LANDMARKS) ** 0.5
    plane = (spread[:number, None] * directions[:number]).unflatten(1, (LANDMARKS, 2))
    return left, torch.cat([plane, torch.zeros_like(plane[..., :1])], -1)


def _height(mean: Tensor) -> Tensor:
    return mean[:, 1].max() - mean[:, 1].min()
