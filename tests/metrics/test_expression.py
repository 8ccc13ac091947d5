"""E-FID on random weights in the published format, and the distance of key points that stands in for it."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.transform import Rotation
from torch import nn

from metrics import EFID, ExpressionDistance
from metrics.expression import MOVING, Deep3D, expression_of
from metrics.faces import DEEP3D_POINTS, deep3d_crops
from models.human.canonical_face import CANONICAL, RIGID
from settings import ConfigError

# Order and sizes as in Deep3DFaceRecon's networks.py: identity, expression, texture, angles, light, place, depth.
HEADS = (80, 64, 80, 3, 27, 2, 1)


def face(scale: float, x: float, y: float) -> np.ndarray:
    """A face (68, 2) in pixels whose five points are the mean face's, scaled and shifted, without perspective."""
    five = DEEP3D_POINTS[:, :2] * (scale, -scale) + (x, y)
    points = np.full((68, 2), (x, y), float)
    points[[36, 39]], points[[42, 45]] = five[0], five[1]
    points[30], points[48], points[54] = five[2], five[3], five[4]
    return points


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    backbone = resnet50(weights=None)
    output = {f"backbone.{name}": value for name, value in backbone.state_dict().items() if not name.startswith("fc.")}
    for number, size in enumerate(HEADS):
        output[f"final_layers.{number}.weight"] = torch.randn(size, 2048, 1, 1) * 0.01
        output[f"final_layers.{number}.bias"] = torch.randn(size)
    return output


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "epoch_20.pth"
    torch.save({"net_recon": state, "opt_00": {"state": {}, "param_groups": [{"lr": 1e-4}]}}, path)
    return path


@pytest.mark.paper("VA-17")
def test_the_second_group_of_coefficients_is_the_expression(weights, state):
    from torchvision.models import resnet50

    network = Deep3D(weights)
    faces = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), dtype=np.uint8))
    found = network(faces)
    assert found.shape == (2, 64)
    whole = resnet50(weights=None, num_classes=sum(HEADS)).eval()
    own = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    own["fc.weight"] = torch.cat([state[f"final_layers.{i}.weight"].flatten(1) for i in range(7)])
    own["fc.bias"] = torch.cat([state[f"final_layers.{i}.bias"] for i in range(7)])
    whole.load_state_dict(own)
    with torch.no_grad():
        expected = whole(faces.float() / 255)[:, 80:144]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not network.training
    assert EFID(network).label == "E-FID (other weights)"
    assert "epoch_20.pth" in str(EFID(network).source)


class Colours(nn.Module):
    features = 6

    def forward(self, faces):
        assert faces.dtype == torch.uint8
        assert faces.shape[1:] == (3, 224, 224)
        return torch.cat([faces.float().mean((2, 3)), faces.float().std((2, 3))], 1)


@pytest.mark.paper("VA-17")
def test_e_fid_is_the_frechet_distance_of_what_the_network_says_of_each_face():
    random = np.random.default_rng(0)
    metric, features = EFID(Colours(), batch=3), []
    for generated, count in ((True, 9), (False, 12)):
        frames = random.integers(0, 256, (count, 3, 60, 80), dtype=np.uint8)
        points = np.stack([face(30, 35 + i, 30) for i in range(count)]) / (80, 60)
        points[2] = np.nan
        metric.update(torch.from_numpy(frames), points, generated=generated)
        kept = np.arange(count) != 2
        crops = deep3d_crops(frames[kept].transpose(0, 2, 3, 1), points[kept])
        features.append(Colours()(torch.from_numpy(crops).permute(0, 3, 1, 2)).double().numpy())
    a, b = features
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariance_a + covariance_b - 2 * root)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-4)
    assert (metric.missed, metric.unseen) == (1, 1)
    assert (metric.generated_count, metric.truth_count) == (8, 11)


def test_a_face_is_cut_so_that_the_mean_face_has_its_place_and_size():
    width, height = 400, 300
    points, frame = face(90, 150, 140), np.zeros((height, width, 3), np.uint8)
    for number in (36, 30, 48, 54):
        x, y = points[number].round().astype(int)
        frame[y - 1 : y + 2, x - 1 : x + 2] = 255
    crop = deep3d_crops(frame[None], points[None] / (width, height))[0]
    assert crop.shape == (224, 224, 3)
    for number, (x, y, _) in zip((36, 30, 48, 54), DEEP3D_POINTS[[0, 2, 3, 4]]):
        at = np.array([112 + 102 * x, 112 - 102 * y])
        around = crop[int(at[1]) - 6 : int(at[1]) + 7, int(at[0]) - 6 : int(at[0]) + 7, 0].astype(float)
        rows, columns = np.mgrid[: len(around), : around.shape[1]]
        found = np.array([(around * columns).sum(), (around * rows).sum()]) / around.sum()
        np.testing.assert_allclose(found - 6 + at.astype(int), at, atol=2.0, err_msg=f"point {number}")
    beyond = deep3d_crops(np.full((1, 50, 50, 3), 200, np.uint8), face(90, 5, 5)[None] / 50)[0]
    assert (beyond[:100, :100] == 0).all(), "black outside the frame"


def neutral() -> np.ndarray:
    """A face (68, 3) as a camera sees it: x to the right, y down, z away."""
    points = np.random.default_rng(0).normal(0, 3, (68, 3))
    points[list(RIGID)] = CANONICAL
    return points * (1, -1, -1)


def test_the_heads_own_movement_is_no_expression():
    face, random = neutral(), np.random.default_rng(1)
    turned = np.stack(
        [
            random.uniform(0.1, 9) * face @ Rotation.from_rotvec(random.normal(0, 0.5, 3)).as_matrix().T
            + random.normal(0, 50, 3)
            for _ in range(10)
        ]
    )
    found = expression_of(turned)
    assert found.shape == (10, 2 * len(MOVING)) == (10, 84)
    np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=1e-6)
    np.testing.assert_allclose(found[0].reshape(-1, 2), (face * (1, -1, -1))[list(MOVING), :2], atol=1e-6)
    turned[3, 57] += turned[3, 8] - turned[3, 27]  # the lower lip
    assert np.abs(expression_of(turned)[3] - found[3]).max() > 0.5
    turned[4, 8] += 5  # the chin is not among what is looked at
    np.testing.assert_allclose(expression_of(turned)[4], found[4], atol=1e-6)


@pytest.mark.paper("VA-17")
def test_what_stands_in_for_e_fid_has_another_name_and_the_right_order():
    random = np.random.default_rng(0)
    speaking = np.repeat(neutral()[None], 40, 0)
    speaking[:, 48:68, 1] += random.normal(0, 0.5, (40, 1))

    def distance(generated: np.ndarray) -> float:
        metric = ExpressionDistance("MediaPipe face mesh")
        assert "E-FID" not in metric.label
        assert metric.label == "Expression distance (MediaPipe face mesh)"
        metric.update(generated, generated=True)
        metric.update(speaking, generated=False)
        return metric.compute().item()

    noisy, still = speaking + random.normal(0, 0.5, speaking.shape), np.repeat(neutral()[None], 40, 0)
    tilted = speaking @ Rotation.from_rotvec([0.1, 0.4, 0.2]).as_matrix().T + (30, 10, 5)
    assert distance(speaking) == pytest.approx(0, abs=1e-6)
    assert distance(tilted) == pytest.approx(0, abs=1e-6)
    assert min(distance(noisy), distance(still)) > 1


def test_what_cannot_be_used_is_named(tmp_path, state):
    with pytest.raises(ConfigError, match=r"Deep3DFaceRecon's ResNet-50 is epoch_20\.pth: https://github\.com"):
        EFID(tmp_path / "nowhere.pth")
    torch.save({"net_recon": {"backbone.conv1.weight": torch.zeros(1)}}, tmp_path / "small.pth")
    with pytest.raises(ConfigError, match="another network"):
        Deep3D(tmp_path / "small.pth")
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="nothing under 'net_recon'"):
        Deep3D(tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"faces are \(2, 68, 2 or 3\)"):
        EFID(Colours()).update(torch.zeros(2, 3, 8, 8), np.zeros((2, 5, 2)), generated=True)
    metric = EFID(Colours())
    metric.update(torch.zeros(2, 3, 8, 8), np.full((2, 68, 2), np.nan), generated=True)
    assert torch.isnan(metric.compute())
