"""FID: features against a second Inception, distance against scipy, on random weights in the published format."""

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torch.nn import functional as F

from metrics import FID
from pretrained.inception import Inception
from settings import ConfigError


class Pools:
    """`torch.nn.functional` with the pooling of the FID's Inception: padding is not counted; the last one is a max."""

    last = False

    def __getattr__(self, name):
        return getattr(F, name)

    def avg_pool2d(self, *arguments, **options):
        return F.max_pool2d(*arguments, **options) if self.last else F.avg_pool2d(
            *arguments, count_include_pad=False, **options
        )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """torchvision's Inception-v3 with the FID's 1008 classes, random weights that keep the size of activations."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(num_classes=1008, aux_logits=False, init_weights=False).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
    return network


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), path)
    return path


def resized(frames: np.ndarray) -> np.ndarray:
    """(T, 3, H, W) to 299 x 299 as TensorFlow 1 did it: corners are not aligned, and neither are centres."""
    for axis in (2, 3):
        at = np.arange(299) * np.float32(frames.shape[axis] / 299)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, frames.shape[axis] - 1)
        part = (at - low).reshape((-1, 1) if axis == 2 else (-1,))
        frames = frames.take(low, axis) * (1 - part) + frames.take(high, axis) * part
    return frames


@torch.no_grad()
def second_features(network: nn.Module, frames: torch.Tensor, monkeypatch) -> torch.Tensor:
    pools = Pools()
    monkeypatch.setattr("torchvision.models.inception.F", pools)
    network.Mixed_7c.register_forward_pre_hook(lambda *_: setattr(pools, "last", True))
    network.fc = nn.Identity()
    return network(torch.from_numpy((resized(frames.double().numpy()) - 128) / 128).float())


@pytest.mark.paper("IM-19")
def test_features_equal_a_second_inception(weights, network, monkeypatch):
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 61, 45), dtype=np.uint8))
    first = Inception(weights)(frames)
    second = second_features(network, frames, monkeypatch)
    assert first.shape == (2, 2048)
    assert second.std() > 0.1
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3 * second.abs().max().item())


def test_says_which_weights_made_it(weights):
    metric = FID(weights)
    assert metric.label == "FID (other weights)"
    assert "pt_inception-2015-12-05-6726825d.pth" in str(metric.source)
    assert metric.features == 2048


class Colours(nn.Module):
    """Mean and spread of each channel: six features that can be worked out by hand."""

    features = 6

    def forward(self, frames):
        assert frames.dtype == torch.uint8
        return torch.cat([frames.float().mean((2, 3)), frames.float().std((2, 3))], 1)


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    output = random.integers(0, 256, (40, 3, 8, 8))
    true = np.clip(random.normal(100, 60, (30, 3, 8, 8)), 0, 255)
    return torch.from_numpy(output.astype(np.uint8)), torch.from_numpy(true.astype(np.uint8))


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("VA-17")
@pytest.mark.paper("IM-19")
def test_distance_equals_scipys(clips):
    metric = FID(Colours(), batch=7)
    features = []
    for clip, generated in zip(clips, (True, False)):
        for part in clip.split(11):
            metric.update(part, generated=generated)
        features.append(Colours()(clip).double().numpy())
    a, b = features
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(0) - b.mean(0)
    root = scipy.linalg.sqrtm(covariance_a @ covariance_b).real
    expected = gap @ gap + np.trace(covariance_a + covariance_b - 2 * root)
    assert metric.compute().item() == pytest.approx(expected, rel=1e-5)
    assert metric.source.what == "Colours"


def test_floats_are_rounded_to_bytes(clips):
    output, true = clips
    one, other = FID(Colours()), FID(Colours())
    off = torch.where(output > 0, -0.4, 0.4)
    for metric, frames in ((one, output), (other, (output + off) / 255)):
        metric.update(frames, generated=True)
        metric.update(true, generated=False)
    assert other.compute().item() == pytest.approx(one.compute().item())


def test_without_torch_fidelity_it_says_what_to_install(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match="pip install torch-fidelity"):
        FID(weights)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"pt_inception-2015-12-05-6726825d\.pth: https://github\.com/mseitzer"):
        FID(tmp_path / "nowhere.pth")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="another network"):
        FID(tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"\(T, 3, height, width\)"):
        FID(Colours()).update(torch.zeros(3, 8, 8), generated=True)
