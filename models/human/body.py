"""The skeleton of body motion: the 22 body joints of SMPL and SMPL-X, and where they are under given rotations.

Conventions: metres, y up. In the rest pose (all rotations the identity) the person faces +z, stands upright with
straight legs and stretches both arms out sideways; the person's own left is +x. A joint's rotation is relative to its
parent and turns what hangs below the joint, as in SMPL.

The lengths are ours, not SMPL-X's, whose joints are licensed: segment lengths as shares of body height by Drillis and
Contini (1966) as printed in Winter, Biomechanics and Motor Control of Human Movement, figure 4.1, for a height of
1.70 m. Heights above the floor: ankle 0.039, knee 0.285, hip 0.530, shoulder 0.818; half of the shoulders' width 0.129,
upper arm 0.186, forearm 0.146, foot length 0.152. Half of the distance of the hip joints is 0.36 of that of the front
iliac spines (Bell et al. 1990), for which we take 0.24 m. What these do not tell is ours: the pelvis 0.03 above the
hips, the spine's joints evenly between the pelvis and the neck at 0.845 (seventh neck vertebra), the head's joint at
0.895 (height of the ears), the collars 0.045 beside the middle, the toes' joint 0.073 in front of the ankle (at 0.73 of
the foot with the ankle at 0.25) and 0.010 above the floor.
"""

from typing import Final

import torch
from torch import Tensor

from models.human.rotations import arrays_too

HEIGHT: Final = 1.70  # metres, of the stated skeleton

JOINTS: Final = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
PARENTS: Final = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
GENERATIONS: Final = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12, 13, 14), (15, 16, 17), (18, 19), (20, 21))

# Where the joints of the middle and of the left side are in the rest pose, as shares of body height: left, up, forward.
_REST: Final = {
    "pelvis": (0.0, 0.560, 0.0),
    "left_hip": (0.36 * 0.24 / HEIGHT, 0.530, 0.0),
    "left_knee": (0.36 * 0.24 / HEIGHT, 0.285, 0.0),
    "left_ankle": (0.36 * 0.24 / HEIGHT, 0.039, 0.0),
    "left_foot": (0.36 * 0.24 / HEIGHT, 0.010, 0.073),
    "spine1": (0.0, 0.631, 0.0),
    "spine2": (0.0, 0.702, 0.0),
    "spine3": (0.0, 0.773, 0.0),
    "neck": (0.0, 0.845, 0.0),
    "head": (0.0, 0.895, 0.0),
    "left_collar": (0.045, 0.818, 0.0),
    "left_shoulder": (0.129, 0.818, 0.0),
    "left_elbow": (0.129 + 0.186, 0.818, 0.0),
    "left_wrist": (0.129 + 0.186 + 0.146, 0.818, 0.0),
}


def _rest_joints() -> Tensor:
    left = {name: place for name, place in _REST.items() if name.startswith("left_")}
    right = {name.replace("left_", "right_"): (-x, y, z) for name, (x, y, z) in left.items()}
    places = {**_REST, **right}
    return HEIGHT * torch.tensor([places[name] for name in JOINTS], dtype=torch.float64, device="cpu")


def offsets_of(rest: Tensor) -> Tensor:
    """Vectors from parent to child in the rest pose, (..., 22, 3) joints -> (..., 22, 3); the pelvis' own is 0."""
    parents = torch.tensor([0, *PARENTS[1:]], device=rest.device)
    return rest - rest[..., parents, :]


REST_JOINTS: Final = _rest_joints().float()  # (22, 3) metres, feet on the floor y = 0 but for the soles
OFFSETS: Final = offsets_of(_rest_joints()).float()  # (22, 3) metres from parent to child; the pelvis' is 0


@arrays_too
def global_rotations(rotations: Tensor) -> Tensor:
    """Rotations of the joints in the world from those relative to the parent, (..., 22, 3, 3) both."""
    world: list[Tensor] = [rotations[..., 0, :, :]] * len(JOINTS)
    for generation in GENERATIONS:
        above = torch.stack([world[PARENTS[joint]] for joint in generation], dim=-3)
        turned = above @ rotations[..., list(generation), :, :]
        for joint, matrix in zip(generation, turned.unbind(-3), strict=True):
            world[joint] = matrix
    return torch.stack(world, dim=-3)


@arrays_too
def forward_kinematics(rotations: Tensor, root: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Where the joints are.

    Args:
        rotations: (..., 22, 3, 3) relative to the parent, the pelvis' first and relative to the world.
        root: (..., 3) place of the pelvis in metres.
        offsets: (22, 3), or (..., 22, 3), from parent to child in the rest pose; `OFFSETS` without.

    Returns:
        (..., 22, 3) metres.
    """
    offsets = (OFFSETS if offsets is None else offsets).to(rotations)
    parents = list(PARENTS[1:])
    bones = (global_rotations(rotations)[..., parents, :, :] @ offsets[..., 1:, :, None]).squeeze(-1)
    places: list[Tensor] = [root.to(rotations).expand(*rotations.shape[:-3], 3)] * len(JOINTS)
    for generation in GENERATIONS:
        for joint in generation:
            places[joint] = places[PARENTS[joint]] + bones[..., joint - 1, :]
    return torch.stack(places, dim=-2)
