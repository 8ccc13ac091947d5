"""Heads for tests: a template with a mouth that opens, a face that is seen, and clips of both."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.chatanyone.head import EXPRESSIONS, IDENTITIES, LANDMARKS, POSE, HeadTemplate
from models.human.keypoints import FACE, INNER_LIP_BOTTOM, INNER_LIP_TOP
from preprocessing.synthetic import head
from preprocessing.synthetic.motion import still
from preprocessing.synthetic.speakers import speaker

OPEN, SMILE = 0, 1
"""Coefficients: of the mouth's opening, and of its corners' way outward."""


def face() -> Tensor:
    """(68, 3) a face of a synthetic speaker in heights of the frame, its middle at 0, z away from the camera."""
    person = speaker(0)
    parts = head.face(still(person), person.look)
    order = ("jaw", "brows", "nose", "eyes", "outer_lips", "inner_lips")
    points = torch.from_numpy(np.concatenate([parts[name][0] for name in order])).float() * head.UNIT
    points = points * torch.tensor([1.0, 1.0, -1.0])
    return points - points.mean(0)


def template() -> HeadTemplate:
    """A template with two directions of expression and one of identity."""
    mean = face()
    directions = torch.zeros(2, LANDMARKS, 3)
    top, bottom = INNER_LIP_TOP - FACE.start, INNER_LIP_BOTTOM - FACE.start
    directions[OPEN, 56:59, 1] = 0.02
    directions[OPEN, bottom - 1 : bottom + 2, 1] = 0.02
    directions[OPEN, 5:12, 1] = 0.012
    directions[OPEN, top - 1 : top + 2, 1] = -0.004
    directions[SMILE, [48, 60], 0], directions[SMILE, [54, 64], 0] = -0.01, 0.01
    person = torch.zeros(1, LANDMARKS, 3)
    person[0, :17, 0] = 0.04 * mean[:17, 0]
    output = HeadTemplate()
    output.set_shape(mean, directions, person, 0.001)
    return output


def coefficients(frames: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Expression (T, E), pose (T, 6) and identity (I,) of somebody who talks and looks about."""
    time = torch.arange(frames) / 25.0
    turn = 2 * torch.pi * time[:, None] * torch.tensor([0.7, 0.4, 0.5]) + seed
    expression = torch.zeros(frames, EXPRESSIONS)
    expression[:, OPEN] = torch.sin(2 * torch.pi * 2.0 * time + seed)
    expression[:, SMILE] = torch.sin(2 * torch.pi * 0.8 * time + 2 * seed)
    pose = torch.zeros(frames, POSE)
    pose[:, :3] = torch.sin(turn) * torch.tensor([0.1, 0.25, 0.08])
    pose[:, 3] = 0.5 + 0.02 * torch.sin(turn[:, 0])
    pose[:, 4] = 0.3 + 0.01 * torch.sin(turn[:, 1])
    pose[:, 5] = 0.1 * torch.sin(turn[:, 2])
    identity = torch.zeros(IDENTITIES)
    identity[0] = 0.8
    return expression, pose, identity


def keypoints(points: Tensor) -> dict[str, Any]:
    """pose.npz of face points (T, 68, 2) in a square frame; the body is not seen."""
    found, scores = np.full((len(points), 134, 2), -1.0), np.zeros((len(points), 134))
    found[:, FACE], scores[:, FACE] = points.numpy(), 1
    return {"keypoints": found.astype(np.float32), "scores": scores.astype(np.float32)}


def statistics() -> dict[str, Any]:
    """What an index says of `head.npz` whose template uses two coefficients."""
    std = [1.0, 1.0] + [1e-4] * (EXPRESSIONS - 2)
    return {
        "head": {"mean": [0.1] * EXPRESSIONS, "std": std, "network": "ab" * 32},
        "head_pose": {"std": [0.05, 0.1, 0.05, 0.01, 0.01, 0.05]},
    }
