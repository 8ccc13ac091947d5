"""Bodies that move as people do, and the key points a perfect or a noisy detector would give of them."""

from dataclasses import dataclass

import numpy as np
import torch

from models.human.body import JOINTS as NAMES
from models.human.body_model import BodyModel
from models.human.keypoints import POINTS

WIDTH, HEIGHT, FOCAL = 720, 960, 1.4
# Where joints rest and how far they swing, in radians about x, y, z; a right joint mirrors its left one.
SWINGS = {
    "hip": ((-0.1, 0.0, 0.05), (0.25, 0.08, 0.06)),
    "knee": ((0.35, 0.0, 0.0), (0.3, 0.0, 0.0)),
    "ankle": ((-0.1, 0.0, 0.0), (0.1, 0.05, 0.0)),
    "spine1": ((0.05, 0.0, 0.0), (0.06, 0.08, 0.04)),
    "spine2": ((0.0, 0.0, 0.0), (0.05, 0.08, 0.04)),
    "spine3": ((0.0, 0.0, 0.0), (0.05, 0.08, 0.04)),
    "neck": ((0.0, 0.0, 0.0), (0.1, 0.15, 0.08)),
    "head": ((0.05, 0.0, 0.0), (0.1, 0.2, 0.1)),
    "shoulder": ((0.2, -0.35, -1.0), (0.3, 0.35, 0.35)),
    "elbow": ((0.0, -1.1, 0.0), (0.3, 0.7, 0.0)),
    "wrist": ((0.0, 0.0, -0.1), (0.15, 0.2, 0.3)),
}


@dataclass(frozen=True)
class KnownClip:
    """T frames: `keypoints` (T, 134, 2) fractions, `scores` (T, 134), `joints` (T, 55, 3), `turns` (T, 55, 3)."""

    keypoints: np.ndarray
    scores: np.ndarray
    joints: np.ndarray
    turns: np.ndarray


def known_clip(
    model: BodyModel,
    frames: int = 50,
    seed: int = 0,
    yaw: float = 0.0,
    turning: float = 0.0,
    noise: float = 0.0,
    missing: float = 0.0,
    half: bool = False,
    fps: float = 25.0,
) -> KnownClip:
    """A person about 3.5 m before the camera.

    Args:
        model: the body.
        frames: how many.
        seed: of everything.
        yaw: radians that the person is turned away from the camera in the middle of the clip.
        turning: radians that they turn during the clip.
        noise: standard deviation of the key points, as a share of the body's height in the picture.
        missing: share of the body and hand points that no detector found.
        half: the picture ends at the hips.
        fps: frames a second.
    """
    random = np.random.default_rng(seed)
    time = np.arange(frames) / fps

    def curve(size: int) -> np.ndarray:
        """(T, size) slow swings of deviation 1 / sqrt(2)."""
        rate, phase = random.uniform(0.2, 0.8, (2, size)), random.uniform(0, 2 * np.pi, (2, size))
        return sum(np.sin(2 * np.pi * r * time[:, None] + p) for r, p in zip(rate, phase)) / np.sqrt(2)

    turns = np.zeros((frames, 55, 3))
    for place, joint in enumerate(NAMES):
        side, _, name = joint.rpartition("_")
        if name in SWINGS:
            mean, swing = (np.array(part) for part in SWINGS[name])
            flip = np.array([1, -1, -1]) if side == "right" else np.ones(3)
            turns[:, place] = flip * (mean + swing * curve(3))
    for hinge, axis, sign in ((4, 0, 1), (5, 0, 1), (18, 1, -1), (19, 1, 1)):
        turns[:, hinge, axis] = sign * np.abs(turns[:, hinge, axis])
    turns[:, 22, 0] = 0.12 * (1 + curve(1)[:, 0])
    for first, sign in ((25, -1), (40, 1)):
        turns[:, first : first + 12, 2] = sign * (0.45 + 0.25 * curve(12))
        turns[:, first + 12 : first + 15] = 0.1 * curve(9).reshape(-1, 3, 3)
    facing = yaw + turning * (np.linspace(-0.5, 0.5, frames) if frames > 1 else 0) + 0.1 * curve(1)[:, 0]
    turns[:, 0] = np.stack([np.zeros(frames), facing, np.zeros(frames)], 1)
    betas = 0.7 * random.normal(size=model.betas)
    expression = 0.5 * curve(model.expressions)
    expression[:, 5:] = 0
    distance = 1.9 if half else 3.5
    centre = model.joints[0].numpy() + (0, 0.35 if half else -0.05, 0)
    transl = np.array([0, 0, -distance]) - centre + 0.08 * curve(3)
    tensors = (torch.from_numpy(value.astype(np.float32)) for value in (turns, betas, expression, transl))
    joints, points = (value.double().numpy() for value in model(*tensors))
    depth = -points[..., 2]
    x = 0.5 + FOCAL * points[..., 0] / depth
    y = 0.5 - FOCAL * (WIDTH / HEIGHT) * points[..., 1] / depth
    size = FOCAL * model.height / distance
    shake = noise * size / np.sqrt(2) * random.normal(size=(2, frames, POINTS))
    keypoints = np.stack([x + shake[0], y + shake[1] * WIDTH / HEIGHT], -1)
    scores = np.where(model.known.numpy(), np.ones((frames, POINTS)), 0)
    found = random.random((frames, POINTS)) >= missing
    found[:, 24:92] = True
    scores = scores * found * (((keypoints >= 0) & (keypoints <= 1)).all(-1))
    keypoints[scores == 0] = -1
    return KnownClip(keypoints.astype(np.float32), scores.astype(np.float32), joints, turns)


def aligned_error(found, true):
    """Mean distance in metres after the best turn, shift and size for every frame (Procrustes)."""
    errors = []
    for a, b in zip(found, true):
        a, b = a - a.mean(0), b - b.mean(0)
        left, values, right = np.linalg.svd(a.T @ b)
        sign = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
        scale = (values * np.diag(sign)).sum() / (a**2).sum()
        errors.append(np.linalg.norm(scale * a @ left @ sign @ right - b, axis=-1).mean())
    return float(np.mean(errors))
