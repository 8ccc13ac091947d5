"""CSIM against plain numpy on a small network in ArcFace's file format; alignment against scikit-image."""

import copy
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from skimage.transform import SimilarityTransform

from metrics import CSIM
from models.human.aligned_face import ARCFACE_POINTS, arcface_crops, five_points, similarity
from pretrained.faces import ArcFace
from settings import ConfigError

SIZE = 3 * 112 * 112


def save(path: Path, matrix: np.ndarray, batch: int | str = "batch", side: int = 112) -> Path:
    """An ONNX file with ArcFace's inputs and outputs: pictures (N, 3, 112, 112) to (N, D), here by one matrix."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input.1"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["683"]),
        ],
        "face",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("683", TensorProto.FLOAT, [batch, matrix.shape[1]])],
        [numpy_helper.from_array(matrix.astype(np.float32), "matrix")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SIZE, 6))


@pytest.fixture(scope="module")
def weights(matrix, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("weights") / "w600k_r50.onnx", matrix)


@pytest.fixture
def faces() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(1)
    true = random.integers(0, 256, (4, 3, 112, 112))
    output = np.clip(true + random.normal(0, 60, true.shape), 0, 255)
    return torch.from_numpy(output.astype(np.uint8)), torch.from_numpy(true.astype(np.uint8))


def cosines(made: torch.Tensor, true: torch.Tensor, matrix: np.ndarray) -> np.ndarray:
    a, b = (((frames.numpy() - 127.5) / 127.5).reshape(len(frames), -1) @ matrix for frames in (made, true))
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


@pytest.mark.paper("CA-17")
@pytest.mark.paper("VA-17")
def test_is_the_mean_cosine_of_embeddings(weights, matrix, faces):
    metric = CSIM(weights)
    metric.update(*faces)
    expected = cosines(*faces, matrix)
    assert metric.compute().item() == pytest.approx(expected.mean(), abs=1e-4)
    assert expected.mean() < 0.97
    metric.reset()
    metric.update(faces[1], faces[1])
    assert metric.compute().item() == pytest.approx(1)
    assert metric.label == "CSIM (other weights)"
    assert "w600k_r50.onnx" in str(metric.source)


def test_one_picture_is_the_reference_of_all_frames(weights, matrix, faces):
    output, true = faces
    metric = CSIM(weights)
    metric.update(output, true[:1])
    assert metric.compute().item() == pytest.approx(
        cosines(output, true[:1].expand(4, -1, -1, -1), matrix).mean(), abs=1e-4
    )


def test_a_file_for_one_picture_at_a_time_works(tmp_path, matrix, faces):
    metric = CSIM(save(tmp_path / "glintr100.onnx", matrix, batch=1))
    metric.update(*faces)
    assert metric.compute().item() == pytest.approx(cosines(*faces, matrix).mean(), abs=1e-4)


def test_the_turn_equals_scikit_images():
    random = np.random.default_rng(0)
    points = random.uniform(0, 500, (5, 2))
    expected = SimilarityTransform.from_estimate(points, ARCFACE_POINTS)
    np.testing.assert_allclose(similarity(points, ARCFACE_POINTS), expected.params[:2], atol=1e-9)


def face_picture(angle: float, scale: float, shift: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture (300, 400) of the template, turned, scaled and shifted, and its five points as fractions."""
    turn = scale * np.exp(1j * np.radians(angle))
    y, x = np.mgrid[:300, :400]
    at = ((x + 1j * y) - complex(*shift)) / turn
    picture = np.stack([128 + 100 * np.sin(at.real / 17), 128 + 100 * np.cos(at.imag / 13), 128 + 0 * x], -1)
    points = turn * (ARCFACE_POINTS @ (1, 1j)) + complex(*shift)
    return picture.round().astype(np.uint8), np.stack([points.real / 400, points.imag / 300], -1)


def test_aligned_faces_look_the_same_however_the_head_is_held():
    straight, straight_points = face_picture(0, 1, (0, 0))
    turned, turned_points = face_picture(25, 1.3, (150, 40))
    one, other = (
        arcface_crops(picture[None], points[None])[0].astype(int)
        for picture, points in ((straight, straight_points), (turned, turned_points))
    )
    assert one.shape == (112, 112, 3)
    assert (one == straight[:112, :112]).mean() > 0.99
    assert np.abs(one - other)[5:-5, 5:-5].mean() < 2


def test_whole_frames_with_points_and_frames_without_a_face(weights):
    (one, points), (other, other_points) = face_picture(0, 1.2, (60, 50)), face_picture(-20, 1.5, (100, 100))
    output = torch.from_numpy(np.stack([other] * 3)).permute(0, 3, 1, 2)
    source = torch.from_numpy(one[None]).permute(0, 3, 1, 2)
    made_points = np.stack([other_points] * 3)
    made_points[1, 2] = np.nan
    metric = CSIM(weights)
    metric.update(output, source, made_points, points[None])
    assert metric.compute() > 0.99
    assert (metric.frames, metric.missed, metric.unseen) == (2, 1, 0)
    metric.update(output, source, made_points, np.full((1, 5, 2), np.nan))
    assert (metric.frames, metric.missed, metric.unseen) == (2, 2, 2)


def test_five_points_from_a_pose():
    pose = torch.zeros(2, 134, 3)
    pose[..., 2] = 1
    pose[:, 24 + 36 : 24 + 42, :2] = torch.tensor([0.3, 0.4])  # the person's right eye, left in the picture
    pose[:, 24 + 42 : 24 + 48, :2] = torch.tensor([0.6, 0.4])
    pose[:, 24 + 30, :2] = torch.tensor([0.45, 0.5])
    pose[:, 24 + 48, :2] = torch.tensor([0.35, 0.6])
    pose[:, 24 + 54, :2] = torch.tensor([0.55, 0.6])
    pose[1, 24 + 3, 2] = 0
    five = five_points(pose)
    np.testing.assert_allclose(five[0], [(0.3, 0.4), (0.6, 0.4), (0.45, 0.5), (0.35, 0.6), (0.55, 0.6)], atol=1e-6)
    assert np.isnan(five[1]).all()


def test_a_metric_can_be_copied_and_sent(weights, faces):
    metric = CSIM(weights)
    for repeated in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        repeated.update(*faces)
        assert 0 < repeated.compute() < 1


def test_what_cannot_be_used_is_named(tmp_path, weights, matrix, faces):
    with pytest.raises(ConfigError, match=r"w600k_r50\.onnx: insightface"):
        CSIM(tmp_path / "nowhere.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"<html>")
    with pytest.raises(ConfigError, match="not an ONNX file"):
        CSIM(tmp_path / "broken.onnx")
    with pytest.raises(ConfigError, match="other inputs or outputs"):
        CSIM(save(tmp_path / "small.onnx", matrix[: 3 * 56 * 56], side=56))
    metric = CSIM(ArcFace(weights))
    with pytest.raises(ValueError, match="give generated_points"):
        metric.update(torch.zeros(2, 3, 64, 64), faces[1])
    with pytest.raises(ValueError, match=r"reference_points are \(4, 5, 2\)"):
        metric.update(faces[0], faces[1], reference_points=np.zeros((4, 5)))
    with pytest.raises(ValueError, match="give one, or as many"):
        metric.update(faces[0], faces[1][:3])
    with pytest.raises(ValueError, match="one and the same"):
        metric.update(faces[0][:1], faces[1][:1], generated_points=np.full((1, 5, 2), 0.5))
