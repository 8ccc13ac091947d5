"""Rotations of the 22 body joints where only their places are known, in closed form."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.human.body import GENERATIONS, JOINTS, OFFSETS, PARENTS
from models.human.rotations import arrays_too, best_rotation, rotation_between


@arrays_too
def rotations_of(joints: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Rotations under which the skeleton's bones point as the joints say.

    From the pelvis outwards: where several bones leave a joint (pelvis, upper spine) the rotation that fits all their
    directions best, where there is one the smallest further turn that brings it into its direction. So bones do not
    twist about themselves, which places alone cannot tell, and head, feet and wrists, from which no bone leaves, keep
    their parent's rotation. Posing a skeleton of the same bone lengths by the result gives the same places, if its hips
    and its shoulders leave the middle at the same angles.

    Args:
        joints: (..., 22, 3) metres; lengths do not matter.
        offsets: (22, 3) of the skeleton from parent to child in the rest pose; the stated one without.

    Returns:
        (..., 22, 3, 3) relative to the parent, the pelvis' relative to the world.
    """
    rest = normalize((OFFSETS if offsets is None else offsets).to(joints), dim=-1)
    bones = normalize(joints - joints[..., [0, *PARENTS[1:]], :], dim=-1)
    children = [[child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(len(JOINTS))]
    eye = torch.eye(3, dtype=joints.dtype, device=joints.device).expand(*joints.shape[:-2], 3, 3)
    world = [eye] * len(JOINTS)
    local = [eye] * len(JOINTS)
    for joint in (0, *(joint for generation in GENERATIONS for joint in generation)):
        above = world[PARENTS[joint]] if joint else eye
        below = children[joint]
        if len(below) > 1:
            world[joint] = best_rotation(rest[below].expand(*joints.shape[:-2], len(below), 3), bones[..., below, :])
            local[joint] = above.mT @ world[joint]
        elif below:
            direction = (above.mT @ bones[..., below[0], :, None]).squeeze(-1)
            local[joint] = rotation_between(rest[below[0]].expand_as(direction), direction)
            world[joint] = above @ local[joint]
        else:
            world[joint] = above
    return torch.stack(local, dim=-3)
