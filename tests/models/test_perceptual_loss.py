"""The perceptual loss, on a narrow VGG-19 saved in the formats in which the real one is found."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm.models.vgg
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from models.losses.perceptual import PerceptualLoss, downsample
from models.losses.reconstruction import build_reconstruction_loss
from models.losses.vgg import VGGFeatures, WeightsError
from tests.models.pictures import noisy, pictures
from trainers.stage.base import Stage

NARROW = [8, 8, "M", 8, 8, "M", 12, 12, 12, 12, "M", 12, 12, 12, 12, "M", 12, 12, 12, 12, "M"]
TAPS = (0, 5, 10, 19, 28)
"""Numbers, in torchvision's `features`, of conv1_1, conv2_1, conv3_1, conv4_1 and conv5_1."""


@pytest.fixture(autouse=True)
def narrow_vgg(monkeypatch):
    """The same layers with a few channels each: the real weights are 574 MB."""
    monkeypatch.setitem(timm.models.vgg.cfgs, "vgg19", NARROW)


def torchvision_state(layout: list = NARROW, seed: int = 0) -> dict[str, Tensor]:
    """Random weights named as in torchvision's files, a classifier among them."""
    g = torch.Generator().manual_seed(seed)
    state, number, before = {}, 0, 3
    for width in layout:
        if width == "M":
            number += 1
            continue
        state[f"features.{number}.weight"] = torch.randn(width, before, 3, 3, generator=g) * (2 / (9 * before)) ** 0.5
        state[f"features.{number}.bias"] = torch.randn(width, generator=g) * 0.1
        before, number = width, number + 2
    return state | {"classifier.0.weight": torch.randn(5, 5), "classifier.0.bias": torch.randn(5)}


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save(torchvision_state(), path, _use_new_zipfile_serialization=False)  # as torchvision's was written
    return path


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
def test_perceptual_loss_is_its_formula(weights, size, scales):
    """At every scale that leaves 16 pixels, features of both pictures from plain convolutions."""
    state = torchvision_state()
    x, y = pictures(2, size), pictures(2, size, seed=1)
    loss = PerceptualLoss(weights)
    expected = torch.zeros(())
    for scale in scales:
        small = [plain_downsample(p, scale) for p in (x, y)]
        for a, b in zip(*(plain_features(p, state) for p in small), strict=True):
            expected += (a - b).abs().mean()
    torch.testing.assert_close(loss(x, y), expected)


@pytest.mark.paper("IM-10")
def test_layers_and_scales_can_be_weighed(weights):
    state, x, y = torchvision_state(), pictures(), pictures(seed=1)
    first, *_, last = zip(plain_features(x, state), plain_features(y, state), strict=True)
    found = PerceptualLoss(weights, scales=(1,), layer_weights=(10, 0, 0, 0, 0.5))(x, y)
    torch.testing.assert_close(found, 10 * (first[0] - first[1]).abs().mean() + 0.5 * (last[0] - last[1]).abs().mean())


@pytest.mark.paper("IM-10")
def test_the_network_is_vgg19(monkeypatch):
    monkeypatch.undo()
    with torch.device("meta"):
        features = VGGFeatures("any")(torch.zeros(1, 3, 64, 64))
    expected = [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4)]
    assert [tuple(f.shape[1:]) for f in features] == [(channels, side, side) for channels, side in expected]


def test_pictures_are_made_smaller_without_aliasing():
    stripes = torch.zeros(1, 1, 64, 64)
    stripes[..., ::2] = 1  # every fourth or eighth of these pixels is white
    for scale in (4, 8):
        inside = downsample(stripes, scale)[..., 2:-2]
        torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=1e-3, rtol=0)


@pytest.mark.paper("IM-10")
def test_gradients_reach_the_generated_frames_only(weights):
    loss = PerceptualLoss(weights)
    x, y = pictures().requires_grad_(), pictures(seed=1).requires_grad_()
    loss(x, y).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())


def test_nothing_for_equal_frames_and_more_for_worse_ones(weights):
    loss, y = PerceptualLoss(weights), pictures()
    assert loss(y, y) == 0
    errors = [loss(noisy(y, strength), y).item() for strength in (0.02, 0.05, 0.1, 0.3)]
    assert errors == sorted(errors)
    assert errors[0] > 0


def test_regions_count_as_much_as_their_weight(weights):
    loss, y = PerceptualLoss(weights), pictures(1, 128)
    x, weight = y.clone(), torch.zeros(1, 1, 128, 128)
    x[..., :16, :16] = 1 - x[..., :16, :16]
    torch.testing.assert_close(loss(x, y, torch.full_like(weight, 3)), loss(x, y))
    near, far = weight.clone(), weight.clone()
    near[..., :16, :16], far[..., 96:, 96:] = 1, 1
    assert loss(x, y, near) > 3 * loss(x, y)
    assert loss(x, y, far) < loss(x, y) / 3


def test_half_precision(weights):
    loss, y = PerceptualLoss(weights), pictures()
    x = noisy(y, 0.1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(x, y)
    found.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(x, y).item(), rel=0.05)
    assert torch.isfinite(x.grad).all()
    assert loss.bfloat16()(x.bfloat16(), y.bfloat16()).item() == pytest.approx(found.item(), rel=0.05)


def test_frozen_and_in_evaluation_mode_for_good(weights):
    loss = PerceptualLoss(weights).train()
    assert not any(module.training for module in loss.features.modules())


def test_its_weights_are_in_no_checkpoint(weights):
    class Painter(Stage):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Conv2d(3, 3, 1)
            self.loss = PerceptualLoss(weights)

    stage = Painter()
    checkpoint = {"state_dict": stage.state_dict()}
    stage.on_save_checkpoint(checkpoint)
    assert list(checkpoint["state_dict"]) == ["network.weight", "network.bias"]
    again = Painter()
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])


def _zip(folder: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, folder / "vgg.pth")
    return folder / "vgg.pth"


def _safetensors(folder: Path, state: dict[str, Tensor]) -> Path:
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def _folder(folder: Path, state: dict[str, Tensor]) -> Path:
    return _safetensors(folder, state).parent


def _half(folder: Path, state: dict[str, Tensor]) -> Path:
    return _safetensors(folder, {name: value.half() for name, value in state.items()})


@pytest.mark.parametrize("write", [_zip, _safetensors, _folder, _half])
def test_weights_in_the_formats_in_which_they_are_found(weights, write, tmp_path):
    x, y = pictures(), pictures(seed=1)
    found = PerceptualLoss(write(tmp_path, torchvision_state()))
    assert next(found.parameters()).dtype == torch.float32
    torch.testing.assert_close(
        found(x, y), PerceptualLoss(weights)(x, y), rtol=1e-2 if write is _half else 1e-6, atol=0
    )


@pytest.mark.parametrize("name", ["timm/vgg19.tv_in1k", "hf-hub:timm/vgg19.tv_in1k", "vgg19.tv_in1k"])
def test_weights_by_name_from_what_was_downloaded(name, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--timm--vgg19.tv_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    _safetensors(snapshot, torchvision_state())
    x, y = pictures(), pictures(seed=1)
    torch.testing.assert_close(PerceptualLoss(name)(x, y), PerceptualLoss(weights)(x, y))


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    """Never random ones instead: each message says where the trained ones are."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    whole = _zip(tmp_path, torchvision_state()).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.pth").write_text("<html>404</html>")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "empty").mkdir()
    without = [*NARROW[:7], "M", *NARROW[8:]]
    torch.save(torchvision_state(without), tmp_path / "vgg16.pth")
    torch.save(torchvision_state([4, *NARROW[1:]]), tmp_path / "other.pth")
    cases = {
        None: "needs trained weights",
        tmp_path / "none.pth": "no file",
        "vgg19-dcbb9e9d.pth": "no file",
        "timm/vgg19.tv_in1k": "cannot be downloaded",
        tmp_path / "cut.pth": "cannot be read",
        tmp_path / "page.pth": "cannot be read",
        tmp_path / "list.pth": "state dict",
        tmp_path / "empty": "no model.safetensors",
        tmp_path / "vgg16.pth": r"does not hold VGG-19: features\.",
        tmp_path / "other.pth": r"does not hold VGG-19: features\.0\.weight is \(4, 3, 3, 3\)",
    }
    for given, message in cases.items():
        with pytest.raises(WeightsError, match=message) as caught:
            build_reconstruction_loss("vgg19", given)
        assert "vgg19-dcbb9e9d.pth" in str(caught.value)
        assert "timm/vgg19.tv_in1k" in str(caught.value)


def test_what_does_not_go_together_is_told(weights):
    loss = PerceptualLoss(weights)
    with pytest.raises(ValueError, match="needs 16 a side"):
        loss(pictures(size=8), pictures(size=8))
    with pytest.raises(ValueError, match="one shape"):
        loss(pictures(1), pictures(2))
    with pytest.raises(ValueError, match="whole numbers"):
        PerceptualLoss(weights, scales=(0.5,))
    with pytest.raises(ValueError, match="five layers"):
        PerceptualLoss(weights, layer_weights=(1, 1))


class _Touch:
    """Makes a file when it is unpickled, as code in a weights file of somebody else's might."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_weights_file_runs_no_code(zipped, tmp_path):
    state = {**torchvision_state(), "note": _Touch(tmp_path / "ran")}
    torch.save(state, tmp_path / "vgg19.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="cannot be read"):
        VGGFeatures(tmp_path / "vgg19.pth")
    assert not (tmp_path / "ran").exists()
