"""Measuring the networks of latent video: every row, every way of driving them, and what cannot be measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from models.human.autoencoder import PoseAutoencoder
from models.mmgt.smga import SMGA
from models.video.latents import decode
from preprocessing.features.run import Options, make_features
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.trainers.evaluated_videos import INSIDE, KEYS, LONG, QUICK, SIZE, save, talking_shards, video_run
from trainers.evaluate import evaluate, main
from trainers.evaluation.talks import load_talks
from trainers.evaluation.videos import load_shots, read_shots
from trainers.mmgt.evaluation.video_model import VideoModel
from trainers.mmgt.video_animation import VideoAnimator
from trainers.run.exports import find_export
from trainers.video.trained_size import trained_at

ROWS = {"model", "shuffled_audio", "nearest_audio", "source", "reconstruction", "truth"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def shards(folder) -> Path:
    return talking_shards(folder / "shards")


@pytest.fixture(scope="module")
def autoencoder(folder) -> Path:
    return save_autoencoder(folder / "vae")


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
