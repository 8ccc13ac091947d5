"""Body motion as one vector a frame: the 263 numbers of HumanML3D at 20 fps (VA-1).

The layout is that of Guo et al., "Generating Diverse and Natural 3D Human Motions from Text" (CVPR 2022) and of the
released data. With y up, "the facing frame" is the world turned about y so that the person faces +z:

| part | numbers | of frame t |
|---|---|---|
| `root_yaw_velocity` | 1 | half of the angle about y from the facing of t + 1 back to that of t, radians |
| `root_xz_velocity` | 2 | the pelvis' way from t to t + 1 along x and z, metres, in the facing frame of t + 1 |
| `root_height` | 1 | y of the pelvis, metres above the floor |
| `positions` | 21 x 3 | the other joints: x and z from the pelvis, y from the floor, metres, in the facing frame of t |
| `rotations` | 21 x 6 | the other joints' rotations relative to their parents, first two columns (VA-2) |
| `velocities` | 22 x 3 | every joint's way from t to t + 1, metres, in the facing frame of t |
| `contacts` | 4 | left ankle, left foot, right ankle, right foot: 1 where it moves by less than sqrt(0.002) m |

Half of the angle, and the sign, come from the quaternion that HumanML3D stores; T joints give T - 1 vectors. Facing is
across the hips plus across the shoulders, turned by a right angle and smoothed by a Gaussian of 20 frames as there
(they take the hips with the other sign, which turns a facing by little; `recover_joints` does not depend on it).

**Rotations.** In HumanML3D's files these are of an inverse kinematics of its own, where the rotation of a joint turns
the bone that ends there. Here they are SMPL's: the rotation of a joint turns what hangs below it, so the 21 rotations
are SMPL-X's `body_pose`. The pelvis' own rotation is not in the vector, but its turn about y is that of the facing
frame, and its tilt follows from the rest: posing the skeleton by the 21 rotations alone gives the joints in the pelvis'
frame, and the rotation that brings them onto `positions` (Kabsch, over all joints) is the pelvis'. That loses nothing
when the joints are of the same skeleton (`offsets`), and is the best fit otherwise. Where only joints are known,
`inverse_kinematics.rotations_of` gives rotations.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.human.body import JOINTS, forward_kinematics
from models.human.resampling import resample_joints, resample_rotations, smooth
from models.human.rotations import (
    arrays_too,
    axis_angle_to_matrix,
    best_rotation,
    matrix_from_6d,
    matrix_to_6d,
    matrix_to_axis_angle,
)

__all__ = [
    "FPS",
    "PARTS",
    "SIZE",
    "from_smplx",
    "pose_of",
    "put_on_floor",
    "recover_joints",
    "recover_rotations",
    "resample_joints",
    "resample_rotations",
    "to_motion",
    "to_smplx",
]

FPS: Final = 20
SIZE: Final = 263
PARTS: Final = {
    "root_yaw_velocity": slice(0, 1),
    "root_xz_velocity": slice(1, 3),
    "root_height": slice(3, 4),
    "positions": slice(4, 67),
    "rotations": slice(67, 193),
    "velocities": slice(193, 259),
    "contacts": slice(259, 263),
}
FACING_SMOOTHING: Final = 20.0  # frames, of HumanML3D
CONTACT: Final = 0.002  # square metres a frame, of HumanML3D
_FEET: Final = [JOINTS.index(name) for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]
_ACROSS: Final = [JOINTS.index(name) for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder")]


@arrays_too
def to_motion(joints: Tensor, rotations: Tensor, smoothing: float = FACING_SMOOTHING) -> Tensor:
    """Motion vectors of a pose sequence (VA-1).

    Where the person stands and which way it faces at first makes no difference. The height does: the floor is y = 0
    (`put_on_floor`).

    Args:
        joints: (..., T, 22, 3) metres at 20 fps, T at least 2.
        rotations: (..., T, 22, 3, 3) relative to the parent; the pelvis' is not used.
        smoothing: deviation of the Gaussian over facings, in frames; 0 for none.

    Returns:
        (..., T - 1, 263).
    """
    if joints.shape[-2:] != (22, 3) or rotations.shape[-3:] != (22, 3, 3) or joints.shape[:-2] != rotations.shape[:-3]:
        raise ValueError(
            f"joints (..., T, 22, 3) and rotations (..., T, 22, 3, 3) are wanted, not {tuple(joints.shape)} and "
            f"{tuple(rotations.shape)}"
        )
    if joints.shape[-3] < 2:
        raise ValueError("a motion has at least 2 frames")
    facing = facing_of(joints, smoothing)
    step = joints[..., 1:, :, :] - joints[..., :-1, :, :]
    (sine, cosine), (sine_next, cosine_next) = facing[..., :-1, :].unbind(-1), facing[..., 1:, :].unbind(-1)
    turn = torch.atan2(sine_next * cosine - cosine_next * sine, cosine_next * cosine + sine_next * sine)
    ground = joints.new_tensor([1.0, 0.0, 1.0])
    local = _turn(joints - joints[..., :1, :] * ground, facing, back=True)[..., :-1, 1:, :]
    parts = [
        -turn[..., None] / 2,
        _turn(step[..., :1, :], facing[..., 1:, :], back=True)[..., 0, ::2],
        joints[..., :-1, 0, 1:2],
        local.flatten(-2),
        matrix_to_6d(rotations[..., :-1, 1:, :, :]).flatten(-2),
        _turn(step, facing[..., :-1, :], back=True).flatten(-2),
        (step[..., _FEET, :].square().sum(-1) < CONTACT).to(joints),
    ]
    return torch.cat(parts, dim=-1)


@arrays_too
def recover_joints(motion: Tensor) -> Tensor:
    """Joints from motion vectors, HumanML3D's own as well, by heading, way and local positions (VA-1).

    Args:
        motion: (..., M, 263), not normalised.

    Returns:
        (..., M, 22, 3) metres. The first pelvis is above the origin, the first facing is +z.
    """
    facing, root = _heading(motion)
    local = motion[..., PARTS["positions"]].unflatten(-1, (21, 3))
    others = _turn(local, facing) + root[..., None, :] * root.new_tensor([1.0, 0.0, 1.0])
    return torch.cat([root[..., None, :], others], dim=-2)


@arrays_too
def recover_rotations(motion: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Rotations from motion vectors that `to_motion` made (not HumanML3D's own: see above).

    Args:
        motion: (..., M, 263), not normalised.
        offsets: (22, 3) or (..., M, 22, 3) of the skeleton that the joints are of; the stated one without.

    Returns:
        (..., M, 22, 3, 3) relative to the parent; the pelvis' is in the world of `recover_joints`.
    """
    below = matrix_from_6d(motion[..., PARTS["rotations"]].unflatten(-1, (21, 6)))
    eye = torch.eye(3, dtype=motion.dtype, device=motion.device).expand(*below.shape[:-3], 1, 3, 3)
    posed = forward_kinematics(torch.cat([eye, below], dim=-3), motion.new_zeros(3), offsets)[..., 1:, :]
    joints = recover_joints(motion)
    pelvis = best_rotation(posed, joints[..., 1:, :] - joints[..., :1, :])
    return torch.cat([pelvis[..., None, :, :], below], dim=-3)


def facing_of(joints: Tensor, smoothing: float = FACING_SMOOTHING) -> Tensor:
    """Which way the person faces, (..., T, 22, 3) -> (..., T, 2): x and z of a unit vector on the floor.

    Across the hips plus across the shoulders, at length 1, turned by a right angle and laid on the floor, then smoothed
    over `smoothing` frames. Where nothing is left of it (a person lying on the side), +z.
    """
    left_hip, right_hip, left_shoulder, right_shoulder = joints[..., _ACROSS, :].unbind(-2)
    across = normalize((left_hip - right_hip + left_shoulder - right_shoulder).double(), dim=-1)
    facing = torch.stack([-across[..., 2], across[..., 0]], dim=-1)
    if smoothing > 0:
        facing = smooth(facing, smoothing, facing.ndim - 2)
    return _unit(facing).to(joints)


def put_on_floor(joints: Tensor) -> Tensor:
    """(..., T, 22, 3) moved up or down as a whole, so that the lowest joint of all frames is at y = 0."""
    lowest = joints[..., 1].amin((-2, -1), keepdim=True)
    return joints - torch.stack([torch.zeros_like(lowest), lowest, torch.zeros_like(lowest)], dim=-1)


def from_smplx(
    parameters: Mapping[str, Any],
    fps: float,
    *,
    up: str = "y",
    offsets: Any = None,
    frames: int | None = None,
    smoothing: float = FACING_SMOOTHING,
) -> Any:
    """Motion vectors of SMPL-X parameters (VA-1).

    The stated skeleton (`models.human.body`) is posed by them, unless the offsets of another are given; feet are put on
    the floor.

    Args:
        parameters: tensors or numpy arrays, see `pose_of`.
        fps: their frames per second; brought to 20.
        up: axis that points up, `y` (SMPL-X, BEAT2) or `z` (AMASS).
        offsets: (22, 3) from parent to child in the rest pose.
        frames: how many vectors; past the end the last movement goes on. Without it, as many as there are.
        smoothing: as for `to_motion`.

    Returns:
        (M, 263), a tensor or a float32 array as the parameters are.
    """
    rotations, root = pose_of(parameters, up)
    arrays = isinstance(next(iter(parameters.values())), np.ndarray)
    wanted = None if frames is None else frames + 1
    rotations = resample_rotations(rotations, fps, FPS, wanted)
    root = resample_joints(root[..., None, :], fps, FPS, wanted)[..., 0, :]
    offsets = torch.from_numpy(offsets) if isinstance(offsets, np.ndarray) else offsets
    joints = put_on_floor(forward_kinematics(rotations, root, offsets))
    motion = to_motion(joints, rotations, smoothing)
    return motion.float().numpy() if arrays else motion


def pose_of(parameters: Mapping[str, Any], up: str = "y") -> tuple[Tensor, Tensor]:
    """Rotations (T, 22, 3, 3) and places of the pelvis (T, 3), y up, of SMPL-X parameters.

    The place of the pelvis is the translation: SMPL-X's own adds where the pelvis is in the rest pose, which moves a
    sequence as a whole and is not in the vector.

    Args:
        parameters: `global_orient` (T, 3), `body_pose` (T, 63) and `transl` (T, 3) as in `smplx.npz`; or `poses` (T, at
            least 66) and `trans` (T, 3) as in AMASS and BEAT2. Axis-angle, metres. More keys do not matter.
        up: `y` or `z`.
    """
    if up not in ("y", "z"):
        raise ValueError(f"up is y or z, not {up!r}")
    if "poses" in parameters:
        poses, root = _tensor(parameters["poses"])[..., :66], _tensor(parameters["trans"])
    else:
        poses = torch.cat([_tensor(parameters["global_orient"]), _tensor(parameters["body_pose"])], dim=-1)
        root = _tensor(parameters["transl"])
    if poses.shape[-1] != 66 or root.shape != (*poses.shape[:-1], 3):
        raise ValueError(
            f"22 joint rotations and a place a frame are wanted, not {tuple(poses.shape)} and {tuple(root.shape)}"
        )
    root = root.to(poses)
    rotations = axis_angle_to_matrix(poses.unflatten(-1, (22, 3)))
    if up == "z":
        upright = poses.new_tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
        root = root @ upright.mT
        rotations = torch.cat([upright @ rotations[..., :1, :, :], rotations[..., 1:, :, :]], dim=-3)
    return rotations, root


def to_smplx(motion: Any, *, offsets: Any = None, pelvis: Any = None) -> dict[str, Any]:
    """SMPL-X parameters of motion vectors that `from_smplx` made.

    Args:
        motion: (..., M, 263) tensor or array, not normalised.
        offsets: as in `from_smplx`.
        pelvis: (3,) where SMPL-X has the pelvis in the rest pose; taken off the translation. 0 without.

    Returns:
        `global_orient` (..., M, 3), `body_pose` (..., M, 63), `transl` (..., M, 3) at 20 fps, y up, starting above the
        origin and facing +z; tensors or arrays as `motion` is.
    """
    vectors = _tensor(motion)
    offsets = torch.from_numpy(offsets) if isinstance(offsets, np.ndarray) else offsets
    axis_angles = matrix_to_axis_angle(recover_rotations(vectors, offsets)).flatten(-2)
    root = _heading(vectors)[1]
    if pelvis is not None:
        root = root - torch.as_tensor(pelvis).to(root)
    values = {"global_orient": axis_angles[..., :3], "body_pose": axis_angles[..., 3:], "transl": root}
    return {name: value.numpy() for name, value in values.items()} if isinstance(motion, np.ndarray) else values


def _heading(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Facing (..., M, 2) and place of the pelvis (..., M, 3), from the origin and +z."""
    turned = motion[..., 0].cumsum(-1).roll(1, -1)
    start = torch.arange(motion.shape[-2], device=motion.device) == 0
    yaw = -2 * torch.where(start, torch.zeros_like(turned), turned)
    facing = torch.stack([yaw.sin(), yaw.cos()], dim=-1)
    way = motion[..., PARTS["root_xz_velocity"]].roll(1, -2)
    way = torch.where(start[:, None], torch.zeros_like(way), way)
    step = torch.stack([way[..., 0], torch.zeros_like(way[..., 0]), way[..., 1]], dim=-1)
    place = _turn(step[..., None, :], facing)[..., 0, :].cumsum(-2)
    return facing, torch.stack([place[..., 0], motion[..., 3], place[..., 2]], dim=-1)


def _turn(vectors: Tensor, facing: Tensor, back: bool = False) -> Tensor:
    """Vectors (..., N, 3) from the facing frame to the world, or back to the facing frame; facing (..., 2)."""
    sine, cosine = facing[..., None, 0], facing[..., None, 1]
    if back:
        sine = -sine
    x, y, z = vectors.unbind(-1)
    return torch.stack([x * cosine + z * sine, y, z * cosine - x * sine], dim=-1)


def _unit(facing: Tensor) -> Tensor:
    """(..., 2) at length 1; +z where there is no length."""
    square = facing.square().sum(-1, keepdim=True)
    small = square < 1e-12
    forward = facing.new_tensor([0.0, 1.0]).expand_as(facing)
    return torch.where(small, forward, facing / torch.where(small, torch.ones_like(square), square).sqrt())


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(np.ascontiguousarray(value, np.float64 if value.dtype == np.float64 else np.float32))
