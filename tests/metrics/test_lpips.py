"""LPIPS against a second implementation, on random backbones in torchvision's file format."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from torch.nn import functional as F

from metrics import LPIPS
from metrics.lpips import lpips_network
from settings import ConfigError

# Of each convolution: its number in torchvision's `features`, its channels, its kernel, stride and padding; whether its
# output is compared; whether a pooling goes before.
LAYERS = {
    "alex": [
        (0, 64, 11, 4, 2, True, False),
        (3, 192, 5, 1, 2, True, True),
        (6, 384, 3, 1, 1, True, True),
        (8, 256, 3, 1, 1, True, False),
        (10, 256, 3, 1, 1, True, False),
    ],
    "vgg": [
        (number, channels, 3, 1, 1, compared, pooled)
        for number, channels, compared, pooled in [
            (0, 64, False, False),
            (2, 64, True, False),
            (5, 128, False, True),
            (7, 128, True, False),
            (10, 256, False, True),
            (12, 256, False, False),
            (14, 256, True, False),
            (17, 512, False, True),
            (19, 512, False, False),
            (21, 512, True, False),
            (24, 512, False, True),
            (26, 512, False, False),
            (28, 512, True, False),
        ]
    ],
}
FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


@pytest.fixture(params=["alex", "vgg"])
def net(request) -> str:
    return request.param


@pytest.fixture
def weights(net, tmp_path) -> Path:
    """A file as torchvision's: `features` with random weights, and something of the classifier."""
    random = torch.Generator().manual_seed(0)
    state, before = {"classifier.6.bias": torch.zeros(1000)}, 3
    for number, channels, kernel, *_ in LAYERS[net]:
        scale = (2 / (before * kernel * kernel)) ** 0.5
        shape = (channels, before, kernel, kernel)
        state[f"features.{number}.weight"] = scale * torch.randn(shape, generator=random)
        state[f"features.{number}.bias"] = 0.1 * torch.randn(channels, generator=random)
        before = channels
    torch.save(state, tmp_path / FILES[net])
    return tmp_path / FILES[net]


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    return tuple(torch.from_numpy(random.integers(0, 256, (3, 3, 48, 40), dtype=np.uint8)) for _ in range(2))


def by_hand(one: torch.Tensor, other: torch.Tensor, net: str, weights: Path) -> np.ndarray:
    """LPIPS of frames (T, 3, H, W) in [0, 1], from the file's weights and the authors' heads."""
    state = torch.load(weights)
    heads = torch.load(Path(torchmetrics.__file__).parent / f"functional/image/lpips_models/{net}.pth", "cpu")
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    layers = []
    for frames in (one, other):
        x = (2 * frames - 1 - torch.from_numpy(shift)[:, None, None]) / torch.from_numpy(scale)[:, None, None]
        features = []
        for number, _, _, stride, padding, compared, pooled in LAYERS[net]:
            if pooled:
                x = F.max_pool2d(x, 3, 2) if net == "alex" else F.max_pool2d(x, 2, 2)
            kernel, bias = (state[f"features.{number}.{part}"].double() for part in ("weight", "bias"))
            x = F.conv2d(x, kernel, bias, stride, padding).clamp(min=0)
            if compared:
                features.append(x.numpy())
        layers.append(features)
    total = 0.0
    for level, (f, g) in enumerate(zip(*layers, strict=True)):
        f, g = (h / np.sqrt((h**2).sum(1, keepdims=True) + 1e-8) for h in (f, g))
        head = heads[f"lin{level}.model.1.weight"].double().numpy()[0]
        total = total + (head * (f - g) ** 2).sum(1).mean((1, 2))
    return total


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("IM-19")
def test_equals_a_second_implementation(net, weights, clips):
    metric = LPIPS(weights, net, batch=2)
    metric.update(*clips)
    expected = by_hand(clips[0].double() / 255, clips[1].double() / 255, net, weights)
    assert expected.min() > 0.05
    assert metric.compute().item() == pytest.approx(expected.mean(), rel=1e-4)


def test_says_which_weights_made_it(net, weights):
    metric = LPIPS(weights, net)
    assert metric.label == f"LPIPS ({net}) (other weights)"
    assert FILES[net] in str(metric.source)
    assert not metric.source.standard


@pytest.mark.parametrize("net", ["alex"], indirect=True)
def test_equal_frames_are_at_zero_and_frames_count_alike(net, weights, clips):
    network = lpips_network(weights, net)
    metric = LPIPS(network)
    metric.update(clips[0], clips[0])
    assert metric.compute().item() == pytest.approx(0, abs=1e-7)
    whole, parts = LPIPS(network), LPIPS(network)
    whole.update(*clips)
    parts.update(clips[0][:1], clips[1][:1])
    parts.update(clips[0][1:] / 255, clips[1][1:])
    assert parts.compute().item() == pytest.approx(whole.compute().item(), rel=1e-4)


@pytest.mark.parametrize("net", ["alex"], indirect=True)
def test_what_cannot_be_used_is_named(net, weights, tmp_path):
    with pytest.raises(ConfigError, match=r"alexnet-owt-7be5be79\.pth: https://download\.pytorch\.org"):
        LPIPS(tmp_path / "nowhere.pth")
    with pytest.raises(ConfigError, match=r"another network .*vgg16-397923af\.pth"):
        LPIPS(weights, "vgg")
    with pytest.raises(ValueError, match="alex or vgg"):
        LPIPS(weights, "resnet")
    with pytest.raises(ValueError, match="32 pixels"):
        LPIPS(weights).update(torch.zeros(1, 3, 16, 64), torch.zeros(1, 3, 16, 64))
