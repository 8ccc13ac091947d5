"""Measures of latent video: each tells a copy of the truth from noise, by small networks in place of published ones."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from models.human.syncnet import FRAMES, SyncNet
from pretrained.weights import WeightsSource
from tests.autoencoders import save_autoencoder
from tests.trainers.evaluated_videos import INSIDE, LONG, QUICK, SIZE, talking_shards, video_run
from tests.video_detector import VideoDetector
from trainers.evaluate import evaluate
from trainers.evaluation.faces import face_crop
from trainers.evaluation.videos import load_shots
from trainers.mmgt.evaluation.video_model import VideoModel
from trainers.mmgt.evaluation.video_paper import PAPER


class _Inception(torch.nn.Module):
    """In place of Inception: what colour a frame has."""

    features, source = 3, WeightsSource("a small network", "inception.pth", "0" * 64)

    def __init__(self, weights: str) -> None:
        super().__init__()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float().mean((2, 3))


class _Lips(torch.nn.Module):
    """In place of SyncNet: the brightness of lips, and the loudness of speech."""

    source = WeightsSource("a small network", "syncnet_v2.model", "0" * 64)

    def forward_lip(self, lips: torch.Tensor) -> torch.Tensor:
        assert lips.shape[2] == FRAMES
        return lips.mean((1, 2, 3))[:, :8]

    def forward_aud(self, speech: torch.Tensor) -> torch.Tensor:
        return speech.mean((1, 3))[:, :8]


def _alexnet(path: Path) -> str:
    random, state, before = torch.Generator().manual_seed(0), {}, 3
    for number, channels, kernel in ((0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)):
        shape = (channels, before, kernel, kernel)
        state[f"features.{number}.weight"] = torch.randn(shape, generator=random) / (before * kernel**2) ** 0.5
        state[f"features.{number}.bias"] = torch.zeros(channels)
        before = channels
    torch.save(state, path / "alexnet-owt-7be5be79.pth")
    return str(path / "alexnet-owt-7be5be79.pth")


BETTER = {
    "psnr": 1, "ssim": 1, "face_psnr": 1, "face_ssim": 1, "lpips": -1, "face_lpips": -1, "hands_lpips": -1, "fid": -1,
    "face_fid": -1, "fvd": -1, "kvd": -1, "fid_i3d": -1, "face_fvd": -1, "face_kvd": -1, "face_fid_i3d": -1,
    "retrieval": 1, **dict.fromkeys(INSIDE, 1),
}  # fmt: skip
"""Every measure that tells a copy from noise, and which way."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    autoencoder = save_autoencoder(folder / "vae")
    return video_run(folder / "audio", "mmgt.video_audio", talking_shards(folder / "shards"), autoencoder)


@pytest.fixture(scope="module")
def answers(run, tmp_path_factory) -> dict[str, dict]:
    """Figures with every network's weights of a network that gives the truth, and of one that gives noise."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    torch.jit.script(VideoDetector()).save(str(folder / "i3d_torchscript.pt"))
    state = {k: v for k, v in SyncNet().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, folder / "syncnet_v2.model")
    weights = {
        "alexnet": _alexnet(folder), "i3d": str(folder / "i3d_torchscript.pt"), "inception": "inception.pth",
        "syncnet": str(folder / "syncnet_v2.model"),
    }  # fmt: skip

    def face(self, frames: torch.Tensor) -> np.ndarray:
        return np.random.default_rng(0).uniform(0.3, 0.7, (68, 3)) * np.ones((len(frames), 1, 1))

    shots = {}

    def copy(self, first, talk, poses, features, seed):
        if not shots:
            split = load_shots(self.options.shards, "test", None, 0.8, SIZE)
            shots.update({shot.info.id: shot.frames for shot in split})
        return shots[talk.info.id]

    def noise(self, first, talk, poses, features, seed):
        return torch.rand(talk.frames, *first.shape, generator=torch.Generator().manual_seed(seed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metrics.fid.Inception", _Inception)
        patch.setattr("metrics.sync.load_syncnet", lambda weights: _Lips())
        patch.setattr("trainers.evaluation.faces.FaceFinder.__call__", face)
        for where in (
            "trainers.evaluation.pretrained",
            "trainers.evaluation.video_figures",
        ):  # large crops take long
            patch.setattr(f"{where}.face_crop", partial(face_crop, side=40))
        for name, answer in (("copy", copy), ("noise", noise)):
            patch.setattr(VideoModel, "generate", answer)
            out = tmp_path_factory.mktemp(name)
            options = QUICK | {"seconds": 0.8, "drive": "pose", "seeds": [0], "weights": weights}
            found[name] = evaluate(run=str(run), out=out, **options)
    return found


@pytest.mark.paper("MMGT-23")
@pytest.mark.parametrize("name", sorted(BETTER))
def test_each_measure_tells_the_truth_from_noise(answers, name):
    copy, noise = (answers[kind]["splits"]["test"]["systems"]["model"][name]["mean"] for kind in ("copy", "noise"))
    assert BETTER[name] * (copy - noise) > 1e-6
    if name.removeprefix("face_") in ("lpips", "fid", "fvd", "fid_i3d"):
        assert copy == pytest.approx(0, abs=1e-5)
    assert answers["copy"]["figures"][name]["better"] == {1: "higher", -1: "lower"}[BETTER[name]]


@pytest.mark.paper("MMGT-23")
def test_sync_is_taken_against_the_clips_own_speech_and_confidence_is_higher_better(answers):
    figures = answers["copy"]["figures"]
    assert {name: figures[name]["better"] for name in ("sync_c", "sync_d")} == {"sync_c": "higher", "sync_d": "lower"}
    assert figures["sync_c"]["title"] == "Sync-C (other weights)"
    for name in ("sync_c", "sync_d"):
        systems = answers["copy"]["splits"]["test"]["systems"]
        assert systems["model"][name]["mean"] == systems["truth"][name]["mean"]
        assert answers["noise"]["splits"]["test"]["systems"]["model"][name]["mean"] != systems["truth"][name]["mean"]
    # The paper's columns under the names that they should have.
    assert (PAPER[0]["sync_d"], PAPER[0]["sync_c"]) == (10.16, 4.51)


@pytest.mark.paper("MMGT-23")
def test_the_true_videos_own_figures_stand_beside(answers):
    systems = answers["copy"]["splits"]["test"]["systems"]
    assert systems["model"]["lip_correlation"]["mean"] == systems["truth"]["lip_correlation"]["mean"]
    assert {"lip_correlation", "sync_c", *LONG} <= set(systems["truth"])
    assert not {"psnr", "retrieval", "fid"} & set(systems["truth"])
    for name in LONG:  # a copy has the windows of the network that is said to have made it
        assert systems["model"][name]["mean"] == systems["truth"][name]["mean"]
    assert not LONG & set(systems["source"]), "no windows made it"
