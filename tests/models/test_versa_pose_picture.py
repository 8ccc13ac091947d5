"""Pictures of poses for VersaAnimator: the body below the neck, a disc for the head, and nothing of a face."""

import pytest
import torch

from models.human.keypoints import (
    FACE,
    HANDS,
    INNER_LIP_BOTTOM,
    JAW,
    LEFT_ELBOW,
    LEFT_SHOULDER,
    LEFT_WRIST,
    LIPS,
    NECK,
    NOSE,
    POINTS,
    RIGHT_ELBOW,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
)
from models.versa.video.pose_picture import STILL, draw_pose_pictures, face_middle

HEAD_POINTS = [*range(FACE.start, FACE.stop), NOSE, 14, 15, 16, 17]
"""All points of a pose that lie on a face: iBUG's, and the body's own nose, eyes and ears."""


def person(seed: int = 0) -> torch.Tensor:
    """A pose (134, 3), all seen, in steps of 1/1024, of which sums are exact."""
    random = torch.Generator().manual_seed(seed)

    def points(low: float, high: float, count: int) -> torch.Tensor:
        return (1024 * (low + (high - low) * torch.rand(count, 2, generator=random))).round() / 1024

    pose = torch.ones(POINTS, 3)
    pose[:24, :2] = points(0.1, 0.9, 24)
    pose[HEAD_POINTS, :2] = points(0.4, 0.6, len(HEAD_POINTS))
    pose[HANDS, :2] = points(0.6, 0.95, 42)
    return pose


def other_face(pose: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """Every point of the face somewhere else, but their middle where it was."""
    random, other = torch.Generator().manual_seed(seed), pose.clone()
    moved = (64 * torch.rand(len(HEAD_POINTS), 2, generator=random)).round() / 1024 + 2 / 1024
    other[HEAD_POINTS, :2] += moved
    still = list(STILL)
    away = (64 * torch.rand(len(still) // 2, 2, generator=random)).round() / 1024 + 2 / 1024
    other[still, :2] = pose[still, :2] + torch.cat([away, -away])
    return other


@pytest.mark.paper("VA-12")
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 80), (256, 144)])
def test_another_face_in_the_same_place_changes_no_pixel(height, width):
    pose = person()
    there = draw_pose_pictures(pose, height, width)
    assert there.shape == (3, height, width)
    for seed in range(1, 4):
        other = other_face(pose, seed)
        assert (other[HEAD_POINTS, :2] != pose[HEAD_POINTS, :2]).any(-1).all(), "every point of it has moved"
        assert torch.equal(face_middle(other), face_middle(pose))
        assert torch.equal(draw_pose_pictures(other, height, width), there)


@pytest.mark.paper("VA-12")
def test_speech_changes_no_pixel():
    """Lips and chin do not move the middle: the height of the disc tells nothing of a mouth."""
    pose, talking = person(), person()
    talking[LIPS.start + 2 : LIPS.stop, 1] += 0.03
    talking[INNER_LIP_BOTTOM, 1] += 0.05
    talking[JAW, 1] += 0.05
    assert torch.equal(draw_pose_pictures(talking, 64, 64), draw_pose_pictures(pose, 64, 64))


@pytest.mark.paper("VA-12")
def test_the_disc_has_one_size_and_follows_the_middle():
    pose = torch.full((3, POINTS, 3), -1.0)
    pose[..., 2] = 0
    pose[:, FACE] = torch.tensor((0.5, 0.25, 1.0))
    pose[1, FACE, 0] = 0.625
    pose[2, FACE, :2] += 0.05 * torch.randn(68, 2, generator=torch.Generator().manual_seed(0))  # a larger face
    pictures = draw_pose_pictures(pose, 64, 64)
    ink = pictures.mean(1)
    where = torch.arange(64) + 0.5
    x, y = ((ink * where).sum((1, 2)) / ink.sum((1, 2)), (ink * where[:, None]).sum((1, 2)) / ink.sum((1, 2)))
    middle = 64 * face_middle(pose)[:, :2]
    torch.testing.assert_close(torch.stack([x, y], 1), middle, atol=0.05, rtol=0)
    assert x[1] - x[0] == pytest.approx(8.0, abs=0.05)
    areas = ink.sum((1, 2))
    torch.testing.assert_close(areas, torch.full((3,), torch.pi * 4**2), rtol=0.05, atol=0)
    larger = draw_pose_pictures(pose, 64, 64, head=0.125).mean(1).sum((1, 2))
    torch.testing.assert_close(larger, torch.full((3,), torch.pi * 8**2), rtol=0.05, atol=0)


@pytest.mark.paper("VA-12")
@pytest.mark.parametrize(
    "point", [NECK, LEFT_SHOULDER, RIGHT_ELBOW, LEFT_WRIST, 8, 9, 10, 13, HANDS.start + 8, HANDS.stop - 1]
)
def test_every_part_of_the_body_below_is_seen(point):
    pose = person()
    other = pose.clone()
    other[point, :2] = torch.tensor((0.05, 0.9))
    assert (draw_pose_pictures(other, 64, 64) - draw_pose_pictures(pose, 64, 64)).abs().max() > 0.2


def test_a_head_that_is_not_seen_is_not_drawn_and_a_far_one_is_where_the_nose_is():
    pose = person()
    without = pose.clone()
    without[HEAD_POINTS, 2] = 0
    assert torch.equal(face_middle(without), torch.tensor((-1.0, -1.0, 0.0)))
    far = torch.full((POINTS, 3), -1.0)
    assert not draw_pose_pictures(far, 64, 64).any()
    far[NOSE] = torch.tensor((0.25, 0.25, 0.9))
    assert torch.equal(face_middle(far), torch.tensor((0.25, 0.25, 1.0)))
    assert draw_pose_pictures(far, 64, 64)[:, 14:18, 14:18].min() == 1
    broken = pose.clone()
    broken[FACE] = torch.nan
    assert draw_pose_pictures(broken, 64, 64).isfinite().all()
    assert torch.equal(face_middle(broken)[:2], pose[NOSE, :2])


@pytest.mark.paper("VA-16")
def test_head_half_body_and_whole_body_are_drawn_as_far_as_they_are_inside():
    """One person from nearer and nearer: what lies outside is cut off, and stays away from what is inside."""
    pose = torch.full((POINTS, 3), -1.0)
    pose[:, 2] = 0
    body = {
        NECK: (0.5, 0.2), RIGHT_SHOULDER: (0.45, 0.22), LEFT_SHOULDER: (0.55, 0.22), RIGHT_ELBOW: (0.42, 0.35),
        RIGHT_WRIST: (0.4, 0.48), LEFT_ELBOW: (0.58, 0.35), 8: (0.47, 0.5), 9: (0.47, 0.7), 10: (0.47, 0.9),
    }  # fmt: skip
    for point, place in body.items():
        pose[point] = torch.tensor((*place, 1.0))
    pose[FACE] = torch.tensor((0.5, 0.12, 1.0))
    for nearer in (1.0, 2.5, 6.0):
        near = pose.clone()
        seen = near[:, 2] > 0
        near[seen, :2] = (near[seen, :2] - torch.tensor((0.5, 0.12))) * nearer + torch.tensor((0.5, 0.3))
        picture = draw_pose_pictures(near, 128, 96)
        assert picture.isfinite().all()
        assert picture[:, round(0.3 * 128), 48].min() == 1, "the head"
        assert picture[:, round(0.3 * 128) + 8 :].any(), "and what is below it"
