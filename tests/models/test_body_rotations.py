"""Rotations and the skeleton: six numbers, axis-angle, slerp, forward and inverse kinematics."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from models.human.body import GENERATIONS, HEIGHT, JOINTS, OFFSETS, PARENTS, REST_JOINTS, forward_kinematics
from models.human.inverse_kinematics import rotations_of
from models.human.resampling import resample_joints, resample_rotations
from models.human.rotations import (
    axis_angle_to_matrix,
    best_rotation,
    interpolate,
    matrix_from_6d,
    matrix_to_6d,
    matrix_to_axis_angle,
    rotation_between,
)
from tests.models.body_motions import pose

AT = {name: number for number, name in enumerate(JOINTS)}


def random_matrices(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


@pytest.mark.paper("VA-2")
def test_six_numbers_are_the_first_two_columns_and_come_back():
    matrices = random_matrices(50)
    six = matrix_to_6d(matrices)
    np.testing.assert_array_equal(six[:, :3], matrices[:, :, 0])
    np.testing.assert_array_equal(six[:, 3:], matrices[:, :, 1])
    torch.testing.assert_close(matrix_from_6d(six), matrices, atol=1e-12, rtol=0)


@pytest.mark.paper("VA-2")
def test_gram_schmidt_makes_a_rotation_of_any_two_columns():
    rng = np.random.default_rng(1)
    six = matrix_to_6d(random_matrices(200)).numpy() * rng.uniform(0.2, 3, (200, 1)) + rng.normal(0, 0.3, (200, 6))
    output = matrix_from_6d(six)
    for columns, rotation in zip(six, output, strict=True):
        # Gram and Schmidt, number by number.
        first = columns[:3] / np.sqrt(sum(columns[:3] ** 2))
        second = columns[3:] - sum(first * columns[3:]) * first
        second = second / np.sqrt(sum(second**2))
        np.testing.assert_allclose(rotation[:, 0], first, atol=1e-12)
        np.testing.assert_allclose(rotation[:, 1], second, atol=1e-12)
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-4, 0.009, 0.011, 1.0, 3.0, np.pi - 1e-6, np.pi])
def test_axis_angle_agrees_with_scipy_at_every_angle(angle, dtype):
    axes = np.random.default_rng(2).normal(size=(20, 3))
    vectors = angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    close = 1e-12 if dtype == torch.float64 else 2e-6
    matrices = axis_angle_to_matrix(torch.tensor(vectors, dtype=dtype))
    assert matrices.dtype == dtype
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), atol=close)
    back = matrix_to_axis_angle(torch.tensor(Rotation.from_rotvec(vectors).as_matrix(), dtype=dtype)).double().numpy()
    if angle > np.pi - 1e-3:  # v and -v are half a turn alike
        back = back * np.sign((back * vectors).sum(1, keepdims=True))
    np.testing.assert_allclose(back, vectors, atol=1e-7 if dtype == torch.float64 else 2e-3 if angle > 3.1 else 3e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 1.0, np.pi])
def test_gradients_are_finite_and_those_of_the_function(angle):
    vector = torch.tensor([[angle, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vector)
    back = matrix_to_axis_angle(axis_angle_to_matrix(vector))
    back.sum().backward()
    assert torch.isfinite(vector.grad).all()
    if angle < 3:  # a turn goes there and back, so this is the identity
        torch.testing.assert_close(vector.grad, torch.ones_like(vector), atol=1e-6, rtol=0)


def test_between_frames_rotations_go_the_shortest_way_at_constant_speed():
    matrices = random_matrices(6, seed=3)
    at = np.array([0.0, 0.25, 1.5, 3.9, 5.0])
    wanted = Slerp(range(6), Rotation.from_matrix(matrices.numpy()))(at).as_matrix()
    np.testing.assert_allclose(interpolate(matrices, torch.from_numpy(at)), wanted, atol=1e-9)
    beyond = interpolate(matrices, torch.tensor([5.5]))[0]
    torch.testing.assert_close(beyond.mT @ matrices[5], matrices[5].mT @ interpolate(matrices, torch.tensor([4.5]))[0],
                               atol=1e-9, rtol=0)  # fmt: skip


def test_the_best_rotation_is_found_in_noise_and_so_is_its_gradient():
    rng = np.random.default_rng(4)
    turn, first = random_matrices(3, seed=5), torch.from_numpy(rng.normal(size=(3, 8, 3)))
    torch.testing.assert_close(best_rotation(first, first @ turn.mT), turn, atol=1e-9, rtol=0)
    second = first @ turn.mT + torch.from_numpy(rng.normal(0, 0.1, (3, 8, 3)))
    found = best_rotation(first, second)
    for one, other, rotation in zip(first, second, found, strict=True):
        wanted, _ = Rotation.align_vectors(other.numpy(), one.numpy())
        np.testing.assert_allclose(rotation, wanted.as_matrix(), atol=1e-9)
    assert torch.autograd.gradcheck(best_rotation, (first[:1].requires_grad_(), second[:1].requires_grad_()))


def test_a_flat_or_symmetric_set_of_vectors_gives_a_rotation_and_a_finite_gradient():
    first = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0]]], requires_grad=True)
    found = best_rotation(first, first.detach())
    torch.testing.assert_close(found, torch.eye(3)[None])
    found.square().sum().backward()
    assert torch.isfinite(first.grad).all()


def test_one_direction_turns_into_another_also_into_its_opposite():
    rng = np.random.default_rng(6)
    first, second = (torch.from_numpy(rng.normal(size=(30, 3))) for _ in range(2))
    first[0], second[0] = torch.tensor([0.0, 2, 0]), torch.tensor([0.0, -3, 0])
    turns = rotation_between(first, second)
    for one, other, turn in zip(first.numpy(), second.numpy(), turns.numpy(), strict=True):
        np.testing.assert_allclose(turn @ one / np.linalg.norm(one), other / np.linalg.norm(other), atol=1e-9)
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)
    angles = np.linalg.norm(Rotation.from_matrix(turns.numpy()).as_rotvec(), axis=1)
    cosines = (first * second).sum(-1) / first.norm(dim=-1) / second.norm(dim=-1)
    np.testing.assert_allclose(angles, np.arccos(cosines), atol=1e-6)


def test_the_stated_skeleton_has_the_published_lengths():
    at = {name: REST_JOINTS[number].numpy() / HEIGHT for name, number in AT.items()}
    for joint, share in {"ankle": 0.039, "knee": 0.285, "hip": 0.530, "shoulder": 0.818}.items():
        assert at[f"left_{joint}"][1] == pytest.approx(share, abs=1e-6)
    assert np.linalg.norm(at["left_elbow"] - at["left_shoulder"]) == pytest.approx(0.186, abs=1e-6)
    assert np.linalg.norm(at["left_wrist"] - at["left_elbow"]) == pytest.approx(0.146, abs=1e-6)
    for name, number in AT.items():
        assert np.allclose(REST_JOINTS[number] - REST_JOINTS[max(PARENTS[number], 0)], OFFSETS[number], atol=1e-6)
        if name.startswith("left_"):
            assert at[name][0] > 0, "the person's left is +x"
            np.testing.assert_allclose(at[name.replace("left", "right")], at[name] * [-1, 1, 1])
    assert at["left_foot"][2] > at["left_ankle"][2], "the person faces +z"


def test_forward_kinematics_turns_what_hangs_below_a_joint():
    rotations = torch.eye(3, dtype=torch.float64).repeat(22, 1, 1)
    root = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    rest = forward_kinematics(rotations, root)
    torch.testing.assert_close(rest - rest[0], (REST_JOINTS - REST_JOINTS[0]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(rest[0], root)
    # The left elbow by a right angle about y: the forearm, which points to +x, now points to -z.
    rotations[AT["left_elbow"]] = axis_angle_to_matrix(torch.tensor([0, np.pi / 2, 0], dtype=torch.float64))
    bent = forward_kinematics(rotations, root)
    moved = [JOINTS[i] for i in torch.nonzero((bent - rest).norm(dim=-1) > 1e-9)[:, 0]]
    assert moved == ["left_wrist"]
    forearm = bent[AT["left_wrist"]] - bent[AT["left_elbow"]]
    np.testing.assert_allclose(forearm, [0, 0, -0.146 * HEIGHT], atol=1e-6)
    # The hip carries the whole leg, and the leg keeps its shape.
    rotations[AT["right_hip"]] = axis_angle_to_matrix(torch.tensor([-np.pi / 2, 0, 0], dtype=torch.float64))
    kicked = forward_kinematics(rotations, root)
    leg = [AT[f"right_{name}"] for name in ("hip", "knee", "ankle", "foot")]
    np.testing.assert_allclose(kicked[leg[1]] - kicked[leg[0]], [0, 0, 0.245 * HEIGHT], atol=1e-6)
    torch.testing.assert_close(torch.cdist(kicked[leg], kicked[leg]), torch.cdist(rest[leg], rest[leg]))


def test_forward_kinematics_goes_through_the_chain_joint_by_joint():
    joints, rotations = pose(0.5, seed=8)
    for frame, places in zip(rotations.numpy(), joints.numpy(), strict=True):
        world = {0: frame[0]}
        for joint in range(1, 22):
            parent = PARENTS[joint]
            world[joint] = world[parent] @ frame[joint]
            np.testing.assert_allclose(
                places[joint] - places[parent], world[parent] @ OFFSETS[joint].numpy(), atol=1e-6
            )
    assert sorted(joint for generation in GENERATIONS for joint in generation) == list(range(1, 22))
    own = OFFSETS.double() * 1.3
    bigger = forward_kinematics(rotations, joints[:, 0], own)
    torch.testing.assert_close(bigger - bigger[:, :1], 1.3 * (joints - joints[:, :1]))


@pytest.mark.parametrize("seed", range(3))
def test_rotations_found_from_joints_give_the_joints_back(seed):
    joints, _ = pose(2.0, seed=seed)
    found = rotations_of(joints)
    torch.testing.assert_close(forward_kinematics(found, joints[:, 0]), joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.mT @ found, torch.eye(3).double().expand_as(found), atol=1e-9, rtol=0)
    steps = torch.linalg.matrix_norm(found[1:] - found[:-1])
    assert steps.max() < 0.6, "no jump from frame to frame"


def test_the_rest_pose_has_no_rotation_and_a_gradient():
    joints = REST_JOINTS[None].clone().requires_grad_()
    found = rotations_of(joints)
    torch.testing.assert_close(found, torch.eye(3).expand(1, 22, 3, 3), atol=1e-5, rtol=0)
    found.square().sum().backward()
    assert torch.isfinite(joints.grad).all()


def test_resampling_keeps_time_and_what_moves_slowly():
    def truth(time):
        return np.stack([np.sin(3 * time), 0.5 * time, np.cos(2 * time)], -1)[:, None]

    joints = resample_joints(truth(np.arange(91) / 30), 30.0)
    assert len(joints) == 61
    inner = slice(3, -3)
    np.testing.assert_allclose(joints[inner], truth(np.arange(61) / 20)[inner], atol=3e-3)
    turns = Rotation.from_rotvec(truth(np.arange(91) / 30)[:, 0]).as_matrix()[:, None]
    wanted = Rotation.from_rotvec(truth(np.arange(61) / 20)[:, 0]).as_matrix()
    np.testing.assert_allclose(resample_rotations(turns, 30.0)[inner, 0], wanted[inner], atol=5e-3)
    ahead = resample_joints(truth(np.arange(21) / 20), 20.0, frames=23)
    np.testing.assert_allclose(ahead[-1] - ahead[-2], ahead[-3] - ahead[-4], atol=1e-9)


def test_what_is_too_quick_for_the_new_rate_does_not_come_back_as_something_slow():
    time = np.arange(600) / 120
    slow, shake = np.sin(2 * time), 0.05 * np.sin(2 * np.pi * 59 * time)
    there = resample_joints((slow + shake)[:, None, None], 120.0)[:, 0, 0]
    assert np.abs(there - np.sin(2 * np.arange(len(there)) / 20))[3:-3].max() < 3e-3
    turns = Rotation.from_rotvec(np.stack([slow + shake, 0 * time, 0 * time], 1)).as_matrix()[:, None]
    angles = matrix_to_axis_angle(resample_rotations(turns, 120.0))[:, 0, 0]
    assert np.abs(angles - np.sin(2 * np.arange(len(angles)) / 20))[3:-3].max() < 3e-3


def test_a_long_spin_is_resampled_without_a_jump():
    def truth(time):
        return Rotation.from_rotvec(2.5 * time[:, None] * np.array([0.6, -0.64, 0.48])).as_matrix()

    spun = resample_rotations(truth(np.arange(960) / 120)[:, None], 120.0)[:, 0]
    np.testing.assert_allclose(spun[3:-3], truth(np.arange(len(spun)) / 20)[3:-3], atol=1e-6)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        resample_joints(np.zeros((5, 22, 3)), 0.0)
