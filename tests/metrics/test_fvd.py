"""FVD on a small TorchScript that is called as StyleGAN-V's I3D is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metrics import FVD, I3DFID, KVD, FrechetDistance, KernelDistance
from pretrained.i3d import I3D
from settings import ConfigError


class Detector(nn.Module):
    """Takes and gives what `i3d_torchscript.pt` does: (N, 3, T, H, W) from 0 to 255, 400 features."""

    def __init__(self, features: int = 400):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(features, 3 * 4 * 2 * 2, generator=generator))

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
        if rescale:
            x = x / 127.5 - 1
        if resize:
            x = F.interpolate(x, size=[x.shape[2], 8, 8], mode="trilinear", align_corners=False)
        features = F.adaptive_avg_pool3d(x, [4, 2, 2]).flatten(1) @ self.weight.t()
        return features if return_features else features.softmax(1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "i3d_torchscript.pt"
    torch.jit.script(Detector()).save(str(path))
    return path


@pytest.fixture
def clips() -> list[torch.Tensor]:
    random = np.random.default_rng(0)
    return [torch.from_numpy(random.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)) for n in (40, 33, 70, 16)]


def features(windows: list[torch.Tensor]) -> torch.Tensor:
    """By hand: windows (16, 3, 8, 8) to features."""
    video = torch.stack(windows).transpose(1, 2).double() / 127.5 - 1
    with torch.no_grad():
        video = F.interpolate(video, size=(16, 8, 8), mode="trilinear", align_corners=False)
        blocks = video.reshape(len(windows), 3, 4, 4, 2, 4, 2, 4).mean((3, 5, 7))
        return blocks.flatten(1) @ Detector().weight.double().T


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("VA-17")
@pytest.mark.paper("IM-19")
def test_is_the_frechet_distance_of_i3ds_features_of_whole_windows(weights, clips):
    metric, by_hand = FVD(weights, batch=3), FrechetDistance(400)
    for index, clip in enumerate(clips):
        metric.update(clip, generated=index < 2)
        whole = [clip[start : start + 16] for start in range(0, len(clip) - 15, 16)]
        by_hand.update(features(whole), generated=index < 2)
    assert metric.generated_count == 2 + 2
    assert metric.truth_count == 4 + 1
    assert metric.compute().item() == pytest.approx(by_hand.compute().item(), rel=1e-4)
    assert metric.compute() > 1


def test_stride_makes_windows_overlap_and_short_clips_are_counted(weights, clips):
    metric = FVD(weights, stride=8)
    metric.update(clips[0], generated=True)
    metric.update(clips[0][:15], generated=True)
    assert metric.generated_count == 4
    assert metric.short == 1


def test_order_of_frames_matters(weights, clips):
    """FID would not see it."""
    metric = FVD(weights)
    for clip in clips:
        metric.update(clip, generated=False)
        metric.update(clip, generated=True)
    assert metric.compute().item() == pytest.approx(0, abs=1e-4)
    brighter = [torch.arange(16, dtype=torch.uint8)[:, None, None, None].expand(16, 3, 8, 8) * 16] * 2
    rising, falling = FVD(weights), FVD(weights)
    for metric, clip in ((rising, brighter), (falling, [clip.flip(0) for clip in brighter])):
        for one in clip:
            metric.update(one, generated=True)
        for one in brighter:
            metric.update(one, generated=False)
    assert falling.compute() > rising.compute() + 1


def test_says_which_weights_made_it(weights):
    assert FVD(weights).label == "FVD (other weights)"
    assert "i3d_torchscript.pt" in str(FVD(weights).source)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"i3d_torchscript\.pt: StyleGAN-V"):
        FVD(tmp_path / "nowhere.pt")
    (tmp_path / "broken.pt").write_bytes(b"<html>")
    with pytest.raises(ConfigError, match="no TorchScript"):
        FVD(tmp_path / "broken.pt")
    torch.jit.script(Detector(10)).save(str(tmp_path / "small.pt"))
    with pytest.raises(ConfigError, match=r"gives features \(1, 10\)"):
        I3D(tmp_path / "small.pt")(torch.zeros(1, 16, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least 1 frame"):
        FVD(tmp_path / "small.pt", stride=0)


@pytest.mark.paper("MMGT-23")
def test_kvd_is_the_kernel_distance_of_the_same_features(weights, clips):
    metric, by_hand = KVD(weights, batch=3), KernelDistance(400)
    features = I3D(weights)
    for index, clip in enumerate(clips):
        metric.update(clip, generated=index < 2)
        whole = [clip[start : start + 16] for start in range(0, len(clip) - 15, 16)]
        if whole:
            by_hand.update(features(torch.stack([torch.as_tensor(one) for one in whole])), generated=index < 2)
    assert metric.compute().item() == pytest.approx(by_hand.compute().item(), rel=1e-6)
    assert metric.label == "KVD (other weights)"


@pytest.mark.paper("MMGT-23")
def test_fid_on_i3d_sees_single_frames_that_stand_still(weights, clips):
    metric, by_hand = I3DFID(weights, batch=2), FrechetDistance(400)
    for index, clip in enumerate(clips):
        metric.update(clip, generated=index < 2)
        still = [clip[start : start + 1].expand(16, -1, -1, -1) for start in range(0, len(clip) - 15, 16)]
        by_hand.update(features(still), generated=index < 2)
    assert (metric.generated_count, metric.truth_count) == (2 + 2, 4 + 1)
    assert metric.compute().item() == pytest.approx(by_hand.compute().item(), rel=1e-4)
    assert metric.compute() > 1
    assert metric.label == "FID (I3D) (other weights)"
    # What FVD sees and FID does not: the same first frames, and then another movement.
    moving, still = I3DFID(weights), FVD(weights)
    for clip in clips:
        other = torch.cat([part.roll(-1, 0).roll(1, 0)[[0, *range(15, 0, -1)]] for part in clip[:16].split(16)])
        for one in (moving, still):
            one.update(clip[:16], generated=False)
            one.update(other, generated=True)
    assert moving.compute().item() == pytest.approx(0, abs=1e-4)
    assert still.compute() > 1e-3
