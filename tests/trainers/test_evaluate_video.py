"""Measuring the networks of latent video: every row, every measure, every way of driving them."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage.metrics import peak_signal_noise_ratio

from models.human.autoencoder import PoseAutoencoder
from models.human.syncnet import FRAMES, SyncNet
from models.mmgt.smga import SMGA
from models.mmgt.video import MMGTVideo
from models.video.latents import decode
from preprocessing.features.run import Options, make_features
from pretrained.weights import WeightsSource
from settings import ConfigError
from settings.hashes import file_hash
from tests.autoencoders import FACTOR, save_autoencoder
from tests.models.filled import filled
from tests.shards import write_shards
from trainers.evaluate import evaluate, main
from trainers.evaluation.faces import face_crop
from trainers.evaluation.talks import load_talks
from trainers.evaluation.videos import load_shots, read_shots
from trainers.mmgt.evaluation.video_model import VideoModel
from trainers.mmgt.evaluation.video_paper import PAPER
from trainers.mmgt.video_animation import VideoAnimator
from trainers.run.exports import find_export
from trainers.video.trained_size import trained_at

KEYS = ("video.mp4", "pose.npz", "audio.flac", "speech.npz")
SIZE = (32, 48)
QUICK = {"reader_steps": 3, "splits": ["test"], "clips": None, "seconds": 1.0}
ROWS = {"model", "shuffled_audio", "nearest_audio", "source", "reconstruction", "truth"}
INSIDE = {f"{name}_{part}" for name in ("psnr", "ssim") for part in ("mouth", "hands", "mouth_hands")}
LONG = {"seam", "drift_colour", "drift_sharpness"}


def save(network, folder: Path, stage: str, shards: Path, **more) -> Path:
    network.save_pretrained(folder / "export")
    settings = {"stage": {"name": stage, **more}, "data": {"name": "clips", "shards": str(shards)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def shards(folder) -> Path:
    splits = ("train", "test", "train", "test")
    write_shards(folder / "shards", clips=6, seconds=(2.0, 1.2, 1.6), keys=KEYS, splits=splits, video_size=SIZE)
    return folder / "shards"


@pytest.fixture(scope="module")
def autoencoder(folder) -> Path:
    return save_autoencoder(folder / "vae")


def video_run(folder: Path, stage: str, shards: Path, autoencoder: Path, **options) -> Path:
    torch.manual_seed(0)
    sizes = {
        "channels": (8, 16), "layers": 1, "heads": 2, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
        "motion_frames": 16, "downscaling": FACTOR, "pose_channels": (4, 4, 8), "image_channels": 0, "audio_layers": 1,
        "audio_channels": 35, "audio_tokens": 4, "audio_width": 16, "window": 12, "fps": 25.0, "sampling_steps": 2,
        "guidance_reference": 1.0, "guidance_pose": 1.0, "guidance_audio": 1.0,
        "autoencoder": file_hash(autoencoder / "diffusion_pytorch_model.safetensors"),
    }  # fmt: skip
    network = filled(MMGTVideo(**{**sizes, **options}), std=0.3)
    return save(network, folder, stage, shards, autoencoder=str(autoencoder))


@pytest.fixture(scope="module")
def run(folder, shards, autoencoder) -> Path:
    return video_run(folder / "audio", "mmgt.video_audio", shards, autoencoder)


@pytest.fixture(scope="module")
def smga(folder, shards) -> Path:
    torch.manual_seed(0)
    network = SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=2, fps=25.0)
    torch.nn.init.normal_(network.head.weight, std=0.2)
    return save(network, folder / "smga", "mmgt.smga", shards)


@pytest.fixture(scope="module")
def encoder(folder, shards) -> Path:
    torch.manual_seed(0)
    network = PoseAutoencoder(window=8, width=16, features=2)
    return save(network, folder / "encoder", "human.pose_autoencoder", shards)


@pytest.fixture(scope="module")
def measured(run) -> dict:
    return evaluate(run=str(run), seeds=[0, 1], **QUICK)


@pytest.mark.paper("MMGT-23")
def test_every_row_stands_in_the_table_and_few_clips_are_said_so(measured, run, shards, autoencoder):
    part = measured["splits"]["test"]
    systems = part["systems"]
    assert set(systems) == set(part["labels"]) == ROWS
    assert (part["clips"], part["seconds"], measured["drive"]) == (3, 3.0, "both")
    assert {"psnr", "ssim", "lip_correlation", "retrieval", *INSIDE, *LONG} <= set(systems["model"])
    shots = load_shots(str(shards), "test", None, 1.0, SIZE)
    expected = [
        peak_signal_noise_ratio(frame.numpy(), shot.frames[0].numpy(), data_range=255)
        for shot in shots
        for frame in shot.frames[1:]
    ]
    source = (sum(expected) + 100 * len(shots)) / sum(len(shot.frames) for shot in shots)
    assert systems["source"]["psnr"]["mean"] == pytest.approx(source, rel=1e-5)
    assert systems["source"]["lip_correlation"]["mean"] == 0, "a still face earns nothing"
    for name, verdict in part["verdicts"].items():
        assert name in ("psnr_mouth_hands", "lip_correlation")
        assert verdict["outcome"] == "too few clips"
        assert verdict["best_baseline"] not in ("reconstruction", "truth")
    assert systems["model"]["psnr"]["std"] > 0
    assert systems["shuffled_audio"]["psnr"]["values"] != systems["model"]["psnr"]["values"]
    stored = json.loads((run / "evaluation" / "figures.json").read_text())
    assert stored["splits"]["test"]["systems"].keys() == systems.keys()


@pytest.mark.paper("MMGT-23")
def test_the_ceiling_is_what_the_autoencoder_makes_of_true_frames_and_no_rival(measured, shards, autoencoder):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(autoencoder)
    values = []
    for shot in load_shots(str(shards), "test", None, 1.0, SIZE):
        with torch.no_grad():
            mean = vae.encode(shot.frames.float() / 127.5 - 1).latent_dist.mean
        pictures = decode(vae, mean, SIZE).numpy()
        pairs = zip(shot.frames.numpy() / 255.0, pictures, strict=True)
        values += [peak_signal_noise_ratio(one, other, data_range=1.0) for one, other in pairs]
    assert measured["splits"]["test"]["systems"]["reconstruction"]["psnr"]["mean"] == pytest.approx(
        np.mean(values), rel=1e-4
    )


@pytest.mark.paper("MMGT-23")
def test_the_nearest_speech_answers_with_the_frames_that_it_came_with(run, shards, monkeypatch):
    from trainers.mmgt.evaluation import baselines

    train = {shot.info.id: shot for shot in load_shots(str(shards), "train", None, None, SIZE)}
    (first, one), (second, other) = list(train.items())[:2]
    places = [(second, 3, 10), (first, 0, 15)]
    monkeypatch.setattr(baselines.NearestNeighbour, "places", lambda self, speech, speaker: places)
    output = evaluate(run=str(run), **{**QUICK, "clips": 1}, seeds=[0])["splits"]["test"]
    true = load_shots(str(shards), "test", 1, 1.0, SIZE)[0].frames.numpy()
    answer = np.concatenate([other.frames[3:13].numpy(), one.frames[:15].numpy()])
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(true, answer, strict=True)]
    assert output["systems"]["nearest_audio"]["psnr"]["mean"] == pytest.approx(np.mean(expected), rel=1e-5)


class _Inception(torch.nn.Module):
    """In place of Inception: what colour a frame has."""

    features, source = 3, WeightsSource("a small network", "inception.pth", "0" * 64)

    def __init__(self, weights: str) -> None:
        super().__init__()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float().mean((2, 3))


class _Detector(torch.nn.Module):
    """Has the call of the published I3D."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 400)

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        return self.layer(x.float().mean([2, 3, 4]))


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
def answers(run, tmp_path_factory) -> dict[str, dict]:
    """Figures with every network's weights of a network that gives the truth, and of one that gives noise."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    torch.jit.script(_Detector()).save(str(folder / "i3d_torchscript.pt"))
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


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """What a network is told of each clip, in place of making videos."""
    given: list[dict] = []

    def generate(self, first, talk, poses, features, seed):
        given.append({"id": talk.info.id, "poses": poses, "features": features, "seed": seed, "first": first})
        return first[None].expand(talk.frames, -1, -1, -1)

    monkeypatch.setattr(VideoModel, "generate", generate)
    return given


@pytest.mark.paper("MMGT-22")
@pytest.mark.parametrize(
    ("drive", "followed", "heard"), [("both", True, True), ("pose", True, False), ("speech_only", False, True)]
)
def test_the_drive_says_what_goes_in(run, shards, told, drive, followed, heard):
    rows = evaluate(run=str(run), drive=drive, seeds=[0], **QUICK)["splits"]["test"]["systems"]
    assert ("shuffled_audio" in rows) == heard
    talks = {
        talk.info.id: talk for talk in load_talks(str(shards), [one["id"] for one in told], 1.0, SIZE, "crop", KEYS[2:])
    }
    own = told[:: 2 if heard else 1]
    assert len(own) == 3
    for given in own:
        talk = talks[given["id"]]
        assert (given["poses"] is not None) == followed
        assert (given["features"] is not None) == heard
        if followed:
            assert np.array_equal(given["poses"], talk.pose)
        if heard:
            assert np.array_equal(given["features"][:, 0], talk.speech["handcrafted"])
    if heard:
        assert len({given["seed"] for given in own}) == 3
        for given, other in zip(own, told[1::2], strict=True):
            assert (given["id"], given["seed"]) == (other["id"], other["seed"])
            assert not np.array_equal(given["features"], other["features"])
            assert len(given["features"]) == len(other["features"])


@pytest.mark.paper("MMGT-22")
@pytest.mark.paper("MMGT-23")
def test_poses_of_speech_alone_are_measured_as_poses_too(run, smga, encoder, shards, told):
    options = {"drive": "audio", "smga": str(smga), "evaluator": str(encoder), "seeds": [0]}
    output = evaluate(run=str(run), **options, **QUICK)
    systems = output["splits"]["test"]["systems"]
    poses = {"fgd", "diversity", "bas", "bas_distance"}
    assert all(poses <= set(systems[name]) for name in ("model", "shuffled_audio", "truth"))
    assert systems["truth"]["fgd"]["mean"] == pytest.approx(0, abs=1e-6)
    assert systems["truth"]["bas_distance"]["mean"] == 0
    assert systems["model"]["fgd"]["mean"] > 0
    assert systems["model"]["fgd"]["values"] != systems["shuffled_audio"]["fgd"]["values"]
    assert not poses & set(systems["reconstruction"])
    assert poses <= set(output["figures"])
    assert output["evaluator"]["name"] == "encoder"
    talks = load_talks(str(shards), [one["id"] for one in told], 1.0, SIZE, "crop", KEYS[2:])
    for given in told:
        true = next(talk.pose for talk in talks if talk.info.id == given["id"])
        assert given["poses"].shape == true.shape
        assert not np.array_equal(given["poses"], true)


@pytest.mark.paper("MMGT-24")
def test_ablations_stand_in_the_same_table(run, shards, autoencoder, tmp_path, capsys):
    deaf = video_run(tmp_path / "deaf", "mmgt.video_audio", shards, autoencoder, use_audio=False)
    still = video_run(tmp_path / "still", "mmgt.video_audio", shards, autoencoder, masks="still")
    words = [
        f"run={run}", f'beside={{"deaf": "{deaf}", "still": "{still}"}}', "clips=1", "seconds=0.6",
        "seeds=[0]", "reader_steps=3", f"out={tmp_path / 'out'}",
    ]  # fmt: skip
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "deaf" in printed
    table = next(line for line in printed.splitlines() if "FVD, face" in line)
    assert "99.38" in table
    assert "84.24" in table
    systems = json.loads((tmp_path / "out" / "figures.json").read_text())["splits"]["test"]["systems"]
    assert {*ROWS, "deaf", "still"} == set(systems)
    values = {name: systems[name]["psnr"]["mean"] for name in ("model", "deaf", "still")}
    assert len(set(values.values())) == 3


def test_a_network_of_poses_alone_hears_nothing(folder, shards, autoencoder, told):
    pose_run = video_run(folder / "pose", "mmgt.video_pose", shards, autoencoder)
    output = evaluate(run=str(pose_run), seeds=[0], **QUICK)
    assert output["drive"] == "pose"
    assert set(output["splits"]["test"]["systems"]) == ROWS - {"shuffled_audio"}
    assert all(given["features"] is None for given in told)
    with pytest.raises(ConfigError, match="hears no speech"):
        evaluate(run=str(pose_run), drive="speech_only", **QUICK)


def test_clips_of_one_window_have_no_seams(run, told):
    systems = evaluate(run=str(run), seeds=[0], **{**QUICK, "seconds": 0.48})["splits"]["test"]["systems"]
    assert not LONG & set(systems["model"])


def test_what_cannot_be_measured_is_said(run, smga, shards, autoencoder, tmp_path):
    other = video_run(tmp_path / "other", "mmgt.video_audio", shards, autoencoder, fps=30.0)
    vae = save_autoencoder(tmp_path / "vae", seed=1)
    for options, said in (
        ({"drive": "audio"}, "smga=RUN"),
        ({"smga": str(smga)}, "drive=audio alone"),
        ({"drive": "audio", "smga": str(run)}, "is a network of mmgt.video_audio"),
        ({"beside": {"truth": str(run)}}, "choose another name"),
        ({"beside": {"fast": str(other)}}, "fast was trained at 30"),
        ({"overlap": 12}, "the window of model has 12"),
        ({"autoencoder": str(vae)}, "another network than the one whose latents"),
        ({"weights": {"vgg": "x"}}, "alexnet, inception, i3d, arcface, deep3d, syncnet"),
        ({"splits": ["val"]}, "no clips with"),
    ):
        with pytest.raises(ConfigError, match=said):
            evaluate(run=str(run), **{**QUICK, **options})


def test_frames_have_the_size_that_the_network_was_trained_at(folder, shards, autoencoder):
    options = Options(
        input=str(shards), output=str(folder / "latents"), network=str(autoencoder),
        writer={"name": "latents", "size": [24, 24]}, workers=0, progress=False,
    )  # fmt: skip
    make_features(options)
    assert trained_at({"video_size": [48, 64], "video_fit": "pad"}, str(folder / "latents")) == ((48, 64), "pad")
    assert trained_at({}, str(folder / "latents")) == ((24, 24), "crop")
    moved = {"shards": str(folder / "latents"), "video_size": None}
    assert trained_at(moved, str(shards)) == ((24, 24), "crop")
    assert trained_at({"shards": str(folder / "nowhere")}, str(shards)) == (None, "crop")
    # So has the video of a picture, unless another size is asked for.
    made_of = video_run(folder / "of_latents", "mmgt.video_audio", folder / "latents", autoencoder)
    animator = VideoAnimator(find_export(made_of), device="cpu")
    picture, latents = np.zeros((60, 40, 3), np.uint8), animator.latents(None)
    assert animator.scaled(picture, None, latents).shape == (24, 16, 3)
    assert animator.scaled(picture, 36, latents).shape == (36, 24, 3)
    # Oblong frames are cropped, and poses with them.
    talk = load_talks(str(folder / "latents"), ["clip-00000001-000"], 0.2, (24, 24), "crop")[0]
    shot = next(read_shots(str(folder / "latents"), ["clip-00000001-000"], 0.2, (24, 24), "crop"))
    assert np.array_equal(talk.pose, shot.pose.numpy())


@pytest.mark.paper("MMGT-21")
def test_the_best_checkpoint_is_named_and_whether_it_is_measured(run, shards, folder, caplog, logged, told):
    from safetensors.torch import load_file

    assert evaluate(run=str(run), seeds=[0], **{**QUICK, "clips": 1})["checkpoint"] is None
    weights = load_file(run / "export" / "model.safetensors")
    state = {
        "state_dict": {f"network.{name}": value for name, value in weights.items()},
        "callbacks": {"Checkpoints": {"best": 0.125, "of": "min val/rmse", "steps": 40}},
    }
    (run / "checkpoints").mkdir()
    torch.save(state, run / "checkpoints" / "best.ckpt")
    best = {"monitor": "val/rmse", "value": 0.125, "step": 40}
    assert evaluate(run=str(run), seeds=[0], **{**QUICK, "clips": 1})["checkpoint"] == best | {"measured": "best"}
    name = min(state["state_dict"])
    state["state_dict"][name] = state["state_dict"][name] + 1
    torch.save(state, run / "checkpoints" / "best.ckpt")
    assert evaluate(run=str(run), seeds=[0], **{**QUICK, "clips": 1})["checkpoint"] == best | {"measured": "another"}
    assert "checkpoint=best" in caplog.text
    (run / "checkpoints" / "best.ckpt").unlink()
    (run / "checkpoints").rmdir()
