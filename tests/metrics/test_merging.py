"""Every measure of videos says the same on one process and on several that share the clips out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing import spawn

from metrics import (  # fmt: skip
    CSIM,
    EFID,
    FID,
    FVD,
    I3DFID,
    KVD,
    LPIPS,
    PSNR,
    SSIM,
    TGD,
    ExpressionDistance,
    HeadPoseError,
    LipSync,
    RegionPSNR,
    RegionSSIM,
)

CLIPS = 4


class Colours(nn.Module):
    """Three features of uint8 frames (N, 3, H, W) or videos (N, T, 3, H, W)."""

    features = 3

    def forward(self, frames):
        return frames.float().flatten(0, -4).mean((-2, -1)).reshape(len(frames), -1, 3).mean(1)


class Brightness(nn.Module):
    def forward_lip(self, lips):
        return lips.mean((2, 3, 4))

    def forward_aud(self, speech):
        return speech[:, 0, :3].mean(2)


class Difference(nn.Module):
    pnet_type = "own"

    def forward(self, one, other, normalize):
        return (one - other).abs().mean((1, 2, 3))[:, None, None, None]


class FirstFrame(nn.Module):
    window, features = 8, 2

    def encode(self, windows):
        return windows[:, 0, 0, :2]


def clip(index: int) -> dict:
    random = np.random.default_rng(index)
    size = (20 + 4 * index, 3, 40, 40)
    output, true = (torch.from_numpy(random.integers(0, 256, size, dtype=np.uint8)) for _ in range(2))
    poses = random.uniform(0, 1, (2, len(output), 134, 3))
    return {"made": output, "true": true, "poses": torch.from_numpy(poses), "random": random}


def both_sides(metric, clip):
    metric.update(clip["made"], generated=True)
    metric.update(clip["true"], generated=False)


def poses(metric, clip):
    metric.update(clip["poses"][0], generated=True)
    metric.update(clip["poses"][1], generated=False)


def pictures(metric, clip):
    metric.update(clip["made"], clip["true"])


def region(metric, clip):
    metric.update(clip["made"], clip["true"], torch.tensor([0.2, 0.3, 0.7, 0.6]).expand(len(clip["made"]), 1, 4))


def heads(metric, clip):
    angles = clip["random"].uniform(-40, 40, (2, 10, 3))
    angles[0, 3] = np.nan
    metric.update(*angles)


def lips(metric, clip):
    frames = clip["made"][:, :, :1, :1].expand(-1, -1, 224, 224)
    metric.update(frames, clip["random"].uniform(-1, 1, 640 * len(frames)))


def faces(metric, clip):
    metric.update(*(clip[name][:, :, :1, :1].expand(-1, -1, 112, 112) for name in ("made", "true")))


def points(clip, size):
    """Faces of random shape, one of them not there."""
    found = np.random.default_rng(len(clip["made"])).uniform(0.2, 0.8, (2, len(clip["made"]), 68, size))
    found[:, 1] = np.nan
    return found


def expressions(metric, clip):
    for side, generated in zip(points(clip, 3), (True, False)):
        metric.update(side, generated=generated)


def faces_of_frames(metric, clip):
    for name, side, generated in zip(("made", "true"), points(clip, 2), (True, False)):
        metric.update(clip[name][:4], side[:4], generated=generated)


def embed(crops):
    return crops[:, 0, 0].astype(float)


MEASURES = {
    "PSNR": (PSNR, pictures),
    "SSIM": (SSIM, pictures),
    "RegionPSNR": (RegionPSNR, region),
    "RegionSSIM": (RegionSSIM, region),
    "LPIPS": (lambda: LPIPS(Difference()), pictures),
    "FID": (lambda: FID(Colours()), both_sides),
    "FVD": (lambda: FVD(Colours(), window=4), both_sides),
    "FID (I3D)": (lambda: I3DFID(Colours(), window=4), both_sides),
    "E-FID": (lambda: EFID(Colours()), faces_of_frames),
    "Expression distance": (lambda: ExpressionDistance("a detector"), expressions),
    "KVD": (lambda: KVD(Colours(), window=4), both_sides),
    "LipSync": (lambda: LipSync(Brightness()), lips),
    "CSIM": (lambda: CSIM(embed), faces),
    "HeadPoseError": (HeadPoseError, heads),
    "TGD": (lambda: TGD(FirstFrame()), poses),
}


def figures(metric) -> list[float]:
    value = metric.compute()
    return [float(part) for part in (value.values() if isinstance(value, dict) else [value])]


@pytest.fixture(params=MEASURES)
def whole(request):
    make, add = MEASURES[request.param]
    metric = make()
    for index in range(CLIPS):
        add(metric, clip(index))
    return make, add, figures(metric)


def test_states_of_two_processes_add_up(whole):
    make, add, expected = whole
    one, other = make(), make()
    for index in range(CLIPS):
        add(one if index % 2 else other, clip(index))
    assert figures(other) != pytest.approx(expected, rel=1e-6)
    one.merge_state(other)
    assert figures(one) == pytest.approx(expected, rel=1e-9)
    assert np.isfinite(expected).all()


def test_reset_forgets_all(whole):
    make, add, expected = whole
    metric = make()
    add(metric, clip(3))
    metric.reset()
    for index in range(CLIPS):
        add(metric, clip(index))
    assert figures(metric) == pytest.approx(expected, rel=1e-9)


def share(rank: int, port: int, results) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for name, (make, add) in MEASURES.items():
        metric = make()
        for index in range(rank, CLIPS, 2):
            add(metric, clip(index))
        results[name, rank] = figures(metric)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_real_processes_agree_on_the_figure_of_all_clips():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        spawn(share, (port, results), nprocs=2)
        measured = dict(results)
    for name, (make, add) in MEASURES.items():
        metric = make()
        for index in range(CLIPS):
            add(metric, clip(index))
        assert measured[name, 0] == measured[name, 1]
        assert measured[name, 0] == pytest.approx(figures(metric), rel=1e-9)
