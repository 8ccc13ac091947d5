"""A head template from the licensed body model: its face points, linear in expression, jaw and shape (CA-1)."""

from typing import Final

import torch
from torch import Tensor

from models.chatanyone.head import EXPRESSIONS, IDENTITIES, HeadTemplate
from models.human.body_model import JAW, JOINTS, BodyModel, BodyModelError
from models.human.keypoints import FACE

METRE: Final = 2.0
"""Heights of the frame that a metre is, where a head is at its usual distance (ours)."""
_SHAPES: Final = 8  # of the first coefficients of the body's shape, those that the table of keys has room for
_JAW: Final = ((0.15, 0.0, 0.0), (0.0, 0.05, 0.0))  # usual turns of the jaw: open, and to the side, radians
_NOISE: Final = 0.002  # heights of the frame; what a detector of face points is usually off by (ours)
_STEP: Final = 0.1


def smplx_template(body: BodyModel, distance: float = 2.0) -> HeadTemplate:
    """The head of the body model as a template.

    Expression coefficients are those of the model, and two for the jaw, whose turns are taken for straight ways (exact
    for small ones). Identity is the first of its shape coefficients, as far as they change the face and not its size.

    Args:
        body: the model, with contours.
        distance: usual distance of a head from the camera, heights of the frame.

    Raises:
        BodyModelError: a model file without the contour of the face.
    """
    if not bool(body.known[FACE].all()):
        raise BodyModelError(
            "the model file has no contour of the face (dynamic_lmk_faces_idx), which the head template needs: take "
            "SMPL-X v1.1"
        )
    with torch.no_grad():
        rest = _face(body)
        expressions = [
            _face(body, expression=_unit(number, body.expressions)) - rest
            for number in range(min(body.expressions, EXPRESSIONS - len(_JAW)))
        ]
        expressions += [(_face(body, jaw=torch.tensor(turn) * _STEP) - rest) / _STEP for turn in _JAW]
        shapes = [
            _face(body, betas=_unit(number, body.betas)) - rest
            for number in range(min(body.betas, _SHAPES, IDENTITIES))
        ]
    centre = rest.mean(0)
    mean = _seen(rest - centre)
    template = HeadTemplate(kind="smplx", distance=distance)
    template.set_shape(
        mean, _seen(torch.stack(expressions)), torch.stack([_seen(move - move.mean(0)) for move in shapes]), _NOISE
    )
    return template


def _face(
    body: BodyModel, betas: Tensor | None = None, expression: Tensor | None = None, jaw: Tensor | None = None
) -> Tensor:
    """(68, 3) metres."""
    pose = torch.zeros(1, JOINTS, 3)
    if jaw is not None:
        pose[0, JAW] = jaw
    given = None if expression is None else expression[None]
    _, points = body(pose, torch.zeros(body.betas) if betas is None else betas, given)
    return points[0, FACE]


def _unit(number: int, size: int) -> Tensor:
    return torch.eye(size)[number]


def _seen(points: Tensor) -> Tensor:
    """Metres, y up and z out of the face, in the template's own: heights of the frame, y down, z away."""
    return METRE * points * points.new_tensor([1.0, -1.0, -1.0])
