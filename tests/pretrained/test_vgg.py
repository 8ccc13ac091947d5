"""VGG-19 in the formats in which the real one is found; frozen, and never with random weights."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.losses.perceptual import PerceptualLoss
from pretrained.vgg import vgg_features
from settings import ConfigError
from tests.models.pictures import pictures
from tests.vgg_files import NARROW, narrow_vgg, torchvision_state
from trainers.stage.base import Stage


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    narrow_vgg(monkeypatch)


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save(torchvision_state(), path, _use_new_zipfile_serialization=False)  # as torchvision's was written
    return path


def test_frozen_and_in_evaluation_mode_for_good(weights):
    loss = PerceptualLoss(vgg_features(weights)).train()
    assert not any(module.training for module in loss.features.modules())
    assert not any(p.requires_grad for p in loss.parameters())


def test_its_weights_are_in_no_checkpoint(weights):
    class Painter(Stage):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Conv2d(3, 3, 1)
            self.loss = PerceptualLoss(vgg_features(weights))

    stage = Painter()
    checkpoint = {"state_dict": stage.state_dict()}
    stage.on_save_checkpoint(checkpoint)
    assert list(checkpoint["state_dict"]) == ["network.weight", "network.bias"]
    assert checkpoint["frozen"] == {"loss.features": vgg_features(weights).sha256}
    repeated = Painter()
    repeated.on_load_checkpoint(checkpoint)
    repeated.load_state_dict(checkpoint["state_dict"])


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
    found = PerceptualLoss(vgg_features(write(tmp_path, torchvision_state())))
    assert next(found.parameters()).dtype == torch.float32
    torch.testing.assert_close(
        found(x, y), PerceptualLoss(vgg_features(weights))(x, y), rtol=1e-2 if write is _half else 1e-6, atol=0
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
    torch.testing.assert_close(PerceptualLoss(vgg_features(name))(x, y), PerceptualLoss(vgg_features(weights))(x, y))


def test_one_network_has_one_hash_whatever_its_file(weights, tmp_path):
    assert vgg_features(weights).sha256 == vgg_features(_safetensors(tmp_path, torchvision_state())).sha256
    torch.save(torchvision_state(seed=1), weights)
    assert vgg_features(weights).sha256 != vgg_features(tmp_path).sha256


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
        tmp_path / "none.pth": "no such file",
        "vgg19-dcbb9e9d.pth": "no such file",
        "timm/vgg19.tv_in1k": "the hub does not give it",
        tmp_path / "cut.pth": "is no file of weights, or cut short",
        tmp_path / "page.pth": "is no file of weights, or cut short",
        tmp_path / "list.pth": "holds no named tensors",
        tmp_path / "empty": "holds no file of weights",
        tmp_path / "vgg16.pth": r"does not hold VGG-19: features\.",
        tmp_path / "other.pth": r"does not hold VGG-19: features\.0\.weight is \(4, 3, 3, 3\)",
    }
    for given, message in cases.items():
        with pytest.raises(ConfigError, match=message) as caught:
            vgg_features(given)
        assert "vgg19-dcbb9e9d.pth" in str(caught.value)
        assert "timm/vgg19.tv_in1k" in str(caught.value)


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
    with pytest.raises(ConfigError, match="is no file of weights"):
        vgg_features(tmp_path / "vgg19.pth")
    assert not (tmp_path / "ran").exists()
