"""Whose face it is, to VersaAnimator's video half: the face network that a run was trained with, and none."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.media.files import MediaError
from models.human.keypoints import LEFT_EYE_RIM, POINTS, RIGHT_EYE_RIM
from models.versa.video.network import VersaVideo
from pretrained.faces import R100, FaceColours
from settings import ConfigError
from settings.hashes import file_hash
from tests.metrics.test_identity import SIZE
from tests.metrics.test_identity import save as save_onnx
from tests.trainers.versa_video_world import FRAMES, make, save_network, write_world
from trainers.animate import animate
from trainers.run.exports import find_export
from trainers.versa.dials import blinks_of


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, Path]:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.mark.paper("VA-13")
def test_a_picture_without_a_whole_face_is_refused_where_attention_is_paid_to_it(world, tmp_path):
    given = {"pose": world["faceless"], "driving": world["driving"]}
    with pytest.raises(MediaError, match="no whole face is seen"):
        make(world, tmp_path / "out.mp4", **given)
    assert make(world, tmp_path / "off.mp4", identity="off", **given).frames == FRAMES
    assert make(world, tmp_path / "pose.mp4", "pose_run", **given).frames == FRAMES


def test_another_face_network_than_the_shards_were_made_with_is_refused(world, monkeypatch):
    """Of runs that do not say which it was."""
    from trainers.versa import identity

    export = find_export(world["audio_run"])
    video = VersaVideo.from_pretrained(export.folder)
    monkeypatch.setattr(identity, "trained_with", lambda data: "ab" * 32)
    with pytest.raises(ConfigError, match="trained with another face network, one whose hash begins with abababab"):
        identity.face_network_of(export, video, None)
    monkeypatch.setattr(identity, "trained_with", lambda data: FaceColours.sha256)
    assert identity.face_network_of(export, video, None).channels == 512
    video.face_tokens.identity_channels = 12
    with pytest.raises(ConfigError, match="identity=colours"):
        identity.face_network_of(export, video, None)


@pytest.fixture(scope="module")
def arcface(world) -> Path:
    """A face network of ArcFace's format."""
    matrix = np.random.default_rng(1).normal(size=(SIZE, 8))
    return save_onnx(world["folder"] / "w600k_r50.onnx", matrix)


def named(world, folder: Path, identity: str, sha256: str = "") -> Path:
    """A run whose config names its face network, and whose network knows the hash."""
    save_network(folder, "versa.audio_video", world["folder"] / "vae", identity_channels=8, face_network=sha256)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["stage"]["identity"] = identity
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.mark.paper("VA-13")
def test_the_run_says_which_face_network_it_needs(world, arcface, tmp_path):
    sha256 = file_hash(arcface)
    run = named(world, tmp_path / "run", str(arcface), sha256)
    given = {"image": world["image"], "pose": world["pose"], "driving": world["driving"], "run": str(run)}
    made = animate(out=tmp_path / "out.mp4", **given)
    assert made.metadata["settings"]["identity"].endswith(f"w600k_r50.onnx sha256 {sha256[:8]} (other weights)")
    with pytest.raises(ConfigError, match=rf"identity=colours: .* one whose hash begins with {sha256[:16]}: give"):
        animate(out=tmp_path / "colours.mp4", identity="colours", **given)
    alone = run.rename(tmp_path / "moved") / "export"
    (alone.parent / "config.yaml").unlink()
    given["run"] = str(alone)
    with pytest.raises(ConfigError, match=rf"one whose hash begins with {sha256[:16]}: give identity=FILE"):
        animate(out=tmp_path / "alone.mp4", autoencoder=str(world["folder"] / "vae"), **given)


@pytest.mark.paper("VA-13")
def test_a_face_network_that_is_not_where_the_run_says_is_asked_for(world, tmp_path):
    run = named(world, tmp_path / "run", "glintr100.onnx", R100.sha256)
    with pytest.raises(ConfigError, match=r"identity=glintr100.onnx: no such file.*give identity=FILE") as raised:
        animate(
            out=tmp_path / "out.mp4", image=world["image"], pose=world["pose"], driving=world["driving"], run=str(run)
        )
    assert "colours" not in str(raised.value), "another network is no help"


def test_eyes_of_poses_are_measured_in_pixels():
    """An eye that is a third as high as it is wide in pixels, in a picture that is twice as wide as it is high."""
    pose = np.zeros((2, POINTS, 3), np.float32)
    eye = np.array([(0, 0), (1, -0.5), (2, -0.5), (3, 0), (2, 0.5), (1, 0.5)]) * 6.0
    for rim in (RIGHT_EYE_RIM, LEFT_EYE_RIM):
        pose[:, rim, :2] = (eye + 50) / (200, 100)
        pose[:, rim, 2] = 1
    pose[1, LEFT_EYE_RIM, 2] = 0
    np.testing.assert_allclose(blinks_of(pose, (100, 200)), [1 / 3, -1], rtol=1e-5)
