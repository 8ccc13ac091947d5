"""The 263 numbers of body motion: layout, round trips, invariances (VA-1)."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from models.human.body import JOINTS, OFFSETS, forward_kinematics
from models.human.motion import (
    FPS,
    PARTS,
    SIZE,
    from_smplx,
    pose_of,
    put_on_floor,
    recover_joints,
    recover_rotations,
    to_motion,
    to_smplx,
)
from models.human.rotations import axis_angle_to_matrix
from tests.models.body_motions import parameters, pose

MEDIA = Path(os.environ.get("COSPEECH_MEDIA", "nowhere"))
AT = {name: number for number, name in enumerate(JOINTS)}


def facing(joints: np.ndarray, smooth: bool = True) -> np.ndarray:
    """(T,) degrees from +z towards +x, the definition in words: a right angle from across the hips and shoulders."""
    left = joints[:, AT["left_hip"]] + joints[:, AT["left_shoulder"]]
    right = joints[:, AT["right_hip"]] + joints[:, AT["right_shoulder"]]
    across = (left - right) / np.linalg.norm(left - right, axis=1, keepdims=True)
    ahead = np.cross(across, [0, 1, 0])
    if smooth:
        ahead = gaussian_filter1d(ahead, 20, axis=0, mode="nearest")
    return np.degrees(np.arctan2(ahead[:, 0], ahead[:, 2]))


def from_the_start(joints: np.ndarray) -> np.ndarray:
    """The same joints with the first pelvis above the origin and the first facing to +z."""
    turn = Rotation.from_euler("y", -facing(joints)[0], degrees=True)
    return turn.apply((joints - joints[0, 0] * [1, 0, 1]).reshape(-1, 3)).reshape(joints.shape)


@pytest.mark.paper("VA-1")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turns", [0.0, 1.0, -2.5])
def test_joints_come_back_from_vectors(turns, dtype):
    joints, rotations = pose(9.0, seed=1, turns=turns)
    motion = to_motion(joints.to(dtype), rotations.to(dtype))
    assert motion.shape == (len(joints) - 1, SIZE)
    assert motion.dtype == dtype
    error = np.linalg.norm(recover_joints(motion).double().numpy() - from_the_start(joints.numpy())[:-1], axis=-1)
    assert error.mean() < 1e-3
    assert error.max() < (1e-9 if dtype == torch.float64 else 1e-4)


@pytest.mark.paper("VA-1")
def test_smplx_comes_back_from_vectors():
    values = parameters(7.0, seed=2)
    motion = from_smplx(values, 20.0)
    assert motion.dtype == np.float32
    assert len(motion) == len(values["transl"]) - 1
    back = to_smplx(motion.astype(np.float64))
    same = slice(0, len(motion))
    turned = lambda name, array: Rotation.from_rotvec(array[name][same].reshape(-1, 3))  # noqa: E731
    body = turned("body_pose", values).inv() * turned("body_pose", back)
    assert body.magnitude().max() < 1e-5
    # The pelvis: the same up to one turn about y of the whole motion, tilt included.
    whole = turned("global_orient", back) * turned("global_orient", values).inv()
    assert (whole[0].inv() * whole).magnitude().max() < 1e-3
    np.testing.assert_allclose(whole[0].apply([0, 1, 0]), [0, 1, 0], atol=1e-3)
    way = values["transl"][same] - values["transl"][0]
    np.testing.assert_allclose(back["transl"] - back["transl"][0], whole[0].apply(way), atol=1e-3)
    np.testing.assert_allclose(back["transl"][0, [0, 2]], 0, atol=1e-9)
    repeated = from_smplx(back, 20.0)
    unlike = np.abs(repeated - motion[:-1])[20:-90]  # the facing is smoothed over what is there
    assert unlike.max() < 2e-2


@pytest.mark.paper("VA-1")
def test_every_number_is_what_humanml3d_says_it_is():
    torch_joints, torch_rotations = pose(5.0, seed=3)
    joints, rotations = torch_joints.numpy(), torch_rotations.numpy()
    motion = to_motion(joints, rotations)
    degrees = facing(joints)
    assert sorted((part.start, part.stop) for part in PARTS.values()) == [
        (0, 1), (1, 3), (3, 4), (4, 67), (67, 193), (193, 259), (259, 263),
    ]  # fmt: skip
    for t in range(len(joints) - 1):
        row = motion[t]
        here = Rotation.from_euler("y", -degrees[t], degrees=True)  # from the world to the facing frame
        there = Rotation.from_euler("y", -degrees[t + 1], degrees=True)
        quaternion = (there * here.inv()).as_quat(canonical=True)  # x, y, z, w
        assert row[0] == pytest.approx(np.arcsin(quaternion[1]), abs=1e-9)
        way = there.apply(joints[t + 1, 0] - joints[t, 0])
        np.testing.assert_allclose(row[1:3], way[[0, 2]], atol=1e-9)
        assert row[3] == pytest.approx(joints[t, 0, 1])
        for joint in range(1, 22):
            local = here.apply(joints[t, joint] - [joints[t, 0, 0], 0, joints[t, 0, 2]])
            np.testing.assert_allclose(row[4 + 3 * (joint - 1) :][:3], local, atol=1e-9)
            six = np.concatenate([rotations[t, joint, :, 0], rotations[t, joint, :, 1]])
            np.testing.assert_allclose(row[67 + 6 * (joint - 1) :][:6], six, atol=1e-9)
        for joint in range(22):
            velocity = here.apply(joints[t + 1, joint] - joints[t, joint])
            np.testing.assert_allclose(row[193 + 3 * joint :][:3], velocity, atol=1e-9)
        for number, joint in enumerate(("left_ankle", "left_foot", "right_ankle", "right_foot")):
            still = ((joints[t + 1, AT[joint]] - joints[t, AT[joint]]) ** 2).sum() < 0.002
            assert row[259 + number] == still
    assert 0 < motion[:, PARTS["contacts"]].mean() < 1, "both kinds have been seen"


@pytest.mark.paper("VA-1")
def test_files_of_humanml3d_itself_decode_right():
    """Their heading comes from another mixture of hips and shoulders, their rotations from other kinematics."""
    joints, _ = pose(4.0, seed=4)
    joints = joints.numpy()
    across = joints[:, 1] - joints[:, 2] + joints[:, 17] - joints[:, 16]  # the released code's mixture
    ahead = gaussian_filter1d(
        np.cross([0, 1, 0], across / np.linalg.norm(across, axis=1)[:, None]), 20, axis=0, mode="nearest"
    )
    angle = np.arctan2(ahead[:, 0], ahead[:, 2])
    turns = Rotation.from_rotvec(-angle[:, None] * [0, 1, 0])
    rows = []
    for t in range(len(joints) - 1):
        half = np.arcsin((turns[t + 1] * turns[t].inv()).as_quat(canonical=True)[1])
        way = turns[t + 1].apply(joints[t + 1, 0] - joints[t, 0])
        local = turns[t].apply(joints[t, 1:] - joints[t, 0] * [1, 0, 1])
        velocity = turns[t].apply(joints[t + 1] - joints[t])
        rest = [np.full(126, 0.5), velocity.ravel(), np.zeros(4)]
        rows.append(np.concatenate([[half, way[0], way[2], joints[t, 0, 1]], local.ravel(), *rest]))
    wanted = turns[0].apply((joints[:-1] - joints[0, 0] * [1, 0, 1]).reshape(-1, 3)).reshape(-1, 22, 3)
    np.testing.assert_allclose(recover_joints(np.stack(rows)), wanted, atol=1e-9)


@pytest.mark.paper("VA-1")
def test_where_a_person_stands_and_faces_at_first_makes_no_difference():
    joints, rotations = pose(4.0, seed=5)
    motion = to_motion(joints, rotations)
    turn = axis_angle_to_matrix(torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64))
    moved = joints @ turn.mT + torch.tensor([5.0, 0.0, -8.0])
    turned = torch.cat([turn @ rotations[:, :1], rotations[:, 1:]], 1)
    torch.testing.assert_close(to_motion(moved, turned), motion, atol=1e-9, rtol=0)
    higher = to_motion(joints + torch.tensor([0.0, 1.0, 0.0]), rotations) - motion
    assert higher[:, PARTS["root_height"]].mean() == pytest.approx(1)
    assert higher[:, PARTS["velocities"]].abs().max() < 1e-9


def test_what_is_recovered_starts_at_the_origin_and_faces_ahead():
    joints, rotations = pose(4.0, seed=6)
    back = recover_joints(to_motion(joints, rotations)).numpy()
    np.testing.assert_allclose(back[0, 0, [0, 2]], 0, atol=1e-12)
    whole = np.concatenate([back, back[-1:]])
    assert abs(facing(whole)[0]) < 1.0  # one frame less, so the smoothing differs by a little
    # A person who faces +z walks along +z, whatever they did before.
    assert back[10, 0, 2] > 0.1


def test_a_walk_ahead_is_a_walk_ahead():
    frames = 40
    rotations = torch.eye(3).repeat(frames, 22, 1, 1)
    root = torch.stack([torch.zeros(frames), torch.full((frames,), 0.9), 0.05 * torch.arange(frames)], 1)
    motion = to_motion(forward_kinematics(rotations, root), rotations)
    torch.testing.assert_close(motion[:, 1:3], torch.tensor([0.0, 0.05]).expand(frames - 1, 2), atol=1e-6, rtol=0)
    assert motion[:, 0].abs().max() < 1e-6
    left_wrist = motion[:, PARTS["positions"]].unflatten(-1, (21, 3))[:, AT["left_wrist"] - 1]
    assert (left_wrist[:, 0] > 0.5).all(), "the person's left is +x"
    assert (motion[:, PARTS["contacts"]] == 0).all() == (0.05**2 >= 0.002)


def test_rotations_come_back_with_the_tilt_of_the_pelvis():
    joints, rotations = pose(5.0, seed=7, turns=2.0)
    back = recover_rotations(to_motion(joints, rotations))
    torch.testing.assert_close(back[:, 1:], rotations[:-1, 1:], atol=1e-9, rtol=0)
    whole = back[:, 0] @ rotations[:-1, 0].mT  # one and the same turn about y
    torch.testing.assert_close(whole, whole[:1].expand_as(whole), atol=1e-6, rtol=0)
    np.testing.assert_allclose(whole[0, :, 1], [0, 1, 0], atol=1e-6)
    posed = forward_kinematics(back, recover_joints(to_motion(joints, rotations))[:, 0])
    torch.testing.assert_close(posed, recover_joints(to_motion(joints, rotations)), atol=1e-6, rtol=0)


def test_the_tilt_stands_up_to_the_errors_of_a_network():
    joints, rotations = pose(5.0, seed=8)
    motion = to_motion(joints, rotations)
    noisy = motion.clone()
    noise = np.random.default_rng(0).normal(0, 0.01, (len(motion), 63))
    noisy[:, PARTS["positions"]] += torch.from_numpy(noise)  # 1 cm on every number
    off = recover_rotations(noisy)[:, 0].mT @ recover_rotations(motion)[:, 0]
    degrees = np.degrees(Rotation.from_matrix(off.numpy()).magnitude())
    assert degrees.mean() < 1.5


def test_another_skeleton_needs_its_own_offsets_and_then_loses_nothing():
    _, rotations = pose(3.0, seed=9)
    own = OFFSETS.double() * torch.linspace(0.8, 1.3, 22)[:, None].double()
    own = own + 0.02 * torch.randn(22, 3, generator=torch.Generator().manual_seed(0)).double()
    motion = to_motion(forward_kinematics(rotations, rotations[:, 0, 0], own), rotations)
    back = recover_rotations(motion, own)
    whole = back[:, 0] @ rotations[:-1, 0].mT
    torch.testing.assert_close(whole, whole[:1].expand_as(whole), atol=1e-6, rtol=0)
    values = parameters(3.0, seed=9)
    taken = from_smplx(values, 20.0, offsets=own.numpy()).astype(np.float64)
    repeated = Rotation.from_rotvec(to_smplx(taken, offsets=own.numpy())["body_pose"].reshape(-1, 3))
    there = Rotation.from_rotvec(values["body_pose"][:-1].reshape(-1, 3))
    assert (repeated.inv() * there).magnitude().max() < 1e-4


@pytest.mark.parametrize("still", [True, False])
def test_gradients_are_finite_and_reach_every_parameter(still):
    values = {k: torch.tensor(v * (0 if still else 1), requires_grad=True) for k, v in parameters(1.5).items()}
    motion = from_smplx(values, 20.0, up="y")
    back = to_smplx(motion)
    joints = recover_joints(motion)
    sum(value.square().sum() for value in (*back.values(), joints, motion)).backward()
    for name, value in values.items():
        assert torch.isfinite(value.grad).all(), name
        if not still:
            assert value.grad.abs().max() > 0, name


def test_a_wrong_vector_is_moved_towards_the_right_one_by_its_gradient():
    joints, rotations = pose(1.0, seed=10)
    motion = to_motion(joints, rotations)
    wrong = motion + 0.02 * torch.randn(motion.shape, generator=torch.Generator().manual_seed(1)).double()

    def loss(vector):
        off = recover_rotations(vector) - recover_rotations(motion)
        return (recover_joints(vector) - recover_joints(motion)).square().mean() + off.square().mean()

    wrong.requires_grad_()
    before = loss(wrong)
    (slope,) = torch.autograd.grad(before, wrong)
    assert loss(wrong - 0.05 * slope / slope.norm()) < before
    shift = torch.randn(motion.shape, generator=torch.Generator().manual_seed(2)).double()
    measured = (loss(wrong + 1e-6 * shift) - loss(wrong - 1e-6 * shift)) / 2e-6
    assert (slope * shift).sum().item() == pytest.approx(measured.item(), rel=1e-4)


def test_batches_and_arrays_give_what_one_motion_gives():
    output = [pose(2.0, seed=seed) for seed in (11, 12)]
    joints, rotations = (torch.stack(parts) for parts in zip(*output, strict=True))
    motion = to_motion(joints, rotations)
    for number, (one, turned) in enumerate(output):
        torch.testing.assert_close(motion[number], to_motion(one, turned))
        torch.testing.assert_close(recover_joints(motion)[number], recover_joints(motion[number]))
        torch.testing.assert_close(recover_rotations(motion)[number], recover_rotations(motion[number]))
        array = to_motion(one.numpy(), turned.numpy())
        assert isinstance(array, np.ndarray)
        np.testing.assert_allclose(array, motion[number])


def test_half_precision_around_does_no_harm():
    joints, rotations = (values.float() for values in pose(3.0, seed=14))
    motion = to_motion(joints, rotations)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(to_motion(joints, rotations), motion)
        torch.testing.assert_close(
            recover_rotations(motion), recover_rotations(motion.double()).float(), atol=1e-3, rtol=0
        )
    coarse = motion.bfloat16()
    torch.testing.assert_close(recover_joints(coarse), recover_joints(coarse.float()))


def test_amass_stands_upright_too():
    values = parameters(3.0, seed=13)
    back = Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up to z up
    raised = {
        "poses": np.concatenate(
            [
                (back * Rotation.from_rotvec(values["global_orient"])).as_rotvec(),
                values["body_pose"],
                np.zeros((60, 99)),
            ],
            1,
        ),
        "trans": back.apply(values["transl"]),
        "betas": np.zeros(10),
    }
    np.testing.assert_allclose(from_smplx(raised, 20.0, up="z"), from_smplx(values, 20.0), atol=1e-5)
    rotations, root = pose_of(raised, "z")
    np.testing.assert_allclose(root, values["transl"], atol=1e-9)
    assert rotations.shape == (60, 22, 3, 3)


def test_other_rates_become_twenty_frames_a_second():
    slow, fast = from_smplx(parameters(4.0, 20.0), 20.0), from_smplx(parameters(4.0, 120.0), 120.0)
    assert abs(len(slow) - len(fast)) <= 1
    error = recover_joints(slow[:75]) - recover_joints(fast[:75])
    assert np.linalg.norm(error, axis=-1).mean() < 0.01
    assert len(from_smplx(parameters(4.0, 25.0), 25.0, frames=80)) == 80
    assert FPS == 20


def test_the_floor_is_under_the_lowest_foot():
    joints, _ = pose(2.0)
    floored = put_on_floor(joints)
    assert floored[..., 1].min() == 0
    moved = (floored - joints).reshape(-1, 3)
    torch.testing.assert_close(moved, moved[:1].expand_as(moved))
    assert moved[0, 0] == moved[0, 2] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda j, r: (j[:, :21], r), "22, 3"),
        (lambda j, r: (j[:-1], r), "22, 3"),
        (lambda j, r: (j[:1], r[:1]), "at least 2 frames"),
    ],
)
def test_what_is_no_motion_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        to_motion(*change(*pose(0.5)))


def test_parameters_that_are_none_are_refused():
    values = parameters(0.5)
    with pytest.raises(ValueError, match="up is y or z"):
        from_smplx(values, 20.0, up="x")
    with pytest.raises(ValueError, match="22 joint rotations"):
        from_smplx(values | {"body_pose": values["body_pose"][:, :60]}, 20.0)
    with pytest.raises(ValueError, match="above 0"):
        from_smplx(values, 0.0)


@pytest.mark.paper("VA-1")
@pytest.mark.skipif(not (MEDIA / "motion" / "beat2").is_dir(), reason="no real media (COSPEECH_MEDIA)")
def test_a_real_recording_comes_back():
    with np.load(MEDIA / "motion" / "beat2" / "2_scott_0_1_1.npz") as archive:
        values = {name: archive[name] for name in ("poses", "trans")}
    motion = from_smplx(values, 30.0)
    back = to_smplx(motion)
    rotations, root = pose_of(back)
    joints = forward_kinematics(rotations, root)
    error = np.linalg.norm(joints.numpy() - recover_joints(motion), axis=-1)
    assert error.mean() < 1e-3
    standing = recover_joints(motion)
    assert (standing[:, AT["head"], 1] > standing[:, AT["pelvis"], 1] + 0.3).all()
    lowest = standing[..., 1].min(1)
    assert lowest.min() > -1e-6
    assert np.percentile(lowest, 95) < 0.1, "one foot is on the floor, as far as another body's legs allow"
    there = Rotation.from_rotvec(values["poses"][::3, 3:66].reshape(-1, 3))  # every second of ours is a third of theirs
    got = Rotation.from_rotvec(back["body_pose"][::2][: len(values["poses"][::3])].reshape(-1, 3))
    count = min(len(there), len(got))
    assert np.degrees((there[:count].inv() * got[:count]).magnitude()).mean() < 1.0
