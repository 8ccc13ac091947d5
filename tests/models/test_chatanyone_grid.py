"""Head points between a frame as the template measures it and the renderer's grid (CA-1, CA-9)."""

import pytest
import torch

from datamodules.clip import ClipInfo
from datamodules.media.fitting import Fit
from models.chatanyone.grid import landmark_heads, to_grid
from models.chatanyone.head import INDICES
from models.human.keypoints import FACE, POINTS
from preprocessing.head.points import in_frames, seen_face
from tests.heads import coefficients, keypoints, template


def clip(height: int, width: int) -> ClipInfo:
    return ClipInfo(id="a", source="a.mp4", end=1, fps=25, frames=1, height=height, width=width)


@pytest.mark.paper("CA-1", "CA-9")
@pytest.mark.parametrize(("height", "width"), [(64, 64), (768, 512), (480, 854)])
def test_the_grid_is_the_frame_whatever_its_shape(height, width):
    corner = torch.tensor([[0.0, 0.0, 0.0], [width / height, 1.0, 0.0], [width / height / 2, 0.5, 0.1]])
    wanted = torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.2]])
    torch.testing.assert_close(to_grid(corner, width / height), wanted)
    torch.testing.assert_close(
        to_grid(corner.expand(2, 3, 3), torch.tensor([width / height] * 2)), wanted.expand(2, 3, 3)
    )


@pytest.mark.paper("CA-1")
@pytest.mark.parametrize(("height", "width"), [(64, 64), (768, 512), (480, 854)])
@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_the_templates_points_are_where_the_landmarks_are(height, width, mode):
    """A head of known coefficients is seen in an oblong frame, which is fitted into another shape: landmarks go by the
    frames' own way, the template's points by the grid's."""
    info, head = clip(height, width), template()
    expression, pose, identity = coefficients(7)
    face = head.landmarks(expression, pose, identity.expand(7, -1))
    marked = keypoints(face[..., :2] / torch.tensor([width / height, 1.0]))
    torch.testing.assert_close(seen_face(info, marked).points, face[..., :2].double())  # as the fit sees it
    fit = Fit.of(height, width, (96, 64), mode)
    poses = torch.zeros(7, POINTS, 3)
    poses[:, FACE, :2] = torch.from_numpy(fit.moved(marked["keypoints"])[:, FACE])
    poses[:, FACE, 2] = 1
    by_landmarks = landmark_heads(poses)
    points = in_frames(head(expression, pose, identity.expand(7, -1)), info, fit)
    torch.testing.assert_close(points[..., :2], by_landmarks.points[..., :2], atol=2e-3, rtol=0)
    assert by_landmarks.seen.all()
    if not fit.changes:
        torch.testing.assert_close(points, in_frames(head(expression, pose, identity.expand(7, -1)), info))
    # Depth is scaled as much as height is.
    deep = 2 * head(expression, pose, identity.expand(7, -1))[..., 2] * fit.scaled[0] / 96
    torch.testing.assert_close(points[..., 2], deep)


def test_both_sources_have_the_same_points():
    pose = torch.rand(2, POINTS, 3)
    points = landmark_heads(pose).points
    torch.testing.assert_close(points[..., :2], 2 * pose[:, list(INDICES), :2] - 1)
    assert template().points == points.shape[1]
