"""Poses as pictures: DWPose's look, soft edges, every point where it is."""

import numpy as np
import pytest
import torch

from models.human.draw import draw_pose
from models.human.keypoints import FACE, HANDS, INNER_LIPS, LEFT_ELBOW, LEFT_WRIST, POINTS
from models.video.skeletons import draw_skeletons

MOUTH = torch.tensor([[-2.0, 0], [-1, -1], [0, -1], [1, -1], [2, 0], [1, 1], [0, 1], [-1, 1]])


def person() -> torch.Tensor:
    """A pose (134, 3) all of which is seen, points of each part together as on a body."""
    random = np.random.default_rng(0)
    pose = np.ones((POINTS, 3))
    pose[:24, :2] = random.uniform(0.15, 0.85, (24, 2))
    pose[FACE, :2] = random.uniform(0.4, 0.6, (68, 2))
    pose[HANDS, :2] = random.uniform(0.65, 0.95, (42, 2))
    return torch.from_numpy(pose).float()


def mouth(opening: float, x: float = 0.5, y: float = 0.5) -> torch.Tensor:
    """Inner lips alone, so many pixels of 64 apart."""
    pose = torch.full((POINTS, 3), -1.0)
    pose[:, 2] = 0
    pose[INNER_LIPS, :2] = torch.tensor((x, y)) + MOUTH * torch.tensor((1.5, opening / 2)) / 64
    pose[INNER_LIPS, 2] = 1
    return pose


@pytest.mark.paper("MMGT-14")
@pytest.mark.parametrize(("height", "width"), [(512, 512), (400, 640)])
def test_at_full_size_it_is_what_dwpose_draws(height, width):
    pose = person()
    soft = draw_skeletons(pose, height, width)
    hard = torch.from_numpy(draw_pose(pose.numpy(), height, width)).permute(2, 0, 1) / 255
    assert soft.shape == hard.shape == (3, height, width)
    assert soft.min() >= 0
    assert soft.max() <= 1
    inked, drawn = soft.amax(0) > 0.25, hard.amax(0) > 0.25
    assert (inked & drawn).sum() / (inked | drawn).sum() > 0.8
    # Edges are soft here, and crossing fingers mix: colours agree where strokes are wide.
    wide = -torch.nn.functional.max_pool2d(-hard.amax(0)[None], 5, 1, 2)[0] > 0.25
    assert wide.sum() > 1000
    assert (soft - hard).abs()[:, wide].mean() < 0.04


@pytest.mark.paper("MMGT-14")
def test_an_opening_mouth_changes_the_picture_smoothly_at_64_pixels():
    openings = torch.linspace(0, 3, 61)
    pictures = draw_skeletons(torch.stack([mouth(float(o)) for o in openings]), 64, 64)
    steps = (pictures[1:] - pictures[:-1]).abs().amax((1, 2, 3))
    assert steps.max() < 0.06, "a twentieth of a pixel moves no value by more than that"
    moved = (pictures[1:] - pictures[:-1]).abs().sum((1, 2, 3))
    assert moved.min() > 0.02, "and none goes unseen"


@pytest.mark.paper("MMGT-14")
def test_the_centre_of_what_is_drawn_follows_a_point_by_fractions_of_a_pixel():
    at = torch.tensor([[0.500, 0.500], [0.504, 0.500], [0.504, 0.507], [0.512, 0.488]])
    pictures = draw_skeletons(torch.stack([mouth(0.8, float(x), float(y)) for x, y in at]), 64, 64)
    ink = pictures.mean(1)
    where = torch.arange(64) + 0.5
    centre = torch.stack([(ink * where).sum((1, 2)), (ink * where[:, None]).sum((1, 2))], 1) / ink.sum((1, 2))[:, None]
    torch.testing.assert_close(centre, 64 * at, atol=0.15, rtol=0)


def test_faint_missing_and_broken_points_are_not_drawn():
    pose = person().repeat(5, 1, 1)
    pose[1, :, 2] = 0.29
    pose[2] = torch.tensor((-1.0, -1.0, 0.0))
    pose[3] = torch.nan
    pose[4, :, :2] = 1e30
    ink = draw_skeletons(pose, 32, 48).flatten(1).sum(1)
    assert ink[0] > 0
    assert not ink[1:].any()
    pose = person()
    pose[:, 2] = 0
    pose[[LEFT_ELBOW, LEFT_WRIST], 2] = 1
    pose[LEFT_ELBOW, :2], pose[LEFT_WRIST, :2] = torch.tensor((0.5, 0.5)), torch.tensor((0.5, 1.5))
    picture = draw_skeletons(pose, 64, 64)
    assert picture[:, -1].any(), "a forearm that leads out of the picture is drawn to its edge"


def test_a_picture_depends_on_its_own_pose_alone_and_on_no_piece():
    poses = torch.stack([person(), mouth(1.0), person() * torch.tensor((0.5, 0.9, 1.0)), mouth(0.0)])
    together = draw_skeletons(poses.view(2, 2, POINTS, 3), 48, 64)
    assert together.shape == (2, 2, 3, 48, 64)
    for pose, picture in zip(poses, together.flatten(0, 1), strict=True):
        torch.testing.assert_close(draw_skeletons(pose, 48, 64), picture)
    many = draw_skeletons(poses[:1].repeat(130, 1, 1), 16, 16)
    assert torch.equal(many[0], many[-1])


def test_a_plan_gets_shapes_without_numbers():
    pose = torch.empty(2, 12, POINTS, 3, device="meta")
    assert draw_skeletons(pose, 512, 512).shape == (2, 12, 3, 512, 512)
