"""Networks that tell people apart: by name, and the embedding that needs no weights."""

import hashlib

import cv2
import numpy as np
import pytest

from models.human.aligned_face import ARCFACE_POINTS, ARCFACE_SIDE
from models.human.keypoints import FACE, LEFT_EYE_RIM, LIPS, NOSE_RIDGE, POINTS, RIGHT_EYE_RIM
from pretrained.faces import COLOURS, R50, R100, FaceColours, embeddings, face_network_hash, load_face_network
from settings import ConfigError
from tests.metrics.test_identity import SIZE, save


def face(skin: tuple[int, int, int], hair: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A drawn face as ArcFace's crop has it, with a little noise."""
    picture = np.zeros((ARCFACE_SIDE, ARCFACE_SIDE, 3), np.uint8) + np.uint8(90)
    cv2.circle(picture, (56, 45), 50, hair, -1)
    cv2.ellipse(picture, (56, 66), (34, 44), 0, 0, 360, skin, -1)
    for x, y in ARCFACE_POINTS.round().astype(int)[:2]:
        cv2.circle(picture, (int(x), int(y)), 4, (30, 30, 30), -1)
    noise = np.random.default_rng(seed).normal(0, 6, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


PEOPLE = [((240, 200, 170), (40, 30, 20)), ((120, 80, 60), (20, 20, 20)), ((230, 190, 160), (220, 190, 90))]


def pose_of(places: np.ndarray) -> np.ndarray:
    """A pose (134, 3) whose five points are at places (5, 2), fractions of the frame."""
    pose = np.full((POINTS, 3), 0.5)
    pose[FACE, 2] = 1
    pose[RIGHT_EYE_RIM, :2], pose[LEFT_EYE_RIM, :2] = places[0], places[1]
    pose[NOSE_RIDGE.stop - 1, :2] = places[2]
    pose[LIPS.start, :2], pose[LIPS.start + 6, :2] = places[3], places[4]
    return pose


@pytest.mark.paper("VA-13")
def test_colours_tell_people_apart_and_are_told_apart():
    network = load_face_network("identity", COLOURS)
    found = network(np.stack([face(*person, seed) for person in PEOPLE for seed in (0, 1)]))
    assert found.shape == (6, network.channels) == (6, 512)
    assert found.dtype == np.float32
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    likeness = unit @ unit.T
    same = [likeness[2 * k, 2 * k + 1] for k in range(3)]
    others = [likeness[i, j] for i in range(6) for j in range(6) if i // 2 != j // 2]
    assert min(same) > max(others) + 0.02
    assert not network.source.standard
    assert str(network.source) == "no face network, colours of the aligned face (other weights)"
    assert len(bytes.fromhex(network.sha256)) == 32


@pytest.mark.paper("VA-13")
def test_a_face_network_is_found_by_name(tmp_path):
    path = save(tmp_path / "w600k_r50.onnx", np.random.default_rng(0).normal(size=(SIZE, 7)))
    network = load_face_network("identity", str(path))
    assert network.channels == 7
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert network(face(*PEOPLE[0])[None]).shape == (1, 7)
    with pytest.raises(ConfigError, match=r"^identity=.*no such file.*identity=colours does with less") as caught:
        load_face_network("identity", str(tmp_path / "other.onnx"))
    assert "\n" not in str(caught.value)


@pytest.mark.paper("VA-13")
def test_the_face_of_a_frame_is_found_by_its_pose_wherever_it_is():
    network = load_face_network("identity", COLOURS)
    aligned = face(*PEOPLE[0])
    frames = np.zeros((3, 200, 300, 3), np.uint8)
    frames[0, 20:132, 30:142] = aligned
    frames[1, 70:182, 150:262] = aligned
    shifts = np.array([(30, 20), (150, 70), (0, 0)])
    pose = np.stack([pose_of((ARCFACE_POINTS + shift) / (300, 200)) for shift in shifts])
    pose[2, FACE.start + 3, 2] = 0  # a point that is not seen
    found = embeddings(network, frames, pose)
    np.testing.assert_allclose(found[0], network(aligned[None])[0], atol=0.05)
    np.testing.assert_allclose(found[1], found[0], atol=0.05)
    assert not found[2].any()
    assert embeddings(network, frames[:0], pose[:0]).shape == (0, 512)


@pytest.mark.paper("VA-13")
def test_who_has_embeddings_knows_the_network_by_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert face_network_hash("stage.identity", COLOURS) == FaceColours.sha256
    assert face_network_hash("stage.identity", "glintr100.onnx") == R100.sha256
    (tmp_path / "w600k_r50.onnx").write_bytes(b"other weights")
    there = hashlib.sha256(b"other weights").hexdigest()
    assert face_network_hash("stage.identity", "w600k_r50.onnx") == there != R50.sha256, "what is there counts"
    assert face_network_hash("stage.identity", str(tmp_path)) == there
    with pytest.raises(ConfigError, match=r"^stage.identity=mine.onnx: no such file.*colours is the network that"):
        face_network_hash("stage.identity", "mine.onnx")
