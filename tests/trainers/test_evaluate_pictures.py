"""Measuring networks of pictures: re-enactment, and motion features from speech."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage.metrics import peak_signal_noise_ratio

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.shards.index import Index
from metrics.frames import as_bytes
from models.implicit_motion import ImplicitMotion
from preprocessing.features.run import Options, make_features
from pretrained.weights import WeightsSource
from settings import ConfigError
from settings.hashes import file_hash
from tests.models.motion_networks import small
from tests.models.test_implicit_motion_base import SMALL
from tests.shards import write_shards
from tests.video_detector import VideoDetector
from trainers.evaluate import evaluate, main
from trainers.evaluation.faces import FaceFinder
from trainers.evaluation.per_clip import correlation
from trainers.evaluation.tables import as_text
from trainers.evaluation.videos import DILATION, load_shots
from trainers.implicit_motion.evaluation import speech_motion
from trainers.implicit_motion.evaluation.reenactment import rebuild
from trainers.implicit_motion.evaluation.speech_motion import (
    Probe,
    Talk,
    load_talks,
    measure,
    seam_figures,
)
from trainers.run.exports import find_export

KEYS = ("video.mp4", "pose.npz", "audio.flac", "speech.npz")
SPLITS = ("train", "train", "test", "test", "test_unseen")


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=10, seconds=(2.0, 1.2), keys=KEYS, splits=SPLITS, video_size=(32, 32))
    return folder


def save(network, folder: Path, stage: dict, shards: Path) -> Path:
    network.save_pretrained(folder / "export")
    settings = {"stage": stage, "data": {"name": "clips", "shards": str(shards)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory, shards) -> Path:
    torch.manual_seed(0)
    network, folder = ImplicitMotion(**SMALL), tmp_path_factory.mktemp("runs") / "base"
    return save(network, folder, {"name": "implicit_motion.base"}, shards)


@pytest.fixture(scope="module")
def reenacted(base) -> dict:
    return evaluate(run=str(base), clips=None, seconds=1.0)


@pytest.mark.paper("IM-19")
def test_reenactment_is_measured_beside_the_held_source(reenacted, base, shards):
    part = reenacted["splits"]["test"]
    assert part["clips"] == 4
    assert part["seconds"] == pytest.approx(4.0)
    shots = load_shots(str(shards), "test", None, 1.0, (32, 32))
    values = [
        peak_signal_noise_ratio(frame.numpy(), shot.frames[0].numpy(), data_range=255)
        for shot in shots
        for frame in shot.frames[1:]
    ]
    frames = sum(len(shot.frames) for shot in shots)
    expected = (sum(values) + 100.0 * len(shots)) / frames  # the first frame equals the source
    assert part["systems"]["source"]["psnr"]["mean"] == pytest.approx(expected, rel=1e-5)
    network = ImplicitMotion.from_pretrained(base / "export").eval()
    output = [rebuild(network, shot.frames, 16).numpy() for shot in shots]
    own = [
        peak_signal_noise_ratio(frame.numpy() / 255.0, one, data_range=1.0)
        for shot, clip in zip(shots, output, strict=True)
        for frame, one in zip(shot.frames, clip, strict=True)
    ]
    assert part["systems"]["model"]["psnr"]["mean"] == pytest.approx(np.mean(own), rel=1e-4)
    assert not part["verdicts"]["ssim"]["beats_all"]  # an untrained network
    assert DILATION == 0.1


def test_reenactment_writes_its_figures_and_names_what_it_leaves_out(reenacted, base, capsys, caplog):
    stored = json.loads((base / "evaluation" / "figures.json").read_text())
    assert stored["splits"]["test"]["systems"] == reenacted["splits"]["test"]["systems"]
    assert {"psnr_mouth_hands", "ssim_mouth", "psnr_hands"} <= set(stored["splits"]["test"]["systems"]["model"])
    assert main([f"run={base}", "clips=1", "seconds=1"]) == 0
    assert "PSNR, mouth and hands" in capsys.readouterr().out
    with pytest.raises(
        ConfigError, match=r"weights\.vgg: figures need weights of alexnet, inception, i3d, arcface, deep3d"
    ):
        evaluate(run=str(base), weights={"vgg": "nowhere"})
    with pytest.raises(ConfigError, match="inception"):
        evaluate(run=str(base), weights={"inception": "/nowhere.pth"})


def test_figures_with_other_weights_say_so(base, tmp_path):
    torch.manual_seed(0)
    scripted = torch.jit.script(VideoDetector())
    scripted.save(str(tmp_path / "i3d_torchscript.pt"))
    output = evaluate(run=str(base), clips=2, seconds=1.0, weights={"i3d": str(tmp_path / "i3d_torchscript.pt")})
    assert output["figures"]["fvd"]["title"] == "FVD (other weights)"
    assert "i3d_torchscript.pt" in output["figures"]["fvd"]["meaning"]
    assert "fvd" in output["splits"]["test"]["systems"]["model"]


class _Expressions(torch.nn.Module):
    """In place of Deep3DFaceRecon's network: what the middle of the face looks like."""

    features, source = 3, WeightsSource("a small network", "epoch_20.pth", "0" * 64)

    def __init__(self, weights: str) -> None:
        super().__init__()
        assert weights == "epoch_20.pth"

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return faces[:, :, 90:134, 90:134].float().mean((2, 3))


def _one_face(self, frames: torch.Tensor) -> np.ndarray:
    """In every frame a face whose mouth is as wide open as the frame is bright."""
    points = np.random.default_rng(0).uniform(0.3, 0.7, (68, 3)) * np.ones((len(frames), 1, 1))
    points[:, 48:68, 1] += as_bytes(frames).float().mean((1, 2, 3)).numpy()[:, None] / 255
    return points


@pytest.mark.paper("MMGT-23")
@pytest.mark.paper("VA-17")
@pytest.mark.slow
def test_kvd_and_e_fid_tell_a_copy_of_the_truth_from_noise(base, tmp_path, monkeypatch):
    torch.jit.script(VideoDetector()).save(str(tmp_path / "i3d_torchscript.pt"))
    weights = {"i3d": str(tmp_path / "i3d_torchscript.pt"), "deep3d": "epoch_20.pth"}
    monkeypatch.setattr("metrics.expression.Deep3D", _Expressions)
    monkeypatch.setattr(FaceFinder, "__call__", _one_face)
    truth, found = lambda network, frames, batch: frames, {}

    def noise(network: ImplicitMotion, frames: torch.Tensor, batch: int) -> torch.Tensor:
        return torch.rand(frames.shape, generator=torch.Generator().manual_seed(0)) ** 3

    for name, answer in (("copy", truth), ("noise", noise)):
        monkeypatch.setattr("trainers.implicit_motion.evaluation.reenactment.rebuild", answer)
        output = evaluate(run=str(base), out=tmp_path / name, splits=["test"], clips=None, weights=weights)
        found[name] = output["splits"]["test"]["systems"]["model"]
    titles = {name: output["figures"][name]["title"] for name in ("fvd", "kvd", "fid_i3d", "efid", "expression")}
    assert titles == {
        "fvd": "FVD (other weights)",
        "kvd": "KVD (other weights)",
        "fid_i3d": "FID (I3D) (other weights)",
        "efid": "E-FID (other weights)",
        "expression": "Expression distance (MediaPipe face mesh)",
    }
    for name in titles:
        copy, noisy = found["copy"][name], found["noise"][name]
        assert copy["mean"] < noisy["mean"] - 1e-6, name
        assert noisy["low"] < noisy["mean"] < noisy["high"], name
    assert found["copy"]["efid"]["mean"] == pytest.approx(0, abs=1e-6)
    assert "KVD (other weights)" in as_text(output)
    assert "E-FID (other weights)" in as_text(output)


@pytest.fixture(scope="module")
def features(tmp_path_factory, shards, base) -> Path:
    output = tmp_path_factory.mktemp("features") / "out"
    make_features(Options(input=str(shards), output=str(output), network=str(base), workers=0, progress=False))
    return output


def diffusion(folder: Path, features: Path, base: Path, **options) -> Path:
    network = small(motion_channels=768, appearance_channels=16, audio="handcrafted", **options)
    network.set_statistics(Index.load(features).statistics)
    network.space.set_base(file_hash(base / "export" / "model.safetensors"))
    return save(network, folder, {"name": "implicit_motion.motion", "base": str(base)}, features)


@pytest.fixture(scope="module")
def run(tmp_path_factory, features, base) -> Path:
    return diffusion(tmp_path_factory.mktemp("runs") / "motion", features, base)


def made_up(clips: int) -> list[Talk]:
    """Clips whose lips and wrists hang on some of the features."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(768, 3)) / 768**0.5
    info = ClipInfo(id="clip-00000000-000", source="clip.mp4", end=2.0, fps=25.0, frames=50)
    talks = []
    for _ in range(clips):
        motion = random.normal(size=(50, 768)).cumsum(0)
        seen = motion @ directions
        seen[:5, 0] = np.nan
        talks.append(Talk(info, motion.astype(np.float32), np.zeros(16), np.zeros(32_000, np.float32), seen))
    return talks


def test_lips_and_wrists_are_read_from_features_of_clips_it_was_not_fitted_to():
    talks = made_up(60)
    probe, held_out = Probe(talks[:50]), talks[50:]
    figures = measure([talk.motion for talk in held_out], held_out, probe)
    assert figures["motion_error"] == 0
    assert figures["frechet"] == pytest.approx(0, abs=1e-3)
    assert min(figures["lip_correlation"], figures["hand_correlation"]) > 0.8
    others = measure([talk.motion for talk in held_out[1:] + held_out[:1]], held_out, probe)
    assert others["lip_correlation"] < 0.5
    assert others["motion_error"] > 0
    still = measure([np.repeat(talk.motion[:1], 50, 0) for talk in held_out], held_out, probe)
    assert (still["hand_correlation"], still["lip_correlation"], still["speed"]) == (0, 0, 0)


def test_clips_come_with_what_is_seen_in_them(features):
    talk = load_talks(str(features), "test", None, 1.0)[0]
    assert talk.motion.shape == (25, 768)
    assert talk.audio.shape == (16_000,)
    assert talk.measured.shape == (25, 3)
    pose = next(v["pose.npz"] for info, v in read_clips(features, ("pose.npz",)) if info.id == talk.info.id)
    assert np.array_equal(talk.measured[:, 1], pose["keypoints"][:25, 4, 1])  # the right wrist


def test_correlation_is_pearsons_and_a_still_answer_earns_nothing():
    random = np.random.default_rng(0)
    a, b = random.normal(size=30), random.normal(size=30)
    b[3] = np.nan
    assert correlation(a, b) == pytest.approx(np.corrcoef(np.delete(a, 3), np.delete(b, 3))[0, 1])
    assert correlation(np.ones(30), b) == 0
    assert np.isnan(correlation(a, np.ones(30)))


@pytest.mark.paper("IM-13")
def test_an_ablation_stands_in_the_same_table(run, features, base, tmp_path, capsys):
    deaf = diffusion(tmp_path / "deaf", features, base, use_global=False, use_local=False)
    words = [f"run={run}", "clips=2", "seconds=1", "seeds=[0,1]", "steps=2", f'beside={{"no Mamba": "{deaf}"}}']
    assert main(words) == 0
    assert "no Mamba" in capsys.readouterr().out
    part = json.loads((run / "evaluation" / "figures.json").read_text())["splits"]["test"]
    assert set(part["systems"]) == {"model", "shuffled_audio", "mean_motion", "held", "truth", "no Mamba"}
    assert part["systems"]["model"]["motion_error"]["std"] > 0
    other = part["systems"]["shuffled_audio"]["motion_error"]["values"]
    assert part["systems"]["model"]["motion_error"]["values"] != other
    assert part["systems"]["mean_motion"]["lip_correlation"]["mean"] in (0, None)


@pytest.mark.paper("IM-19")
def test_videos_of_speech_are_measured_where_they_are_asked_for(run, base, shards, features, tmp_path):
    torch.jit.script(VideoDetector()).save(str(tmp_path / "i3d_torchscript.pt"))
    options = {"clips": None, "seconds": 1.0, "seeds": [0], "steps": 2, "splits": ["test"], "out": tmp_path}
    without = evaluate(run=str(run), **options)["splits"]["test"]["systems"]
    assert "psnr" not in without["model"]
    output = evaluate(run=str(run), **options, weights={"i3d": str(tmp_path / "i3d_torchscript.pt")})
    systems = output["splits"]["test"]["systems"]
    for name, figures in systems.items():
        assert {"psnr", "ssim", "fvd", "kvd", "fid_i3d"} <= set(figures), name
        for figure, value in without[name].items():
            assert repr(figures[figure]["values"]) == repr(value["values"]), "nothing else is measured otherwise"
    assert "csim" not in output["figures"]
    # The row of true features is what the base network makes of them.
    network = ImplicitMotion.from_pretrained(base / "export").eval()
    clips = load_talks(str(features), "test", None, 1.0)
    shots = {shot.info.id: shot for shot in load_shots(str(shards), "test", None, 1.0, (32, 32))}
    values = []
    for talk in clips:
        truth = shots[talk.info.id].frames
        with torch.no_grad():
            source = network.encode_source(truth[:1].float() / 255)
            frames = network.render(source, torch.from_numpy(talk.motion)[None])[0].numpy()
        values += [
            peak_signal_noise_ratio(frame.numpy() / 255.0, one, data_range=1.0)
            for frame, one in zip(truth, frames, strict=True)
        ]
    assert systems["truth"]["psnr"]["mean"] == pytest.approx(np.mean(values), rel=1e-4)
    held = evaluate(run=str(run), **options, videos=True)["splits"]["test"]["systems"]["held"]
    assert held["ssim"] == systems["held"]["ssim"]
    assert "fvd" not in held


@pytest.mark.paper("IM-17")
def test_seams_are_measured_on_speech_of_any_length(run, features):
    model = speech_motion.MotionAnimator(find_export(run))
    talk = load_talks(str(features), "test", 1, None)[0]
    figures = seam_figures(model, talk, np.resize(talk.audio, 16_000 * 6))
    assert figures["seams"] == (150 - 1) // model.network.hop
    assert figures["ratio"] > 0


def test_features_of_another_base_network_are_refused(run, tmp_path, shards):
    with pytest.raises(ConfigError, match="no features of the base network"):
        evaluate(run=str(run), data=str(shards))
