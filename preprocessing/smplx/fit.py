"""SMPL-X parameters of a clip from its 2D key points: all frames at once, in stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.human.body_model import BODY_JOINTS, JAW, LEFT_FINGERS, RIGHT_FINGERS, BodyModel
from models.human.keypoints import FACE, FEET, LEFT_HAND, RIGHT_HAND
from models.human.keypoints import JAW as JAW_LINE
from models.human.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from preprocessing.smplx import priors
from preprocessing.smplx.camera import Camera
from preprocessing.smplx.energy import Energy, Variables
from preprocessing.smplx.limbs import bend_limbs
from preprocessing.smplx.placement import place
from preprocessing.smplx.solver import minimise, one_thread

FAR: Final = 2.0
"""Points further outside than this many frames are taken for errors of the detector, and as missing."""
NOTHING_SEEN: Final = 1.0
"""Error of a frame in which there is nothing to fit."""
# Body with feet, hands, and the face without the jaw line, which slides along it.
_PARTS: Final = (slice(0, FEET.stop), LEFT_HAND, RIGHT_HAND, slice(JAW_LINE.stop, FACE.stop))


@dataclass(frozen=True)
class Stage:
    """A stage of the optimisation.

    Args:
        free: names of the variables that move.
        width: error from which on a point counts as wrong, in hundredths of the body's height.
        iterations: at most.
        detailed: with fingers, jaw and expression.
    """

    free: tuple[str, ...]
    width: float
    iterations: int
    detailed: bool = False


STAGES: Final = (
    Stage(("turn", "place", "betas"), 20, 15),
    Stage(("turn", "place", "betas", "body"), 20, 50),
    Stage(("turn", "place", "betas", "body"), 5, 30),
    Stage(("turn", "place", "betas", "body", "hands", "jaw", "expression"), 4, 60, True),
)
"""After the placement: trunk, body, body again with outliers left out, then all with hands and face."""


@dataclass(frozen=True)
class Fit:
    """A fitted clip.

    Attributes:
        arrays: what `smplx.npz` holds.
        joints: (T, 55, 3) metres, in the camera's world.
        points: (T, 134, 2) key points of the body in fractions of the frame.
    """

    arrays: dict[str, np.ndarray]
    joints: np.ndarray
    points: np.ndarray


def fit(
    model: BodyModel,
    keypoints: np.ndarray,
    scores: np.ndarray,
    width: int,
    height: int,
    fps: float,
    focal: float | None = None,
    minimum_score: float = 0.3,
    effort: float = 1.0,
) -> Fit:
    """Fit a body to a clip.

    The camera looks level, from the origin along -z; so a person who faces it faces +z, and up is +y. The error of a
    frame is the mean distance of the seen points in the picture over the height of the fitted body in the picture;
    body with feet, either hand and the face count alike.

    Args:
        model: the body.
        keypoints: (T, 134, 2) fractions of the frame.
        scores: (T, 134) in [0, 1].
        width: of the frame in pixels.
        height: of the frame in pixels.
        fps: frames a second.
        focal: focal length in fractions of the frame's width; none takes the frame's diagonal.
        minimum_score: points with a lower score are taken as missing.
        effort: of the stages' iterations, the share that is made.
    """
    with one_thread():
        camera = Camera.of(width, height, focal)
        target = torch.from_numpy(keypoints.astype(np.float32)) * torch.tensor([1, height / width])
        weight = torch.from_numpy(scores.astype(np.float32))
        off = (torch.from_numpy(keypoints.astype(np.float32)) - 0.5).abs().amax(-1) > 0.5 + FAR
        weight = torch.where((weight < minimum_score) | off, 0, weight)
        energy = _energy(model, camera, target, weight, fps)
        variables = Variables.zeros(len(target), model.betas, model.expressions)
        mean, deviation = energy.body_mean, energy.body_deviation
        bent = bend_limbs(model.joints, camera, energy.start, target, energy.weight, mean, deviation)
        variables.body = (bent - mean) / deviation
        for stage in STAGES:
            minimise(
                lambda stage=stage: energy(variables, stage.width, stage.detailed),  # type: ignore[misc]
                variables.free(stage.free),
                max(1, round(effort * stage.iterations)),
            )
        variables.free(())
        return _result(energy, variables, weight)


def _energy(model: BodyModel, camera: Camera, target: Tensor, weight: Tensor, fps: float) -> Energy:
    """The energy about the best placement of a resting body."""
    rotations = torch.zeros(1, 55, 3)
    rotations[0, BODY_JOINTS] = priors.body_prior()[0].unflatten(0, (21, 3))
    joints, points = model(rotations, torch.zeros(model.betas))
    start = place(points[0] - joints[0, 0], model.height, camera, target, weight * model.known)
    return Energy(model, camera, start, target, weight, fps)


def _result(energy: Energy, variables: Variables, weight: Tensor) -> Fit:
    model, pose = energy.model, energy.pose(variables)
    joints, points = energy.place(pose)
    root = model.joints[0] + model.joint_shapes[0, :, : len(pose.betas)] @ pose.betas
    chosen = slice(model.betas, model.betas + pose.expression.shape[1])
    root = root + pose.expression @ model.joint_shapes[0, :, chosen].mT
    # From an angle to itself by way of the matrix, so that every axis-angle vector is the shortest one.
    rotations = matrix_to_axis_angle(axis_angle_to_matrix(pose.rotations)).flatten(1)
    xy = energy.camera.project(points)
    far = (xy - energy.target).norm(dim=-1)
    size = energy.camera.focal * model.height / -pose.pelvis[:, 2]
    error = _error((far / size[:, None]).numpy(), (weight * model.known).numpy() > 0)

    def part(joints: slice) -> np.ndarray:
        return rotations[:, 3 * joints.start : 3 * joints.stop].numpy()

    arrays = {
        "global_orient": matrix_to_axis_angle(pose.orient).numpy(),
        "body_pose": part(BODY_JOINTS),
        "left_hand_pose": part(LEFT_FINGERS),
        "right_hand_pose": part(RIGHT_FINGERS),
        "jaw_pose": part(slice(JAW, JAW + 1)),
        "expression": pose.expression.numpy(),
        "transl": (pose.pelvis - root).numpy(),
        "betas": pose.betas.numpy(),
        "camera": energy.camera.array(),
        "error": error,
    }
    arrays = {name: np.array(value, np.float32) for name, value in arrays.items()}
    aspect = energy.camera.down / energy.camera.across
    fractions = (xy / torch.tensor([1, aspect])).numpy()
    return Fit(arrays, joints.numpy(), fractions)


def _error(far: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """(T,) mean over the parts that are seen of the mean distance of their seen points."""
    sums = np.stack([np.where(visible[:, part], far[:, part], 0).sum(1) for part in _PARTS])
    counts = np.stack([visible[:, part].sum(1) for part in _PARTS])
    there = (counts > 0).sum(0)
    mean = (sums / np.maximum(counts, 1)).sum(0) / np.maximum(there, 1)
    return np.where(there > 0, mean, NOTHING_SEEN).astype(np.float32)
