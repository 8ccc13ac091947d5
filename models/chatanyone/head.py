"""The head template: expression coefficients and a 6-d pose to key points in space (CA-1)."""

from typing import Final, Literal

import torch
from torch import Tensor, nn

from models.human.keypoints import FACE, JAW, LEFT_BROW, LEFT_EYE_RIM, LIPS, POINTS, RIGHT_BROW, RIGHT_EYE_RIM
from models.human.rotations import axis_angle_to_matrix
from models.saved import SavedNetwork
from settings.ranges import Positive

LANDMARKS: Final = FACE.stop - FACE.start
"""Face points of the 134 layout (iBUG-68)."""
EXPRESSIONS: Final = 16
"""Numbers E of an expression, of every template: the table of clip keys holds so many."""
IDENTITIES: Final = 8
"""Numbers I that tell whose face it is, likewise."""
POSE: Final = 6
INDICES: Final = tuple(
    point for part in (JAW, RIGHT_BROW, LEFT_BROW, RIGHT_EYE_RIM, LEFT_EYE_RIM, LIPS) for point in range(POINTS)[part]
)
"""Contour, brows, eyes and mouth among the 134 key points; the nose helps to find the pose and is no control point."""

Kind = Literal["linear", "smplx"]


class HeadTemplate(nn.Module, SavedNetwork, library_name="cospeech", tags=["chatanyone.head"], license="other"):
    """A face that is linear in its coefficients, turned and put into the picture (CA-1).

    In heights of the frame, all axes alike: x to the right from the frame's left edge, y down from its upper edge, z
    away from the camera, measured from the middle of the head. A pose is a rotation (axis-angle, radians) and a
    translation (x, y, z): x and y say where the middle of the head is seen; z moves it away from its usual distance, so
    that it is seen `distance` / (`distance` + z) as large. All of a head has one scale (weak perspective).

    Coefficients are in units of their usual spread. What identity 0 means is the mean of everybody.

    Args:
        kind: what it was made from: "linear", face points of clips, or "smplx", the head of that body model.
        distance: usual distance of a head from the camera, in heights of the frame.

    Raises:
        ValueError: an unknown kind.
    """

    mean: Tensor
    expressions: Tensor
    identities: Tensor
    noise: Tensor
    made: Tensor

    def __init__(self, *, kind: Kind = "linear", distance: Positive = 2.0):
        super().__init__()
        if kind not in ("linear", "smplx"):
            raise ValueError(f"kind has to be 'linear' or 'smplx', got '{kind}'")
        self.kind, self.distance = kind, distance
        self.indices = INDICES
        self.register_buffer("mean", torch.zeros(LANDMARKS, 3))
        self.register_buffer("expressions", torch.zeros(EXPRESSIONS, LANDMARKS, 3))
        self.register_buffer("identities", torch.zeros(IDENTITIES, LANDMARKS, 3))
        self.register_buffer("noise", torch.ones(()))
        self.register_buffer("made", torch.zeros((), dtype=torch.uint8))
        self._rows = [point - FACE.start for point in INDICES]

    def set_shape(self, mean: Tensor, expressions: Tensor, identities: Tensor, noise: float) -> None:
        """Take what it is made of.

        Args:
            mean: (68, 3) the resting face of the mean person, its middle at 0, as large as heads usually are.
            expressions: (E, 68, 3) how far each coefficient's usual spread moves the points, E at most 16.
            identities: (I, 68, 3) likewise of people, I at most 8.
            noise: usual distance of found points from what the coefficients can say, heights of the frame.

        Raises:
            ValueError: more directions than there is room for, or numbers that are not finite.
        """
        for name, value, most in (("expressions", expressions, EXPRESSIONS), ("identities", identities, IDENTITIES)):
            if len(value) > most:
                raise ValueError(f"a head template has room for {most} {name}, got {len(value)}")
        if not all(value.isfinite().all() for value in (mean, expressions, identities)):
            raise ValueError("a head template's shape has to be finite, got NaN or infinity")
        self.mean.copy_(mean)
        self.expressions.zero_()[: len(expressions)] = expressions.to(self.expressions)
        self.identities.zero_()[: len(identities)] = identities.to(self.identities)
        self.noise.fill_(max(float(noise), 1e-4))
        self.made.fill_(1)

    @property
    def points(self) -> int:
        """Number K of control points."""
        return len(self.indices)

    def forward(self, expression: Tensor, pose: Tensor, identity: Tensor | None = None) -> Tensor:
        """The control points.

        Args:
            expression: (..., E) coefficients.
            pose: (..., 6) rotation and translation.
            identity: (..., I) whose face; the mean person's where None.

        Returns:
            (..., K, 3) heights of the frame; `indices` says which of the 134 key points these are.

        Raises:
            ValueError: another number of coefficients, or a template that was never made.
        """
        return self.landmarks(expression, pose, identity)[..., self._rows, :]

    def landmarks(self, expression: Tensor, pose: Tensor, identity: Tensor | None = None) -> Tensor:
        """All 68 face points (..., 68, 3), those of the nose among them; arguments as `forward`."""
        for name, value, size in (("expression", expression, EXPRESSIONS), ("pose", pose, POSE)):
            if value.shape[-1] != size:
                raise ValueError(f"{name} has to be (..., {size}), got {tuple(value.shape)}")
        if identity is not None and identity.shape[-1] != IDENTITIES:
            raise ValueError(f"identity has to be (..., {IDENTITIES}), got {tuple(identity.shape)}")
        if not self.made:
            raise ValueError("this head template is empty: make one with `python -m preprocessing.head`")
        shape = self.shape(expression, identity)
        turned = shape @ axis_angle_to_matrix(pose[..., :3]).to(shape).mT
        scale = self.scale(pose)[..., None, None]
        place = torch.cat([pose[..., 3:5], torch.zeros_like(pose[..., :1])], -1)
        return scale * turned + place[..., None, :]

    def shape(self, expression: Tensor, identity: Tensor | None = None) -> Tensor:
        """The face before it is turned, (..., 68, 3)."""
        shape = self.mean + torch.einsum("...e,ekd->...kd", expression, self.expressions.to(expression))
        return shape if identity is None else shape + torch.einsum("...i,ikd->...kd", identity, self.identities)

    def scale(self, pose: Tensor) -> Tensor:
        """How large the head of a pose (..., 6) is seen, (...), beside its usual size."""
        return self.distance / (self.distance + pose[..., 5]).clamp(min=1e-3)
