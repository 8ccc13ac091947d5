"""MediaPipe: same bytes twice, nobody where nobody is, people where people are."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import ClipInfo, check, decode, encode
from datamodules.media.files import encode_video, read_frames
from datamodules.media.picture import read_image
from models.human.keypoints import (  # fmt: skip
    BODY_NAMES,
    FACE,
    HANDS,
    LEFT_EYE_RIM,
    LEFT_SHOULDER,
    LIPS,
    NECK,
    NOSE,
    NOSE_BASE,
    NOSE_RIDGE,
    RIGHT_BROW,
    RIGHT_EYE_RIM,
    RIGHT_SHOULDER,
)
from preprocessing.pose import MorePeopleFound, NoPersonFound, detect_image
from preprocessing.pose.frames import ahead, shrink
from preprocessing.pose.mediapipe import MediaPipePose
from preprocessing.step import Draft, SourceFile

MEDIA = Path(os.environ.get("COSPEECH_MEDIA", "nowhere"))
real = pytest.mark.skipif(not (MEDIA / "videos").is_dir(), reason="no real media (COSPEECH_MEDIA)")

RIGHT_EYE, LEFT_EYE = BODY_NAMES.index("right_eye"), BODY_NAMES.index("left_eye")


def draft(video: bytes, frames: int, height: int, width: int) -> Draft:
    info = ClipInfo(id="a", source="a.mp4", end=frames / 25, fps=25, frames=frames, width=width, height=height)
    return Draft(info=info, video=video, fps=25, audio=None, source=SourceFile(Path("a.mp4"), "a.mp4", Path(".")))


def empty(frames: int = 5) -> Draft:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(frames)]
    return draft(encode_video(pictures, 25), frames, 96, 128)


def real_clip(name: str, frames: int, skip: int = 0) -> Draft:
    pictures = []
    for index, frame in enumerate(read_frames(MEDIA / name)):
        if index >= skip:
            small = shrink(frame, 512)
            pictures.append(small[: small.shape[0] // 2 * 2, : small.shape[1] // 2 * 2])
        if len(pictures) == frames:
            break
    return draft(encode_video(pictures, 25), frames, *pictures[0].shape[:2])


def test_nobody_in_the_video():
    clip = empty()
    MediaPipePose()(clip)
    pose = clip.arrays["pose.npz"]
    check("pose.npz", pose, clip.info)
    assert not pose["scores"].any()
    assert (pose["keypoints"] == -1).all()
    assert (clip.extras["face_mesh"] == -1).all()
    assert clip.extras["people"].tolist() == [0]


@pytest.mark.paper("MMGT-2")
def test_pose_npz_has_x_to_the_right_y_down_and_the_persons_own_left():
    """NASA's portrait of Eileen Collins, who faces the camera; where her face is in the picture was measured by eye."""
    import skimage.data

    left, top, width, height = 40, 30, 400, 300
    picture = np.ascontiguousarray(skimage.data.astronaut()[top : top + height, left : left + width])
    clip = draft(encode_video([picture] * 2, 25), 2, height, width)
    MediaPipePose(people_every=0)(clip)
    pose = decode("pose.npz", encode("pose.npz", clip.arrays["pose.npz"]))
    assert pose["keypoints"].shape == (2, 134, 2)
    assert pose["scores"].shape == (2, 134)
    x, y = (pose["keypoints"][1] * (width, height)).T
    for point, (at_x, at_y) in {
        NOSE: (222, 128),
        RIGHT_EYE: (203, 104),
        LEFT_EYE: (249, 112),
        RIGHT_SHOULDER: (120, 240),
        LEFT_SHOULDER: (300, 255),
        FACE.start + 8: (215, 190),  # the chin
    }.items():
        near = 45 if point in (RIGHT_SHOULDER, LEFT_SHOULDER) else 22  # pixels; shoulders are under a wide suit
        assert abs(x[point] - (at_x - left)) < near, point
        assert abs(y[point] - (at_y - top)) < near, point
    # Her right is left in the picture, of the body and of the face's own points; down is larger.
    assert x[RIGHT_EYE] < x[NOSE] < x[LEFT_EYE]
    assert x[RIGHT_EYE_RIM].mean() < x[NOSE_RIDGE].mean() < x[LEFT_EYE_RIM].mean()
    assert y[RIGHT_BROW].mean() < y[RIGHT_EYE_RIM].mean() < y[NOSE_BASE].mean() < y[LIPS].mean() < y[FACE.start + 8]
    assert y[NOSE] < y[NECK]


def test_options_are_checked():
    with pytest.raises(ValueError, match="at least 64"):
        MediaPipePose(side=10)


@real
def test_a_real_speaker_with_hands_and_the_same_bytes_twice():
    step = MediaPipePose()
    first = real_clip("videos/latentsync_demo3_video.mp4", 30)
    step(first)
    pose = first.arrays["pose.npz"]
    check("pose.npz", pose, first.info)
    scores, points = pose["scores"], pose["keypoints"]
    assert scores[:, [NOSE, NECK, LEFT_SHOULDER, RIGHT_SHOULDER]].min() > 0.9
    assert scores[:, FACE].min() > 0.9
    assert (scores[:, HANDS] > 0.5).mean() > 0.9
    # He looks at the camera: his own left is on the right of the picture.
    assert (points[:, LEFT_SHOULDER, 0] > points[:, RIGHT_SHOULDER, 0] + 0.1).all()
    assert (points[:, 92:113, 0].mean(1) > points[:, 113:134, 0].mean(1)).mean() > 0.9
    other = real_clip("videos/sadtalker_head_a.mp4", 8)
    step(other)
    second = real_clip("videos/latentsync_demo3_video.mp4", 30)
    step(second)
    for name, array in pose.items():
        assert array.tobytes() == second.arrays["pose.npz"][name].tobytes(), f"{name} differs after another clip"
    assert first.extras["face_mesh"].tobytes() == second.extras["face_mesh"].tobytes()


@real
def test_a_head_alone_has_no_hands_and_shoulders_only_as_far_as_seen():
    clip = real_clip("videos/sadtalker_head_a.mp4", 20)
    MediaPipePose()(clip)
    scores = clip.arrays["pose.npz"]["scores"]
    assert scores[:, FACE].min() > 0.9
    assert not scores[:, HANDS].any()
    assert np.median(scores[:, [LEFT_SHOULDER, RIGHT_SHOULDER]]) < 0.5, (
        "shoulders below the picture's edge are not seen"
    )


@real
@pytest.mark.parametrize(
    "name", ["echomimic_b.png", "echomimicv2_openhand_0035.png", "liveportrait_s0.jpg", "liveportrait_s12.jpg"]
)
def test_pictures_of_one_person(name):
    """Among them a JPEG of 2,840 pixels named .png, and a painting."""
    pose = detect_image(read_image(MEDIA / "images" / name), name)
    assert pose.shape == (134, 3)
    assert pose.dtype == np.float32
    assert pose[NOSE, 2] > 0.5
    assert pose[FACE, 2].min() > 0.5
    nose, neck = pose[NOSE], pose[NECK]
    assert 0 < nose[0] < 1
    assert nose[1] < neck[1]


@real
def test_a_cat_is_no_person():
    with pytest.raises(NoPersonFound, match=r"no person found in cat.jpg: "):
        detect_image(read_image(MEDIA / "images" / "negative_liveportrait_s41.jpg"), "cat.jpg")


@real
def test_two_people_in_a_picture():
    one = read_image(MEDIA / "images" / "echomimicv2_openhand_0035.png")
    with pytest.raises(MorePeopleFound, match=r"2 people found in us.png"):
        detect_image(np.hstack([one, one]), "us.png")


def test_pictures_that_cannot_be_used():
    with pytest.raises(NoPersonFound, match=r"no person found in grey.png"):
        detect_image(np.full((300, 200, 3), 127, np.uint8), "grey.png")
    with pytest.raises(NoPersonFound, match="8 x 6 pixels are too few"):
        detect_image(np.zeros((6, 8, 3), np.uint8), "dot.png")
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB, got"):
        detect_image(np.zeros((64, 64), np.uint8), "flat.png")


def test_mediapipe_starts_without_chatter(tmp_path):
    code = (
        "import numpy as np, sys; from preprocessing.pose.holistic import Holistic; h = Holistic()\n"
        "for _ in range(2):\n    h(np.zeros((128, 128, 3), np.uint8)); h.reset()\nprint('still here', file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "still here"


def test_frames_are_worked_on_ahead_in_order():
    worker = []

    def work(item: int) -> int:
        worker.append(threading.current_thread())
        return item * item

    assert list(ahead(range(20), work, 3)) == [i * i for i in range(20)]
    assert threading.current_thread() not in worker


def test_what_a_frame_raises_arrives_in_its_place():
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("frame 3 is broken")
        return item

    items = ahead(range(10), work)
    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(ValueError, match="frame 3"):
        next(items)


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    frames = ahead(iter(int, 1), lambda item: item)
    next(frames)
    frames.close()
    assert threading.active_count() == before
