"""The SMPL-X body model as pose work needs it: its 55 joints and the 134 key points, without the skin in between.

The model file is licensed and comes from its makers (`WHERE`); the `smplx` package reads it. Of the 10,475 vertices
only those are kept that the key points hang on, and the three of a landmark become one with their mean weights (exact
where their weights agree, and in so small a triangle they all but do): 89 vertices at a hundredth of the work.
Conventions are SMPL-X's: metres, y up; in the rest pose the person faces +z and their left is +x.

| ours                   | SMPL-X                                                                              |
|------------------------|-------------------------------------------------------------------------------------|
| body 0:18              | joints; nose, eyes and ears are vertices; the neck is the middle of the shoulders    |
| feet 18:24             | vertices                                                                            |
| face 24:92, jaw line   | the contour landmarks of a head seen from the front, where the file has contours     |
| face 24:92, the others | the 51 landmarks, which have the same order                                         |
| hands 92:134           | wrist and finger joints; the tips are vertices                                      |
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from models.human.chain import KinematicChain
from models.human.keypoints import FACE
from models.human.rotations import axis_angle_to_matrix

WHERE: Final = "https://smpl-x.is.tue.mpg.de"
JOINTS: Final = 55
BODY_JOINTS: Final = slice(1, 22)
JAW: Final = 22
LEFT_FINGERS: Final = slice(25, 40)
RIGHT_FINGERS: Final = slice(40, 55)
NEEDED: Final = (
    "v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "hands_componentsl",
    "hands_componentsr", "hands_meanl", "hands_meanr", "lmk_faces_idx", "lmk_bary_coords",
)  # fmt: skip
"""Arrays that a model file has to have."""

_NAMES: Final = ("SMPLX_NEUTRAL.npz", "smplx/SMPLX_NEUTRAL.npz", "models/smplx/SMPLX_NEUTRAL.npz")
# The package's joints 55 to 75: nose, right eye, left eye, right ear, left ear; left big toe, small toe, heel, right
# ones; left thumb, index, middle, ring, little tips, right ones.
_BODY: Final = (55, -1, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, 56, 57, 58, 59)
_FEET: Final = tuple(range(60, 66))
_LEFT: Final = (20, 37, 38, 39, 66, 25, 26, 27, 67, 28, 29, 30, 68, 34, 35, 36, 69, 31, 32, 33, 70)
_RIGHT: Final = (21, 52, 53, 54, 71, 40, 41, 42, 72, 43, 44, 45, 73, 49, 50, 51, 74, 46, 47, 48, 75)
_SHOULDERS: Final = (16, 17)
_LANDMARKS: Final = 76  # the package's joints before its landmarks


class BodyModelError(ValueError):
    """A model file that cannot be used; the message says what is wrong and where to get one."""


class BodyModel(nn.Module):
    """Joints and key points of SMPL-X.

    Attributes:
        joints: (55, 3) in the rest pose, of the mean shape.
        height: metres from the lowest to the highest vertex of the mean shape.
        hand_means: (2, 45) axis-angle of the relaxed left and right hand.
        known: (134,) bool, key points that the file can place; all but the jaw line without contours.
        betas, expressions: how many coefficients there are.

    Args:
        model: a `smplx.SMPLX`, its hands neither PCA coefficients nor relative to a mean.
        hand_means: (2, 45).
    """

    joints: Tensor
    joint_shapes: Tensor
    vertices: Tensor
    vertex_shapes: Tensor
    vertex_poses: Tensor
    weights: Tensor
    hand_means: Tensor
    sources: Tensor

    def __init__(self, model: Any, hand_means: Tensor) -> None:
        super().__init__()
        template, faces = model.v_template, model.faces_tensor
        marks = [(faces[model.lmk_faces_idx], model.lmk_bary_coords)]
        if model.use_face_contour:
            marks.insert(0, (faces[model.dynamic_lmk_faces_idx[0]], model.dynamic_lmk_bary_coords[0]))
        triangles, shares = (torch.cat(parts)[..., None] for parts in zip(*marks, strict=True))
        extra = model.vertex_joint_selector.extra_joints_idxs

        def kept(values: Tensor) -> Tensor:
            """Rows of the kept vertices, (V, N) -> (U, N): the package's own, then the landmarks."""
            return torch.cat([values[extra], (values[triangles[..., 0]] * shares).sum(1)])

        self.betas, self.expressions = model.shapedirs.shape[-1], model.expr_dirs.shape[-1]
        self.height = float(template[:, 1].max() - template[:, 1].min())
        self.chain = KinematicChain([-1, *model.parents[1:].tolist()])
        directions = torch.cat([model.shapedirs, model.expr_dirs], -1)  # (V, 3, K + E)
        posed = kept(model.posedirs.T.reshape(len(template), -1)).unflatten(1, (3, -1))  # (U, 3, P)
        self.has_correctives = bool(posed.any())
        for name, value in {
            "joints": model.J_regressor @ template,
            "joint_shapes": torch.einsum("jv,vdk->jdk", model.J_regressor, directions),
            "vertices": kept(template),
            "vertex_shapes": kept(directions.flatten(1)).unflatten(1, (3, -1)),
            "vertex_poses": posed.permute(2, 0, 1).flatten(1),
            "weights": kept(model.lbs_weights),
            "hand_means": hand_means,
        }.items():
            self.register_buffer(name, value.detach().clone().float())
        sources, self.known = _sources(len(triangles))
        self.register_buffer("sources", sources)

    def forward(
        self,
        pose: Tensor,
        betas: Tensor,
        expression: Tensor | None = None,
        transl: Tensor | None = None,
        base: Tensor | None = None,
        correctives: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Joints and key points of T poses of one person.

        Args:
            pose: (T, 55, 3) axis-angle relative to the parent: whole body, 21 body joints, jaw, left eye, right eye,
                15 joints of the left hand, 15 of the right.
            betas: (K,) shape, K at most `betas`.
            expression: (T, E), E at most `expressions`; none is the resting face.
            transl: (T, 3) metres; none is 0.
            base: (T, 3, 3) rotation of the whole body before that of `pose`; none is the identity, it gets no gradient.
            correctives: with the changes of shape that come with bent joints, millimetres at the key points.

        Returns:
            joints (T, 55, 3) and key points (T, 134, 3), metres; key points that are not `known` are 0.
        """
        frames, eye = len(pose), torch.eye(3, dtype=pose.dtype, device=pose.device)
        rest = self.joints + self.joint_shapes[..., : len(betas)] @ betas
        skin = self.vertices + self.vertex_shapes[..., : len(betas)] @ betas
        rest, skin = rest.expand(frames, -1, -1), skin.expand(frames, -1, -1)
        if expression is not None:
            chosen = slice(self.betas, self.betas + expression.shape[1])
            rest = rest + (expression @ self.joint_shapes[..., chosen].flatten(0, 1).T).view_as(rest)
            skin = skin + (expression @ self.vertex_shapes[..., chosen].flatten(0, 1).T).view_as(skin)
        if correctives and self.has_correctives:
            bent = axis_angle_to_matrix(pose[:, 1:]) - eye
            skin = skin + (bent.flatten(1) @ self.vertex_poses).view_as(skin)
        turned, joints = self.chain(pose, rest, eye.expand(frames, 3, 3) if base is None else base)
        # Linear blend skinning: every vertex goes with the weighted mean of its joints' motions.
        # Joints and vertices last: sums over a last axis of three take many times as long.
        planes, centres = turned.permute(0, 2, 3, 1).contiguous(), rest.mT
        moved = joints.mT - (planes * centres[:, None]).sum(2)
        turn, shift = (torch.cat([planes.flatten(1, 2), moved], 1) @ self.weights.T).split([9, 3], 1)
        skin = ((turn.unflatten(1, (3, 3)) * skin.mT[:, None]).sum(2) + shift).mT
        neck = (joints[:, _SHOULDERS[:1]] + joints[:, _SHOULDERS[1:]]) / 2
        points = torch.cat([joints, skin, neck, torch.zeros_like(neck)], 1).index_select(1, self.sources)
        if transl is not None:
            joints, points = joints + transl[:, None], points + transl[:, None]
        return joints, points


def load_body_model(path: str | Path, betas: int = 10, expressions: int = 10) -> BodyModel:
    """Read a model file with the `smplx` package.

    Args:
        path: SMPLX_NEUTRAL.npz, or a folder that holds it (also as smplx/SMPLX_NEUTRAL.npz). The package reads it with
            pickle: take it from its makers only.
        betas: shape coefficients to keep.
        expressions: expression coefficients to keep.

    Raises:
        BodyModelError: no such file, not an SMPL-X model, or the package is not installed.
    """
    file = _find(Path(path).expanduser())
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = set(archive.files)
            means = [np.asarray(archive[name], np.float32) for name in ("hands_meanl", "hands_meanr") if name in names]
    except Exception as error:  # zipfile, zlib and numpy each raise kinds of their own for damaged files
        raise BodyModelError(f"{file} cannot be read as npz ({type(error).__name__}); {_advice()}") from None
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise BodyModelError(f"{file} is no SMPL-X model: {', '.join(missing)} is missing; {_advice()}")
    try:
        import smplx
    except ImportError:
        raise BodyModelError("the package smplx is not installed: pip install smplx==0.1.28") from None
    try:
        # The package prints a warning about files with few coefficients.
        with contextlib.redirect_stdout(io.StringIO()):
            model = smplx.SMPLX(
                str(file),
                use_pca=False,
                flat_hand_mean=True,
                num_betas=betas,
                num_expression_coeffs=expressions,
                use_face_contour="dynamic_lmk_faces_idx" in names,
            )
        return BodyModel(model, torch.from_numpy(np.stack(means)))
    except (ValueError, IndexError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise BodyModelError(
            f"{file} is no SMPL-X model that smplx 0.1.28 takes ({type(error).__name__}: {error}); {_advice()}"
        ) from None


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        for name in _NAMES:
            if (path / name).is_file():
                return path / name
        raise BodyModelError(f"{path} holds no {_NAMES[0]}; {_advice()}")
    raise BodyModelError(f"there is no {path}; {_advice()}")


def _advice() -> str:
    return f"get SMPLX_NEUTRAL.npz (SMPL-X v1.1, free for research after registration) at {WHERE}"


def _sources(marks: int) -> tuple[Tensor, Tensor]:
    """For every key point its place among joints, kept vertices, neck and nothing; and which there are, (134,) bool."""
    neck = _LANDMARKS + marks
    unknown = neck + 1
    face = list(range(_LANDMARKS, _LANDMARKS + marks))
    sources = [neck if source < 0 else source for source in (*_BODY, *_FEET)]
    sources += [unknown] * (FACE.stop - FACE.start - marks) + face + [*_LEFT, *_RIGHT]
    return torch.tensor(sources), torch.tensor([source != unknown for source in sources])
