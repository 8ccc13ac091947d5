"""A picture, poses and speech to a video with MMGT's second stage: lengths, driving modes, shapes, refusals."""

import logging
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image

from datamodules.media.files import MediaError, read_audio, read_frames, read_metadata
from models.human.keypoints import FACE, POINTS
from models.mmgt.smga import SMGA
from models.mmgt.video import MMGTVideo
from settings import ConfigError
from settings.hashes import file_hash
from tests.autoencoders import FACTOR, save_autoencoder
from tests.encoded import ROUNDING, before_encoding
from tests.models.filled import filled
from trainers.animate import animate
from trainers.animation.files import write_poses

FPS = 30.0
SECONDS = 0.5
FRAMES = 15
HEIGHT, WIDTH = 54, 34
"""Neither square nor a multiple of anything that the network is made of, but for 2, which videos want."""


def save_network(folder: Path, stage: str, autoencoder: Path, **options) -> Path:
    torch.manual_seed(0)
    sizes = {
        "channels": (8, 16), "layers": 1, "heads": 2, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
        "motion_frames": 8, "downscaling": FACTOR, "pose_channels": (4, 4, 8), "image_channels": 0, "audio_layers": 1,
        "audio_channels": 35, "audio_tokens": 4, "audio_width": 16, "window": 8, "fps": FPS, "sampling_steps": 2,
        "autoencoder": file_hash(autoencoder / "diffusion_pytorch_model.safetensors"),
    }  # fmt: skip
    filled(MMGTVideo(**{**sizes, **options}), std=0.3).save_pretrained(folder / "export")
    settings = {
        "stage": {"name": stage, "autoencoder": str(autoencoder)},
        "data": {"name": "clips", "video_size": [HEIGHT, HEIGHT]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    """Networks of both stages, one of SMGA at their frame rate, a picture, its pose, poses to follow, speech."""
    folder = tmp_path_factory.mktemp("world")
    autoencoder = save_autoencoder(folder / "vae")
    torch.manual_seed(0)
    smga = SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, window=20, sampling_steps=2, fps=FPS)
    torch.nn.init.normal_(smga.head.weight, std=0.2)
    smga.save_pretrained(folder / "smga" / "export")
    (folder / "smga" / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": "mmgt.smga"}, "data": {}}))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / "me.png")
    pose = np.concatenate([rng.uniform(0.3, 0.7, (1, POINTS, 2)), np.ones((1, POINTS, 1))], -1).astype(np.float32)
    pose[:, FACE, :2] = rng.uniform(0.4, 0.6, (1, 68, 2))
    write_poses(folder / "pose.npz", pose, (HEIGHT, WIDTH), FPS)
    moving = np.repeat(pose, FRAMES, 0)
    moving[..., 0] += 0.01 * np.arange(FRAMES)[:, None]
    write_poses(folder / "driving.npz", moving, (HEIGHT, WIDTH), FPS)
    times = np.arange(round(SECONDS * 16_000)) / 16_000
    soundfile.write(folder / "speech.wav", 0.4 * np.sin(2 * np.pi * 150 * times) * np.sin(8 * times), 16_000)
    return {
        "audio_run": save_network(folder / "audio", "mmgt.video_audio", autoencoder),
        "pose_run": save_network(folder / "pose", "mmgt.video_pose", autoencoder),
        "folder": folder,
        "vae": autoencoder,
        "smga": folder / "smga",
        "image": folder / "me.png",
        "pose": folder / "pose.npz",
        "driving": folder / "driving.npz",
        "audio": folder / "speech.wav",
    }


def make(world, out: Path, run: str = "audio_run", **options):
    asked = {"image": world["image"], "pose": world["pose"], **options}
    return animate(run=str(world[run]), out=out, **asked)


def pixels(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path))).astype(int)


@pytest.fixture(scope="module")
def both(world, kept, tmp_path_factory):
    """Driven by poses and speech."""
    out = tmp_path_factory.mktemp("out") / "both.mp4"
    with before_encoding(kept):
        return make(world, out, driving=world["driving"], audio=world["audio"])


@pytest.mark.paper("MMGT-1", "MMGT-22")
def test_speech_alone_drives_by_the_poses_of_smga(world, tmp_path):
    made = make(world, tmp_path / "out.mp4", audio=world["audio"], smga=str(world["smga"]))
    assert (made.frames, made.fps) == (FRAMES, FPS)
    with av.open(str(made.video)) as container:
        assert container.streams.video[0].average_rate == FPS
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert len(read_audio(made.video)) / 16_000 == pytest.approx(SECONDS, abs=0.1)
    with np.load(made.pose_file) as poses:
        assert poses["keypoints"].shape == (FRAMES, POINTS, 2)
        assert float(poses["fps"]) == FPS


@pytest.mark.paper("MMGT-22")
def test_each_driving_mode_is_another_video(world, both, encoded, tmp_path):
    pose_alone = make(world, tmp_path / "pose.mp4", driving=world["driving"])
    with av.open(str(pose_alone.video)) as container:
        assert not container.streams.audio
    speech_alone = make(world, tmp_path / "speech.mp4", audio=world["audio"], smga=str(world["smga"]))
    videos = [encoded[each.video] for each in (both, pose_alone, speech_alone)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(videos[one] - videos[other]).max() > ROUNDING


def test_the_picture_keeps_its_shape_and_the_video_says_what_made_it(world, both):
    assert pixels(both.video).shape == (FRAMES, HEIGHT, WIDTH, 3)
    said = read_metadata(both.video)
    assert said["ai_generated"] is True
    assert set(said["inputs_sha256"]) == {"image", "pose", "driving", "audio"}
    assert said["settings"]["steps"] == 2
    assert said["settings"]["guidance"] == {"reference": 3.5, "pose": 3.5, "audio": 3.5}


def test_the_same_seed_is_the_same_video_and_another_is_another(world, encoded, tmp_path):
    options = {"driving": world["driving"]}
    first, again = (make(world, tmp_path / f"{name}.mp4", seed=3, **options) for name in ("first", "again"))
    other = make(world, tmp_path / "other.mp4", seed=4, **options)
    assert first.video.read_bytes() == again.video.read_bytes()
    assert np.abs(encoded[first.video] - encoded[other.video]).max() > ROUNDING


def test_a_draft_takes_few_steps_without_guidance_and_what_is_asked_for_stands(world, tmp_path):
    draft = make(world, tmp_path / "draft.mp4", driving=world["driving"], quality="draft", guidance_pose=2.0)
    assert draft.metadata["settings"]["guidance"] == {"reference": 1.0, "pose": 2.0, "audio": 1.0}
    assert draft.metadata["settings"]["steps"] == 2  # the network's own are fewer


def test_the_shorter_of_poses_and_speech_ends_the_video_which_is_said(world, tmp_path, logged, caplog):
    with np.load(world["driving"]) as poses:
        whole = np.concatenate([poses["keypoints"], poses["scores"][..., None]], -1)
    write_poses(tmp_path / "short.npz", whole[:9], (HEIGHT, WIDTH), FPS)
    with caplog.at_level(logging.WARNING):
        made = make(world, tmp_path / "out.mp4", driving=tmp_path / "short.npz", audio=world["audio"])
    assert made.frames == 9
    assert "9 frames" in caplog.text
    assert "15 frames" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": None, "driving": "driving"}, "give image="),
        ({}, "give audio=FILE"),
        ({"audio": "audio"}, "give smga=RUN"),
        ({"audio": "audio", "smga": "smga", "driving": "driving"}, "not both"),
        ({"audio": "audio", "smga": "pose_run"}, "one of mmgt.smga is needed"),
        ({"driving": "driving", "autoencoder": "other"}, "another network than the one whose latents"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(world, tmp_path, options, said):
    if "autoencoder" in options:
        save_autoencoder(tmp_path / "other", seed=1)
    given = {key: str(world.get(value, tmp_path / str(value))) if value else None for key, value in options.items()}
    with pytest.raises(ConfigError, match=said):
        make(world, tmp_path / "out.mp4", **given)
    assert not (tmp_path / "out.mp4").exists()


def test_smga_at_another_frame_rate_is_refused(world, tmp_path):
    torch.manual_seed(0)
    SMGA(width=16, layers=1, heads=2, feedforward=32, audio_layers=1, fps=25.0).save_pretrained(tmp_path / "s/export")
    (tmp_path / "s/config.yaml").write_text(yaml.safe_dump({"stage": {"name": "mmgt.smga"}, "data": {}}))
    with pytest.raises(ConfigError, match="25 frames a second"):
        make(world, tmp_path / "out.mp4", audio=world["audio"], smga=str(tmp_path / "s"))


def test_a_picture_of_nobody_is_refused(world, tmp_path):
    Image.new("RGB", (200, 300), (90, 120, 40)).save(tmp_path / "wall.png")
    with pytest.raises(MediaError, match="no person found"):
        make(world, tmp_path / "out.mp4", image=tmp_path / "wall.png", pose=None, driving=world["driving"])


def test_a_network_of_poses_hears_nothing_but_its_video_has_the_sound(world, tmp_path):
    options = {"driving": world["driving"]}
    silent = make(world, tmp_path / "silent.mp4", run="pose_run", **options)
    heard = make(world, tmp_path / "heard.mp4", run="pose_run", audio=world["audio"], **options)
    np.testing.assert_array_equal(pixels(silent.video), pixels(heard.video))
    assert len(read_audio(heard.video)) / 16_000 == pytest.approx(SECONDS, abs=0.1)
