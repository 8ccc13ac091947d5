"""The perceptual loss, on a narrow VGG-19."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.losses.perceptual import PerceptualLoss, downsample
from models.losses.reconstruction import build_reconstruction_loss
from models.losses.vgg import VGGFeatures
from pretrained.frozen import freeze
from tests.models.pictures import noisy, pictures
from tests.vgg_files import TAPS, narrow_vgg, torchvision_state


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    narrow_vgg(monkeypatch)


@pytest.fixture
def features() -> VGGFeatures:
    return freeze(VGGFeatures(torchvision_state()))


def plain_features(frames: Tensor, state: dict[str, Tensor]) -> list[Tensor]:
    """relu1_1 to relu5_1, written out."""
    x = frames - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    x = x / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    found = []
    for number in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28):
        x = F.relu(F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1))
        if number in TAPS:
            found.append(x)
        if number in (2, 7, 16, 25):
            x = F.max_pool2d(x, 2)
    return found


def plain_downsample(frames: Tensor, scale: int) -> Tensor:
    """FOMM's ImagePyramid, but for its borders: a two-dimensional gaussian, then the nearest pixels."""
    if scale == 1:
        return frames
    sigma = (scale - 1) / 2
    size = 2 * round(sigma * 4) + 1
    at = torch.arange(size) - size // 2
    kernel = torch.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))[None, None]
    planes = frames.flatten(0, 1)[:, None]
    blurred = F.conv2d(planes, kernel, padding=size // 2) / F.conv2d(torch.ones_like(planes), kernel, padding=size // 2)
    return F.interpolate(blurred.view(frames.shape), scale_factor=1 / scale)


@pytest.mark.paper("IM-10")
@pytest.mark.parametrize(("size", "scales"), [(128, (1, 2, 4, 8)), (64, (1, 2, 4)), (16, (1,))])
def test_perceptual_loss_is_its_formula(features, size, scales):
    """At every scale that leaves 16 pixels, features of both pictures from plain convolutions."""
    state = torchvision_state()
    x, y = pictures(2, size), pictures(2, size, seed=1)
    loss = PerceptualLoss(features)
    expected = torch.zeros(())
    for scale in scales:
        small = [plain_downsample(p, scale) for p in (x, y)]
        for a, b in zip(*(plain_features(p, state) for p in small), strict=True):
            expected += (a - b).abs().mean()
    torch.testing.assert_close(loss(x, y), expected)


@pytest.mark.paper("IM-10")
def test_layers_and_scales_can_be_weighed(features):
    state, x, y = torchvision_state(), pictures(), pictures(seed=1)
    first, *_, last = zip(plain_features(x, state), plain_features(y, state), strict=True)
    found = PerceptualLoss(features, scales=(1,), layer_weights=(10, 0, 0, 0, 0.5))(x, y)
    torch.testing.assert_close(found, 10 * (first[0] - first[1]).abs().mean() + 0.5 * (last[0] - last[1]).abs().mean())


@pytest.mark.paper("IM-10")
def test_the_network_is_vgg19(monkeypatch):
    monkeypatch.undo()
    with torch.device("meta"):
        features = VGGFeatures({})(torch.zeros(1, 3, 64, 64))
    expected = [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4)]
    assert [tuple(f.shape[1:]) for f in features] == [(channels, side, side) for channels, side in expected]


def test_pictures_are_made_smaller_without_aliasing():
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::2] = 1  # every fourth or eighth of these pixels is white
    for scale in (4, 8):
        inside = downsample(stripes, scale)[..., 2:-2]
        torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=1e-3, rtol=0)


@pytest.mark.paper("IM-10")
def test_gradients_reach_the_generated_frames_only(features):
    loss = PerceptualLoss(features)
    x, y = pictures().requires_grad_(), pictures(seed=1).requires_grad_()
    loss(x, y).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())


def test_nothing_for_equal_frames_and_more_for_worse_ones(features):
    loss, y = PerceptualLoss(features), pictures()
    assert loss(y, y) == 0
    errors = [loss(noisy(y, strength), y).item() for strength in (0.02, 0.05, 0.1, 0.3)]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_regions_count_as_much_as_their_weight(features):
    loss, y = PerceptualLoss(features), pictures(1, 128)
    x, weight = y.clone(), torch.zeros(1, 1, 128, 128)
    x[..., :16, :16] = 1 - x[..., :16, :16]
    torch.testing.assert_close(loss(x, y, torch.full_like(weight, 3)), loss(x, y))
    near, far = weight.clone(), weight.clone()
    near[..., :16, :16], far[..., 96:, 96:] = 1, 1
    assert loss(x, y, near) > 3 * loss(x, y)
    assert loss(x, y, far) < loss(x, y) / 3


def test_half_precision(features):
    loss, y = PerceptualLoss(features), pictures()
    x = noisy(y, 0.1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(x, y)
    found.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(x, y).item(), rel=0.05)
    assert torch.isfinite(x.grad).all()
    assert loss.bfloat16()(x.bfloat16(), y.bfloat16()).item() == pytest.approx(found.item(), rel=0.05)


def test_what_does_not_go_together_is_told(features):
    loss = PerceptualLoss(features)
    with pytest.raises(ValueError, match="needs 16 a side"):
        loss(pictures(size=8), pictures(size=8))
    with pytest.raises(ValueError, match="one shape"):
        loss(pictures(1), pictures(2))
    with pytest.raises(ValueError, match="whole numbers"):
        PerceptualLoss(features, scales=(0.5,))
    with pytest.raises(ValueError, match="five layers"):
        PerceptualLoss(features, layer_weights=(1, 1))


def test_without_features_there_is_no_loss(features):
    assert isinstance(build_reconstruction_loss("vgg19", features), PerceptualLoss)
    with pytest.raises(ValueError, match="compares VGG-19's features: give them, or take 'structural'"):
        build_reconstruction_loss("vgg19")
