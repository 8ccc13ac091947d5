"""A picture and speech to videos: the files, what they say of themselves, and messages for what cannot be used."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load, save

from datamodules.media.files import MediaError, read_frames, read_metadata
from models.human.keypoints import BODY, FACE, LIPS
from models.human.motion_masks import motion_masks
from models.mmgt.smga import SMGA
from settings import ConfigError
from settings.hashes import file_hash
from tests.encoded import before_encoding
from tests.speech_models import saved_speech_model
from tests.trainers.commands import status
from tests.trainers.sounds import write_voice
from trainers.animate import animate, main
from trainers.animation.hearing import PretrainedHearing
from trainers.animation.request import read_request, read_speech, video_size
from trainers.mmgt.animation import SMGAAnimator
from trainers.run.exports import find_export


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with the export of a small untrained network that moves its points about the first pose."""
    folder = tmp_path_factory.mktemp("runs") / "my-run"
    torch.manual_seed(0)
    network = SMGA(
        width=16, layers=1, heads=2, feedforward=32, audio_layers=1, predict="offset", window=20, sampling_steps=2
    )
    torch.nn.init.normal_(network.head.weight, std=0.2)
    network.head.weight.data[2::3] = 0  # scores stay the first pose's
    network.save_pretrained(folder / "export")
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": "mmgt.smga"}, "data": {"name": "clips"}}))
    return folder


@pytest.fixture(scope="module")
def first_pose(tmp_path_factory) -> Path:
    """A pose file of two frames: nobody in the first, a person in the second."""
    random = np.random.default_rng(0)
    keypoints, scores = np.full((2, 134, 2), -1.0, np.float32), np.zeros((2, 134), np.float32)
    keypoints[1], scores[1] = random.uniform(0.3, 0.7, (134, 2)), 1
    keypoints[1, FACE] = random.uniform(0.4, 0.6, (68, 2))
    keypoints[1, 8:14], scores[1, 8:14] = -1, 0
    path = tmp_path_factory.mktemp("pose") / "pose.npz"
    np.savez(path, keypoints=keypoints, scores=scores)
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    return write_voice(tmp_path_factory.mktemp("speech") / "speech.wav")


@pytest.fixture(scope="module")
def made(run, first_pose, speech, kept, tmp_path_factory):
    with before_encoding(kept):
        return animate(
            run=str(run), pose=first_pose, audio=speech, out=tmp_path_factory.mktemp("out") / "out.mp4", size=128
        )


def test_video_has_the_length_of_the_speech_and_its_sound(made, encoded):
    with av.open(str(made.video)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert video.average_rate == 25
        assert (video.height, video.width) == (128, 128)
        assert sum(1 for _ in container.decode(video)) == 50
    with av.open(str(made.video)) as container:
        seconds = sum(frame.samples for frame in container.decode(container.streams.audio[0])) / sound.rate
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert made.poses.shape == (50, 134, 3)
    assert made.fps == 25
    assert np.ptp(encoded[made.video], axis=0).max() > 100, "something is drawn where there was nothing"


@pytest.mark.paper("MMGT-1")
def test_the_performance_starts_from_the_first_pose_and_follows_the_sound(made, run, first_pose, speech, tmp_path):
    reference = np.load(first_pose)["keypoints"][1]
    seen = np.load(first_pose)["scores"][1] > 0
    assert np.abs(made.poses[:, seen, :2] - reference[seen]).mean() < 0.3
    assert (made.poses[:, ~seen, 2] == 0).all()
    other = tmp_path / "other.wav"
    soundfile.write(other, 0.5 * np.random.default_rng(0).standard_normal(32_000).clip(-1, 1), 16_000)
    repeated = animate(run=str(run), pose=first_pose, audio=other, out=tmp_path / "other.mp4", size=64)
    assert not np.allclose(repeated.poses, made.poses)


@pytest.mark.paper("MMGT-13")
@pytest.mark.paper("MMGT-6")
def test_layers_of_a_pretrained_network_are_made_from_the_sound(run, first_pose, speech, tmp_path, capsys):
    wavlm = saved_speech_model(tmp_path / "wavlm", "WavLM")
    torch.manual_seed(0)
    network = SMGA(
        width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=2, audio_channels=35 + 16
    )
    network.save_pretrained(tmp_path / "run" / "export")
    told = {"stage": {"name": "mmgt.smga"}, "data": {"name": "clips", "speech_layers": [1]}}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(told))
    words = [f"run={tmp_path / 'run'}", f"pose={first_pose}", f"audio={speech}", "size=64"]
    words.append(f"out={tmp_path / 'out.mp4'}")
    assert main(words) == 2
    assert "give speech=MODEL" in capsys.readouterr().err
    assert main([*words, f"speech={tmp_path / 'wavlm'}"]) == 0
    assert len(list(read_frames(tmp_path / "out.mp4"))) == 50
    assert read_metadata(tmp_path / "out.mp4")["settings"]["speech"] == str(tmp_path / "wavlm")
    assert main([f"run={run}", *words[1:], f"speech={tmp_path / 'wavlm'}"]) == 2
    assert "listens to hand-crafted features" in capsys.readouterr().err
    # A second of them, from the sound as from a clip's speech.npz: layer 1, by hand on normalised sound.
    animator = SMGAAnimator(find_export(str(tmp_path / "run")), device="cpu")
    sound = read_speech(speech)[0][:16_000]
    heard = animator.listen(sound, PretrainedHearing(animator.export, str(tmp_path / "wavlm"), 16))
    normal = np.pad((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7), 40).astype(np.float32)
    with torch.inference_mode():
        states = wavlm(torch.from_numpy(normal)[None], output_hidden_states=True).hidden_states
    stored = {
        "handcrafted": heard[:, :35],
        "layers": torch.stack(states)[:, 0].numpy().astype(np.float16),
        "layer_ids": np.arange(3),
    }
    assert heard.shape == (25, 51)
    np.testing.assert_allclose(animator.hear(stored, "clip"), heard, atol=5e-3)
    np.testing.assert_allclose(heard[:, 35:], states[1][0].reshape(25, 2, 16).mean(1), atol=5e-3)


def test_mask_videos_show_the_masks_of_the_poses(made, encoded):
    assert set(made.masks) == {"face_hands", "lips", "background"}
    expected = motion_masks(made.poses, 128, 128)
    for name, path in made.masks.items():
        assert path.name == f"out.{name}.mp4"
        assert np.stack(list(read_frames(path))).shape == (50, 128, 128, 3)
        np.testing.assert_array_equal(encoded[path], np.repeat(expected[name][..., None], 3, -1))
        with av.open(str(path)) as container:
            assert not container.streams.audio
    assert expected["lips"].any()
    assert expected["face_hands"].any()


def test_poses_are_a_clips_pose_file(made):
    with np.load(made.pose_file, allow_pickle=False) as file:
        keypoints, scores = file["keypoints"], file["scores"]
    assert keypoints.shape == (50, 134, 2)
    assert scores.shape == (50, 134)
    assert keypoints.dtype == np.float32
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert (keypoints[scores == 0] == -1).all()
    assert np.allclose(keypoints[scores > 0], made.poses[..., :2][scores > 0])


def test_metadata_says_what_it_is_and_what_it_is_made_of(made, run, speech, first_pose):
    for path in (made.video, *made.masks.values()):
        said = read_metadata(path)
        assert said["ai_generated"] is True
        assert "AI-generated" in said["notice"]
        assert said["model"] == {
            "name": "my-run",
            "stage": "mmgt.smga",
            "sha256": file_hash(run / "export" / "model.safetensors"),
        }
        assert said["inputs_sha256"] == {"audio": file_hash(speech), "pose": file_hash(first_pose)}
        assert said["settings"] == {"seed": 0, "steps": 2, "guidance": 2.0}
    assert read_metadata(made.masks["lips"])["content"] == "motion mask: lips"


def test_command_line_gives_the_bytes_of_the_python_call(made, run, first_pose, speech, tmp_path, capsys):
    words = ["--run", str(run), "--pose", str(first_pose), "--audio", str(speech), "--out", str(tmp_path / "out.mp4")]
    assert main([*words, "--size", "128"]) == 0
    assert "out.mp4" in capsys.readouterr().out
    for path in (made.video, *made.masks.values(), made.pose_file):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    assert main([*words, "size=128", "seed=1"]) == 0
    assert (tmp_path / "out.mp4").read_bytes() != made.video.read_bytes()


def test_runs_as_a_command(run, first_pose, speech, tmp_path):
    words = [
        "--run",
        run / "export",
        "--pose",
        first_pose,
        "--audio",
        speech,
        "--out",
        tmp_path / "a.mp4",
        "--size",
        "64",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "trainers.animate", *map(str, words)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.mp4").stat().st_size > 1000


def test_an_export_alone_knows_its_stage(run, tmp_path):
    alone = tmp_path / "alone"
    SMGA.from_pretrained(run / "export").save_pretrained(alone)
    found = find_export(alone)
    assert (found.stage, found.run, found.name) == ("mmgt.smga", None, "alone")
    assert find_export(run / "export").run == run
    (alone / "README.md").unlink()
    with pytest.raises(ConfigError, match="cannot tell which stage"):
        find_export(alone)


def test_damaged_weights_are_said_in_a_line(run, first_pose, speech, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(run / "export", damaged)
    words = [f"run={damaged}", f"pose={first_pose}", f"audio={speech}", f"out={tmp_path / 'out.mp4'}"]
    weights = (run / "export" / "model.safetensors").read_bytes()
    config = json.loads((damaged / "config.json").read_text())
    tensors = load(weights)
    tensors.popitem()
    broken = (
        (weights[: len(weights) // 2], config),
        (weights, {**config, "width": 32}),
        (save(tensors), config),  # one tensor is missing
    )
    for content, settings in broken:
        (damaged / "model.safetensors").write_bytes(content)
        (damaged / "config.json").write_text(json.dumps(settings))
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "does not hold a SMGA that this version can read" in said
        assert "Traceback" not in said


def write(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    soundfile.write(path, samples, rate)
    return path


def broken_inputs(folder: Path) -> dict[str, tuple[dict[str, Path | str], str]]:
    """Inputs that cannot be used, and a word of the message that each deserves."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    (folder / "text.wav").write_text("this is no sound")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.png").write_text("this is no picture")
    (folder / "text.npz").write_text("these are no poses")
    np.savez(folder / "empty_pose.npz", keypoints=np.full((3, 134, 2), -1.0), scores=np.zeros((3, 134)))
    np.savez(folder / "other.npz", something=np.zeros(3))
    cut = write(folder / "whole.flac", noise).read_bytes()
    (folder / "cut.flac").write_bytes(cut[:60])
    return {
        "no speech file": ({"audio": folder / "nothing.wav"}, "no such file"),
        "text as speech": ({"audio": folder / "text.wav"}, "not a sound file"),
        "empty speech file": ({"audio": folder / "empty.wav"}, "is empty"),
        "cut speech file": ({"audio": folder / "cut.flac"}, "cut.flac"),
        "silent speech": ({"audio": write(folder / "silent.wav", np.zeros(32_000))}, "silent"),
        "too short speech": ({"audio": write(folder / "short.wav", noise[:1000])}, "too short"),
        "no picture file": ({"image": folder / "nothing.png", "pose": ""}, "no such file"),
        "text as picture": ({"image": folder / "text.png", "pose": ""}, "not a picture"),
        "neither picture nor pose": ({"pose": ""}, "image="),
        "text as pose": ({"pose": folder / "text.npz"}, "text.npz"),
        "poses of nobody": ({"pose": folder / "empty_pose.npz"}, "shows a person"),
        "no poses at all": ({"pose": folder / "other.npz"}, "other.npz"),
        "no run": ({"run": str(folder / "nothing")}, "no such folder"),
        "empty run": ({"run": str(folder)}, "neither a run folder nor an export"),
        "another frame rate": ({"fps": "30"}, "25 frames a second"),
        "not an mp4": ({"out": folder / "out.avi"}, ".mp4"),
        "no steps": ({"steps": "0"}, "'steps' Input should be greater than or equal to 1"),
    }


@pytest.mark.parametrize("name", [
    "no speech file", "text as speech", "empty speech file", "cut speech file", "silent speech", "too short speech",
    "no picture file", "text as picture", "neither picture nor pose", "text as pose", "poses of nobody",
    "no poses at all", "no run", "empty run", "another frame rate", "not an mp4", "no steps",
])  # fmt: skip
def test_what_cannot_be_used_is_said_in_a_line(name, run, first_pose, speech, tmp_path, capsys):
    changes, word = broken_inputs(tmp_path)[name]
    values = {"run": run, "pose": first_pose, "audio": speech, "out": tmp_path / "out.mp4", "size": 64} | changes
    assert status(main, [f"{key}={value}" for key, value in values.items() if value != ""]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.mp4").exists()


def test_an_unfinished_run_says_how_to_go_on(tmp_path):
    (tmp_path / "config.yaml").write_text("stage: {name: mmgt.smga}")
    with pytest.raises(ConfigError, match=r"trainers\.export"):
        find_export(tmp_path)


def test_any_rate_and_channels_are_mixed_and_resampled(speech, tmp_path):
    audio, sound = read_speech(speech)
    assert audio.ndim == sound.ndim == 1
    assert len(audio) == pytest.approx(32_000, abs=20)
    assert len(sound) == pytest.approx(88_200, abs=50)
    low = write(tmp_path / "low.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 8_000), 8_000)
    assert len(read_speech(low)[0]) == pytest.approx(16_000, abs=20)
    with pytest.raises(MediaError, match="silent"):
        read_speech(write(tmp_path / "faint.wav", np.full(16_000, 1e-4)))


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((512, 512), None, (512, 512)),
        ((2840, 2840), None, (1024, 1024)),
        ((333, 500), 256, (170, 256)),
        ((10, 2000), 64, (2, 64)),
    ],
)
def test_video_keeps_the_pictures_shape_in_even_pixels(shape, size, expected):
    assert video_size(shape, size) == expected


def media() -> Path:
    folder = os.environ.get("COSPEECH_MEDIA")
    if not folder:
        pytest.skip("COSPEECH_MEDIA is not set")
    return Path(folder)


def test_a_real_picture_is_animated_and_a_cat_is_not(run, speech, tmp_path, capsys):
    images = media() / "images"
    out = tmp_path / "out.mp4"
    picture = images / "echomimicv2_flux_woman_0588.png"
    words = [f"run={run}", f"audio={speech}", f"out={out}", "size=256"]
    assert main([*words, f"image={picture}"]) == 0
    assert read_metadata(out)["inputs_sha256"]["image"] == file_hash(picture)
    scores = np.load(out.with_suffix(".npz"))["scores"]
    assert (scores[:, FACE] > 0).mean() > 0.9
    assert (scores[:, BODY] > 0).any(0).sum() >= 4
    assert scores[:, LIPS].any()
    assert main([*words, f"image={images / 'negative_liveportrait_s41.jpg'}"]) == 2
    assert "no person" in capsys.readouterr().err


def test_dwpose_npz_gives_the_first_pose(run, speech, tmp_path):
    pose = media() / "dwpose" / "echomimicv2_good.npz"
    output = animate(run=str(run), pose=pose, audio=speech, out=tmp_path / "out.mp4", size=128)
    request = read_request(
        image=None, audio=speech, pose=pose, out=tmp_path / "out.mp4", size=128, seed=0, steps=None, guidance=None
    )
    with np.load(pose) as file:
        np.testing.assert_allclose(request.first_pose[0, :2], file["body"][0, 0], atol=1e-6)
    assert np.isfinite(output.poses).all()
    assert json.loads(json.dumps(output.metadata))["settings"]["seed"] == 0
