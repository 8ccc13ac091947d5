"""Body joints in space seen by a camera straight ahead, as key points of the 134 layout (VA-10)."""

from typing import Final

import torch
from torch import Tensor

from models.human.body import JOINTS
from models.human.keypoints import BODY_NAMES, FOOT_NAMES, POINTS
from models.human.motion import facing_of

_SAME: Final = {
    **{f"{side}_{name}": f"{side}_{name}" for side in ("left", "right") for name in
       ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")},
    "neck": "neck",
}  # fmt: skip
# Where points of the head lie from its joint, as shares of the distance of the shoulders: to the person's left, up,
# forward. From faces of the iBUG scheme on the stated skeleton (ours).
_HEAD: Final = {
    "nose": (0.0, 0.02, 0.30),
    "right_eye": (-0.09, 0.11, 0.24),
    "left_eye": (0.09, 0.11, 0.24),
    "right_ear": (-0.20, 0.05, 0.02),
    "left_ear": (0.20, 0.05, 0.02),
}
_TOES: Final = {"big_toe": 0.9, "small_toe": 1.0, "heel": -0.3}  # along ankle to toes


def project_joints(joints: Tensor) -> tuple[Tensor, Tensor]:
    """Key points of a body that a far camera in front of its origin sees (orthographic).

    Args:
        joints: (T, 22, 3) metres, y up; the camera looks along -z, so a person who faces +z looks at it.

    Returns:
        keypoints (T, 134, 2) metres, x to the right and y down in the picture, the origin where the world's is, and
        scores (T, 134): 1 for body and feet, 0 for face and hands, which joints do not tell.
    """
    names = (*BODY_NAMES, *FOOT_NAMES)
    at = {name: joints[:, JOINTS.index(joint)] for name, joint in _SAME.items()}
    wide = (at["left_shoulder"] - at["right_shoulder"]).norm(dim=-1, keepdim=True)
    sine, cosine = facing_of(joints, smoothing=0).unbind(-1)
    forward = torch.stack([sine, torch.zeros_like(sine), cosine], -1)
    left = torch.stack([cosine, torch.zeros_like(sine), -sine], -1)
    up = torch.nn.functional.normalize(joints[:, JOINTS.index("head")] - at["neck"], dim=-1)
    for name, (aside, above, ahead) in _HEAD.items():
        at[name] = joints[:, JOINTS.index("head")] + wide * (aside * left + above * up + ahead * forward)
    for side in ("left", "right"):
        sole = joints[:, JOINTS.index(f"{side}_foot")] - at[f"{side}_ankle"]
        for name, share in _TOES.items():
            at[f"{side}_{name}"] = at[f"{side}_ankle"] + share * sole * sole.new_tensor([1.0, 1.0, 1.0])
    points = torch.stack([at[name] for name in names], 1)
    keypoints = joints.new_full((len(joints), POINTS, 2), -1)
    keypoints[:, : len(names)] = torch.stack([points[..., 0], -points[..., 1]], -1)
    scores = joints.new_zeros(len(joints), POINTS)
    scores[:, : len(names)] = 1
    return keypoints, scores
