"""Key points beside the video: both formats, other rates, and really broken files."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import ClipInfo, check
from datamodules.media.files import MediaError, encode_video
from models.human.keypoints import BODY, FACE, FEET, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST
from preprocessing.pose.sidecar import SidecarPose, read_keypoints
from preprocessing.step import Draft, SourceFile

FRAMES = 40


@pytest.fixture(scope="module")
def video() -> bytes:
    return encode_video([np.full((32, 32, 3), 5 * i, np.uint8) for i in range(FRAMES)], 20)


def clip(tmp_path: Path, video: bytes, shown: np.ndarray, fps: float = 20) -> Draft:
    """A clip whose frames show the given frames of a 40-frame video at 20 fps."""
    (tmp_path / "a.mp4").write_bytes(video)
    info = ClipInfo(id="a", source="a.mp4", end=len(shown) / fps, fps=fps, frames=len(shown), width=32, height=32)
    source = SourceFile(tmp_path / "a.mp4", "a.mp4", tmp_path)
    return Draft(info=info, video=video, fps=fps, audio=None, source=source, source_frames=shown)


def motion(frames: int, seconds: float = FRAMES / 20) -> tuple[np.ndarray, np.ndarray]:
    """Every point moves right with time: x = 0.1 + 0.2 t."""
    x = 0.1 + 0.2 * np.arange(frames) / frames * seconds
    points = np.stack([np.repeat(x[:, None], 134, 1), np.full((frames, 134), 0.5)], -1).astype(np.float32)
    return points, np.full((frames, 134), 0.9, np.float32)


def write(tmp_path: Path, **arrays) -> Path:
    np.savez(tmp_path / "a.pose.npz", **arrays)
    return tmp_path / "a.pose.npz"


def test_a_clip_gets_the_rows_of_the_frames_it_shows(tmp_path, video):
    points, scores = motion(FRAMES)
    points[12, 5], scores[12, 5] = -1, 0
    scores[13, 6] = 1.3
    write(tmp_path, keypoints=points, scores=scores)
    draft = clip(tmp_path, video, np.array([10, 11, 12, 13, 13]))
    SidecarPose()(draft)
    pose = draft.arrays["pose.npz"]
    check("pose.npz", pose, draft.info)
    np.testing.assert_array_equal(pose["keypoints"][:, 0], points[[10, 11, 12, 13, 13], 0])
    assert pose["scores"][2, 5] == 0
    assert (pose["keypoints"][2, 5] == -1).all()
    assert pose["scores"][3, 6] == 1


@pytest.mark.parametrize("stated", [True, False])
def test_another_rate_is_interpolated(tmp_path, video, stated):
    points, scores = motion(60)  # 30 a second
    scores[31, 7] = 0
    points[31, 7] = -1
    write(tmp_path, keypoints=points, scores=scores, **({"fps": np.array(30.0)} if stated else {}))
    draft = clip(tmp_path, video, np.arange(20, 32))
    SidecarPose(fps=None if stated else 30)(draft)
    pose = draft.arrays["pose.npz"]
    np.testing.assert_allclose(pose["keypoints"][:, 0, 0], 0.1 + 0.2 * np.arange(20, 32) / 20, atol=1e-5)
    # Where a neighbour is missing nothing is mixed with (-1, -1).
    seen = pose["scores"][:, 7] > 0
    assert (pose["keypoints"][seen, 7, 0] > 0.2).all()
    assert (pose["keypoints"][~seen, 7] == -1).all()


def test_dwpose_format(tmp_path, video):
    random = np.random.default_rng(0)
    arrays = {
        name: random.random((FRAMES, *shape)).astype(np.float32)
        for name, shape in {"body": (18, 2), "hands": (2, 21, 2), "face": (68, 2)}.items()
    }
    values = {
        f"{name}_score": 0.2 + random.random(array.shape[:-1]).astype(np.float32) for name, array in arrays.items()
    }
    write(tmp_path, **arrays, **values)
    draft = clip(tmp_path, video, np.arange(FRAMES))
    SidecarPose()(draft)
    pose = draft.arrays["pose.npz"]
    check("pose.npz", pose, draft.info)
    np.testing.assert_array_equal(pose["keypoints"][:, BODY], arrays["body"])
    np.testing.assert_array_equal(pose["keypoints"][:, FACE], arrays["face"])
    np.testing.assert_array_equal(pose["keypoints"][:, LEFT_HAND], arrays["hands"][:, 0])
    np.testing.assert_array_equal(pose["keypoints"][:, RIGHT_HAND], arrays["hands"][:, 1])
    assert not pose["scores"][:, FEET].any()
    assert pose["scores"].max() == 1


def test_real_dwpose_file_has_its_hands_at_the_wrists():
    folder = os.environ.get("COSPEECH_MEDIA")
    path = Path(folder or "") / "dwpose" / "echomimicv2_good.npz"
    if not folder or not path.exists():
        pytest.skip("no real media (COSPEECH_MEDIA)")
    points, scores, fps = read_keypoints(path)
    assert points.shape == (102, 134, 2)
    assert fps is None
    assert scores.max() > 1
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        assert np.median(np.linalg.norm(points[:, hand.start] - points[:, wrist], axis=-1)) < 0.03


def broken(tmp_path: Path, kind: str) -> None:
    points, scores = motion(FRAMES)
    if kind == "nan":
        points[7, 3] = np.nan
    elif kind == "length":
        points, scores = points[:30], scores[:30]
    elif kind == "rate":
        return write(tmp_path, keypoints=points, scores=scores, fps=np.array(50.0)) and None
    elif kind == "shape":
        points = points[:, :133]
    elif kind == "rows":
        scores = scores[:-1]
    elif kind == "no scores":
        return write(tmp_path, keypoints=points) and None
    elif kind == "other arrays":
        return write(tmp_path, joints=points) and None
    elif kind == "fps":
        return write(tmp_path, keypoints=points, scores=scores, fps=np.array(-1.0)) and None
    elif kind == "objects":
        return write(tmp_path, keypoints=np.array([{"a": 1}], object)) and None
    elif kind == "half dwpose":
        return write(tmp_path, body=points[:, :18], body_score=scores[:, :18]) and None
    path = write(tmp_path, keypoints=points, scores=scores)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:900])
    elif kind == "text":
        path.write_text("0.1 0.2")
    return None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("nan", "keypoints has NaN.*row 7"),
        ("length", "30 rows.*40 frames.*pose.fps"),
        ("rate", "40 rows at 50 a second.*2.00 s.*100 were expected"),
        ("shape", r"keypoints is \(40, 133, 2\).*wanted is \(frames, 134, 2\)"),
        ("rows", "40 rows of points and 39 of scores"),
        ("no scores", "scores is missing"),
        ("other arrays", "arrays joints; wanted are keypoints"),
        ("fps", "fps has to be one positive number"),
        ("objects", "pickled objects, which are refused"),
        ("half dwpose", "hands is missing"),
        ("cut", "not an npz file"),
        ("text", "not an npz file"),
    ],
)
def test_broken_files_are_named(tmp_path, video, kind, says):
    broken(tmp_path, kind)
    with pytest.raises(MediaError, match=rf"a\.pose\.npz.*{says}"):
        SidecarPose()(clip(tmp_path, video, np.arange(FRAMES)))


def test_no_file_and_pickles(tmp_path, video):
    draft = clip(tmp_path, video, np.arange(FRAMES))
    with pytest.raises(MediaError, match=r"no key points at .*a.pose.npz; pose=sidecar"):
        SidecarPose()(draft)
    (tmp_path / "a.pose.pkl").write_bytes(pickle.dumps({"body": 1}))
    with pytest.raises(MediaError, match=r"a.pose.pkl looks like pickled ones, which are refused"):
        SidecarPose()(draft)


def test_a_rate_has_to_be_positive():
    with pytest.raises(ValueError, match="positive"):
        SidecarPose(fps=0)
