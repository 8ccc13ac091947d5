"""People who walk, turn, bow and wave, made up from sines: motion whose truth is known."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from models.human.body import forward_kinematics


def parameters(seconds: float = 6.0, fps: float = 20.0, seed: int = 0, turns: float = 1.0) -> dict[str, np.ndarray]:
    """SMPL-X parameters in float64: `global_orient` (T, 3), `body_pose` (T, 63), `transl` (T, 3), y up.

    The person walks a curve of `turns` turns, sways, bows twice and swings all joints, everyone at a rate of its own.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * fps)) / fps
    fine = np.arange(round(seconds * 1000) + 1) / 1000

    def heading(time: np.ndarray) -> np.ndarray:
        return 0.7 + 2 * np.pi * turns * time / seconds + 0.3 * np.sin(1.1 * time)

    yaw = heading(time)
    bow = 0.6 * np.maximum(0, np.sin(2 * np.pi * time / seconds * 2)) ** 2
    sway = 0.15 * np.sin(2.3 * time + 1)
    orient = Rotation.from_euler("YXZ", np.stack([yaw, bow, sway], 1)).as_rotvec()
    size = rng.uniform(0.05, 0.5, (21, 3))
    rate, phase = rng.uniform(1, 7, (21, 3)), rng.uniform(0, 6, (21, 3))
    pose = size * np.sin(rate * time[:, None, None] + phase)
    way = [np.interp(time, fine, np.cumsum(0.9 * along(heading(fine))) / 1000) for along in (np.sin, np.cos)]
    place = np.stack([2.0 + way[0], 0.9 + 0.03 * np.sin(9 * time), way[1] - 3.0], 1)
    return {"global_orient": orient, "body_pose": pose.reshape(len(time), 63), "transl": place}


def pose(
    seconds: float = 6.0, fps: float = 20.0, seed: int = 0, turns: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints (T, 22, 3) and rotations (T, 22, 3, 3) of the stated skeleton under `parameters`, float64."""
    values = parameters(seconds, fps, seed, turns)
    turned = np.concatenate([values["global_orient"], values["body_pose"]], 1).reshape(-1, 3)
    rotations = torch.from_numpy(Rotation.from_rotvec(turned).as_matrix().reshape(-1, 22, 3, 3))
    return forward_kinematics(rotations, torch.from_numpy(values["transl"])), rotations
