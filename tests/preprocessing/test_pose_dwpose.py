"""DWPose: decoding, suppression, fitting in and back, re-ordering, checked on tiny ONNX files with known answers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from datamodules.clip import ClipInfo, check, decode, encode
from datamodules.media.files import encode_video
from models.human.keypoints import BODY, BODY_NAMES, FACE, FEET, FOOT_NAMES, LEFT_HAND, NECK, RIGHT_HAND
from preprocessing.pose.dwpose import DWPose
from preprocessing.pose.dwpose_math import Window, decode_people, decode_simcc, letterbox, suppress
from preprocessing.step import Draft, SourceFile

WIDTH, HEIGHT = 480, 320
SCALE = 640 / WIDTH  # of the letterbox


def raw_boxes(*boxes: tuple[float, float, float, float, float, int]) -> np.ndarray:
    """Detector output (1, 8400, 85) that stands for boxes left, top, right, bottom (frame pixels), score, class."""
    raw = np.full((1, 8400, 85), -9.0, np.float32)
    raw[..., 4:] = 0
    for number, (left, top, right, bottom, score, kind) in enumerate(boxes):
        # The cells of stride 16 start after the 80 x 80 of stride 8; each box takes another one.
        column, row = 3 + number, 5
        cell = 6400 + row * 40 + column
        centre = np.array([left + right, top + bottom]) / 2 * SCALE
        raw[0, cell, :2] = centre / 16 - (column, row)
        raw[0, cell, 2:4] = np.log(np.array([right - left, bottom - top]) * SCALE / 16)
        raw[0, cell, 4], raw[0, cell, 5 + kind] = 0.9, score / 0.9
    return raw


def save(path: Path, nodes, takes, gives, constants) -> None:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in gives.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def save_detector(folder: Path, raw: np.ndarray) -> None:
    save(
        folder / "yolox_l.onnx",
        [helper.make_node("Identity", ["raw"], ["output"])],
        [1, 3, 640, 640],
        {"output": [1, 8400, 85]},
        {"raw": raw},
    )


HEADS = {"simcc_x": ["B", 133, 576], "simcc_y": ["B", 133, 768]}


def save_seeing_pose(folder: Path) -> None:
    """A pose network whose 133 points all lie on the brightest column and row of its input."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["columns"], axes=[1, 2], keepdims=1),
        helper.make_node("Squeeze", ["columns", "axis"], ["c"]),
        helper.make_node("ReduceMean", ["input"], ["rows"], axes=[1, 3], keepdims=1),
        helper.make_node("Squeeze", ["rows", "last"], ["r"]),
        helper.make_node("MatMul", ["c", "double_x"], ["x1"]),
        helper.make_node("MatMul", ["r", "double_y"], ["y1"]),
        helper.make_node("Mul", ["x1", "points"], ["x2"]),
        helper.make_node("Mul", ["y1", "points"], ["y2"]),
        helper.make_node("Add", ["x2", "three"], ["simcc_x"]),
        helper.make_node("Add", ["y2", "three"], ["simcc_y"]),
    ]
    constants = {
        "axis": np.array([1], np.int64),
        "last": np.array([3], np.int64),
        "double_x": np.repeat(np.eye(288, dtype=np.float32), 2, 1),
        "double_y": np.repeat(np.eye(384, dtype=np.float32), 2, 1),
        "points": np.ones((133, 1), np.float32),
        "three": np.array(3, np.float32),
    }
    save(folder / "dw-ll_ucoco_384.onnx", nodes, ["B", 3, 384, 288], HEADS, constants)


def save_constant_pose(folder: Path, batch: int | str = 1) -> None:
    """Point k of the 133 at column 2k and row 2k + 100 of the heads, its score k / 100 (so that some exceed 1)."""
    x, y = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
    points = np.arange(133)
    x[0, points, 2 * points] = points / 100
    y[0, points, 2 * points + 100] = points / 100 + 0.5  # the lower of the two maxima counts
    nodes = [helper.make_node("Identity", ["x"], ["simcc_x"]), helper.make_node("Identity", ["y"], ["simcc_y"])]
    gives = {"simcc_x": [1, 133, 576], "simcc_y": [1, 133, 768]}
    save(folder / "dw-ll_ucoco_384.onnx", nodes, [batch, 3, 384, 288], gives, {"x": x, "y": y})


def draft(tmp_path: Path, frames: list[np.ndarray]) -> Draft:
    height, width = frames[0].shape[:2]
    info = ClipInfo(
        id="a", source="a.mp4", end=len(frames) / 25, fps=25, frames=len(frames), width=width, height=height
    )
    source = SourceFile(tmp_path / "a.mp4", "a.mp4", tmp_path)
    return Draft(info=info, video=encode_video(frames, 25, crf=1), fps=25, audio=None, source=source)


def dots(*places: tuple[int, int]) -> list[np.ndarray]:
    """Dark frames with one bright square each."""
    frames = []
    for x, y in places:
        frame = np.full((HEIGHT, WIDTH, 3), 16, np.uint8)
        frame[y - 6 : y + 7, x - 6 : x + 7] = 235
        frames.append(frame)
    return frames


def test_points_come_back_to_the_place_in_the_frame_where_they_were_seen(tmp_path):
    save_detector(tmp_path, raw_boxes((100, 40, 340, 300, 0.8, 0), (10, 10, 30, 40, 0.9, 0), (0, 0, 400, 300, 0.95, 7)))
    save_seeing_pose(tmp_path)
    places = [(120, 60), (200, 150), (330, 290), (250, 100), (180, 270)]
    clip = draft(tmp_path, dots(*places))
    DWPose(weights=str(tmp_path), batch=2)(clip)
    pose = clip.arrays["pose.npz"]
    check("pose.npz", pose, clip.info)
    found = pose["keypoints"] * (WIDTH, HEIGHT)
    assert np.abs(found - np.array(places)[:, None]).max() < 8
    # A second, much smaller person is no second speaker; the class beside "person" is nobody.
    assert clip.extras["people"].tolist() == [1] * 5


# COCO-WholeBody's order, as RTMPose and DWPose are trained on it: 17 of the body, 6 of the feet, 68, 21 left, 21 right.
COCO = ["nose"] + [
    f"{side}_{part}"
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]
COCO_FEET = [f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")]


def save_person(folder: Path) -> None:
    """A pose network that sees a person who faces the camera: its right is left in the picture, each name lower."""
    x, y = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
    for number, name in enumerate([*COCO, *COCO_FEET]):
        x[0, number, 288 + (120 if name.startswith("left") else -120 if name.startswith("right") else 0)] = 0.9
        y[0, number, 40 + 30 * number] = 0.9
    for hand, side in ((91, 200), (112, -200)):
        x[0, hand : hand + 21, 288 + side] = 0.9
        y[0, hand + np.arange(21), 300 + 4 * np.arange(21)] = 0.9
    x[0, 23 + np.arange(68), 240 + np.arange(68)] = 0.9
    y[0, 23 + np.arange(68), 20 + 2 * np.arange(68)] = 0.9
    nodes = [helper.make_node("Identity", ["x"], ["simcc_x"]), helper.make_node("Identity", ["y"], ["simcc_y"])]
    gives = {"simcc_x": [1, 133, 576], "simcc_y": [1, 133, 768]}
    save(folder / "dw-ll_ucoco_384.onnx", nodes, [1, 3, 384, 288], gives, {"x": x, "y": y})


@pytest.mark.paper("MMGT-2")
def test_pose_npz_has_x_to_the_right_y_down_and_the_persons_own_left(tmp_path):
    save_detector(tmp_path, raw_boxes((120, 40, 320, 300, 0.8, 0)))
    save_person(tmp_path)
    clip = draft(tmp_path, dots((50, 50)))
    DWPose(weights=str(tmp_path))(clip)
    pose = decode("pose.npz", encode("pose.npz", clip.arrays["pose.npz"]))
    assert pose["keypoints"].shape == (1, 134, 2)
    x, y = pose["keypoints"][0].T
    middle = x[BODY_NAMES.index("nose")]
    assert 0.4 < middle < 0.5  # of the box
    for names, part in ((BODY_NAMES, BODY), (FOOT_NAMES, FEET)):
        for number, name in enumerate(names):
            if name != "neck":
                side = np.sign(round(float(x[part][number] - middle), 3))
                assert side == {"left": 1, "right": -1}.get(name.split("_")[0], 0), name
    # Down the picture in COCO's order, by the names of ours.
    ours = {name: y[BODY][i] for i, name in enumerate(BODY_NAMES)} | {n: y[FEET][i] for i, n in enumerate(FOOT_NAMES)}
    downwards = np.array([ours[name] for name in [*COCO, *COCO_FEET]])
    assert (np.diff(downwards) > 0.005).all()
    assert x[LEFT_HAND].min() > middle > x[RIGHT_HAND].max()
    for part in (LEFT_HAND, RIGHT_HAND, FACE):
        assert (np.diff(y[part]) > 0).all()
    assert (np.diff(x[FACE]) > 0).all()


def test_two_people_of_one_size_are_counted(tmp_path):
    save_detector(tmp_path, raw_boxes((20, 40, 200, 300, 0.8, 0), (260, 60, 460, 300, 0.7, 0)))
    save_constant_pose(tmp_path)
    clip = draft(tmp_path, dots((50, 50)) * 4)
    DWPose(weights=str(tmp_path), detect_every=2)(clip)
    assert clip.extras["people"].tolist() == [2, 2]


def test_nobody_found_takes_the_whole_picture(tmp_path):
    save_detector(tmp_path, raw_boxes((100, 40, 340, 300, 0.2, 0)))
    save_seeing_pose(tmp_path)
    clip = draft(tmp_path, dots((440, 20), (30, 300)))
    DWPose(weights=str(tmp_path))(clip)
    found = clip.arrays["pose.npz"]["keypoints"] * (WIDTH, HEIGHT)
    assert np.abs(found - np.array([(440, 20), (30, 300)])[:, None]).max() < 8
    assert clip.extras["people"].tolist() == [0, 0]


def test_133_points_become_134_with_neck_scores_and_missing_points(tmp_path):
    box = np.array([100, 40, 340, 300])
    save_detector(tmp_path, raw_boxes((*box, 0.8, 0)))
    save_constant_pose(tmp_path)
    clip = draft(tmp_path, dots((50, 50)) * 2)
    DWPose(weights=str(tmp_path), minimum_score=0.05)(clip)
    points, scores = clip.arrays["pose.npz"]["keypoints"][0], clip.arrays["pose.npz"]["scores"][0]
    # The window: the box a quarter larger, widened to 3 : 4 about its centre.
    height = 260 * 1.25
    size = np.array([max(240 * 1.25, height * 0.75), max(240 * 1.25 / 0.75, height)])
    scale = size[0] / 288

    def place(k: float) -> np.ndarray:
        """Where point k of the 133 lies in the frame."""
        return (np.array([220, 170]) - size / 2 + np.array([k, k + 50]) * scale) / (WIDTH, HEIGHT)

    order = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    for ours, theirs in enumerate(order):
        if theirs is not None and theirs >= 5:
            np.testing.assert_allclose(points[ours], place(theirs), atol=1e-5)
            assert scores[ours] == pytest.approx(theirs / 100, abs=1e-6)
    np.testing.assert_allclose(points[NECK], place(5.5), atol=1e-5)
    assert scores[NECK] == pytest.approx(0.05)
    for part, first in ((slice(18, 24), 17), (FACE, 23), (LEFT_HAND, 91), (RIGHT_HAND, 112)):
        np.testing.assert_allclose(points[part.start], place(first), atol=1e-5)
        np.testing.assert_allclose(points[part.stop - 1], place(first + part.stop - part.start - 1), atol=1e-5)
    assert scores[133] == 1.0, "DWPose's scores above 1 are clipped"
    missing = scores[BODY] == 0
    assert missing.sum() == 5
    assert (points[BODY][missing] == -1).all()


def test_letterbox_stands_top_left_on_grey_in_blue_green_red():
    frame = np.zeros((320, 480, 3), np.uint8)
    frame[..., 0] = 200
    square, scale = letterbox(frame)
    assert square.shape == (3, 640, 640)
    assert scale == pytest.approx(640 / 480)
    inside, outside = square[:, :426], square[:, 428:]
    assert (inside[2] == 200).all()
    assert (inside[:2] == 0).all()
    assert (outside == 114).all()


def test_people_are_decoded_best_first_and_overlaps_dropped():
    raw = raw_boxes(
        (100, 40, 340, 300, 0.6, 0), (104, 44, 340, 300, 0.8, 0), (400, 40, 470, 300, 0.5, 0), (0, 0, 9, 9, 0.29, 0)
    )[0]
    people = decode_people(raw, SCALE)
    np.testing.assert_allclose(people, [[104, 44, 340, 300, 0.8], [400, 40, 470, 300, 0.5]], atol=1e-2)


def test_suppression_keeps_what_overlaps_little():
    boxes = np.array([[0, 0, 99, 99], [0, 0, 99, 49], [0, 40, 99, 139], [200, 0, 299, 99]], float)
    # With the first: 0.5 of the union, 60 / 140 = 0.43, nothing.
    assert suppress(boxes, np.array([0.9, 0.8, 0.7, 0.6]), 0.45) == [0, 2, 3]


def test_window_there_and_back():
    window = Window.around(np.array([100, 40, 340, 300]))
    assert window.size[0] / window.size[1] == pytest.approx(0.75)
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[200:203, 150:153] = 255
    crop = window.crop(frame)
    assert crop.shape == (3, 384, 288)
    bright = crop.sum(0)
    y, x = np.unravel_index(bright.argmax(), bright.shape)
    np.testing.assert_allclose(window.to_frame(np.array([x, y])), (151, 201), atol=1.5)
    # Black is minus mean over deviation, in red, green, blue.
    np.testing.assert_allclose(crop[:, 0, 0], [-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375], rtol=1e-5)


def test_simcc_takes_the_lower_maximum_and_half_pixels():
    x, y = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
    x[0, 7, 301], y[0, 7, 500] = 0.9, 0.4
    points, scores = decode_simcc(x, y)
    assert points[0, 7].tolist() == [150.5, 250]
    assert scores[0, 7] == pytest.approx(0.4)


def test_files_that_are_missing_broken_or_other_models_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no yolox_l.onnx in .*huggingface.co/yzd-v/DWPose.*pose.weights=FOLDER"):
        DWPose(weights=str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        ValueError, match=r"yolox_l.onnx cannot be fetched from the hub's cospeech-nobody/nothing .*hf download"
    ):
        DWPose(weights="cospeech-nobody/nothing")
    save_detector(tmp_path, raw_boxes())
    save_constant_pose(tmp_path)
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "yolox_l.onnx").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut.onnx is not an ONNX file that can be used"):
        DWPose(weights=str(tmp_path), detector="cut.onnx")
    with pytest.raises(ValueError, match="other inputs or outputs"):
        DWPose(weights=str(tmp_path), detector="dw-ll_ucoco_384.onnx")
    with pytest.raises(ValueError, match="at least 1"):
        DWPose(weights=str(tmp_path), batch=0)
