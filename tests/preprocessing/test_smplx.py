"""SMPL-X bodies fitted to key points, on a body model made from published anthropometry in the official file format."""

import json
from itertools import product

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo, check, encode
from models.human.body_model import BodyModelError, load_body_model
from models.human.chain import KinematicChain
from models.human.keypoints import BODY, BODY_NAMES, FACE, FOOT_NAMES, HANDS, NECK, POINTS
from models.human.rotations import axis_angle_to_matrix
from preprocessing.options import Options, notes
from preprocessing.smplx.camera import Camera
from preprocessing.smplx.energy import Energy, Variables
from preprocessing.smplx.fit import NOTHING_SEEN, fit
from preprocessing.smplx.placement import place
from preprocessing.smplx.priors import limits
from preprocessing.smplx.solver import minimise
from preprocessing.smplx.step import FitSmplx
from preprocessing.step import Draft, Drop, SourceFile
from preprocessing.steps import SMPLX
from settings import ConfigError
from tests.preprocessing.body_model_file import write_body_model
from tests.preprocessing.clips import ROOT, contents, quick_run
from tests.preprocessing.known_bodies import FOCAL, HEIGHT, WIDTH, aligned_error, known_clip
from tests.preprocessing.test_run import samples


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_body_model(tmp_path_factory.mktemp("body") / "smplx" / "SMPLX_NEUTRAL.npz")


@pytest.fixture(scope="module")
def model(file):
    return load_body_model(file)


def fitted(model, clip, **options):
    """A fit, quick enough for tests unless `effort` says otherwise."""
    options = {"effort": 0.4, **options}
    return fit(model, clip.keypoints, clip.scores, WIDTH, HEIGHT, 25.0, **{"focal": FOCAL, **options})


# The body model


def test_joints_and_key_points_are_those_of_the_smplx_package(tmp_path):
    import smplx
    from smplx.joint_names import JOINT_NAMES

    path = write_body_model(tmp_path / "SMPLX_NEUTRAL.npz", correctives=0.003)
    ours = load_body_model(path)
    theirs = smplx.SMPLX(str(path), use_pca=False, flat_hand_mean=True, batch_size=2)
    torch.manual_seed(0)
    pose, betas, expression, transl = (
        torch.randn(2, 55, 3) * 0.4,
        torch.randn(10),
        torch.randn(2, 10),
        torch.randn(2, 3),
    )
    parts = dict(zip(("global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
                      "right_hand_pose"), (p.flatten(1) for p in pose.split([1, 21, 1, 1, 1, 15, 15], 1))))  # fmt: skip
    with torch.no_grad():
        wanted = theirs(betas=betas.expand(2, -1), expression=expression, transl=transl, **parts).joints
        joints, points = ours(pose, betas, expression, transl)
    torch.testing.assert_close(joints, wanted[:, :55], atol=2e-5, rtol=0)
    hands = [
        f"{side}_{finger}{joint}"
        for side in ("left", "right")
        for finger, joint in [("wrist", ""), *product(("thumb", "index", "middle", "ring", "pinky"), (1, 2, 3, ""))]
    ]
    named = dict(enumerate((*BODY_NAMES, *FOOT_NAMES))) | dict(zip(range(POINTS)[HANDS], hands, strict=True))
    named.pop(NECK)
    for point, name in named.items():
        torch.testing.assert_close(points[:, point], wanted[:, JOINT_NAMES.index(name)], atol=2e-5, rtol=0, msg=name)
    torch.testing.assert_close(points[:, 41:92], wanted[:, 76:127], atol=2e-5, rtol=0)
    torch.testing.assert_close(points[:, 1], wanted[:, 16:18].mean(1), atol=2e-5, rtol=0)


def test_the_gradient_of_a_chain_is_that_of_finite_differences():
    chain = KinematicChain([-1, 0, 1, 1, 0]).double()
    torch.manual_seed(0)
    pose, rest = torch.randn(2, 5, 3).double(), torch.randn(2, 5, 3).double().requires_grad_()
    pose[0, 1], pose[1, 2] = 0, pose[1, 2] * 1e-4
    base = axis_angle_to_matrix(torch.randn(2, 3).double())
    assert torch.autograd.gradcheck(
        lambda pose, rest: chain(pose, rest, base), (pose.requires_grad_(), rest), atol=1e-5
    )


def test_without_contours_the_jaw_line_is_unknown(tmp_path):
    model = load_body_model(write_body_model(tmp_path / "body.npz", contours=False))
    assert model.known.sum() == POINTS - 17
    assert not model.known[24:41].any()


def test_a_face_looks_like_a_face(model):
    """The resting face is iBUG-68's: the person's right on -x, brows over eyes over lips."""
    _, points = model(torch.zeros(1, 55, 3), torch.zeros(10))
    face = points[0, FACE]
    assert face[36:42, 0].mean() < face[27:36, 0].mean() < face[42:48, 0].mean()
    assert face[17:27, 1].mean() > face[36:48, 1].mean() > face[48:68, 1].mean() > face[8, 1]
    assert points[0, 16, 0] < points[0, 14, 0] < points[0, 0, 0] < points[0, 15, 0] < points[0, 17, 0]
    opened = torch.zeros(1, 55, 3)
    opened[0, 22, 0] = 0.3
    assert model(opened, torch.zeros(10))[1][0, 24 + 66, 1] < face[66, 1] - 0.005


@pytest.mark.parametrize("fault", ["missing", "folder", "text", "keys", "sizes"])
def test_a_file_that_is_no_model_says_where_to_get_one(tmp_path, file, fault):
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    if fault == "folder":
        path = tmp_path
    elif fault == "text":
        path.write_text("hello")
    elif fault == "keys":
        np.savez(path, v_template=np.zeros((10, 3)))
    elif fault == "sizes":
        with np.load(file) as archive:
            np.savez(path, **{**archive, "weights": np.zeros((5, 55))})
    with pytest.raises(BodyModelError, match="smpl-x"):
        load_body_model(path)


def test_a_folder_will_do(file):
    assert load_body_model(file.parent).height == load_body_model(file.parent.parent).height == pytest.approx(1.7, 0.02)


# The fit


CASES = {
    "front": {"seed": 1},
    "noisy": {"seed": 2, "noise": 0.01, "missing": 0.15},
    "back": {"seed": 3, "yaw": 3.0, "noise": 0.005},
    "turning": {"seed": 4, "turning": 3.0},
    "half": {"seed": 5, "half": True, "noise": 0.005},
}


@pytest.fixture(scope="module", params=CASES)
def case(request, model):
    """A case's key points, what a perfect detector would have seen, and the fit."""
    options = {"frames": 25, **CASES[request.param]}
    clip = known_clip(model, **options)
    clean = known_clip(model, **{**options, "noise": 0.0, "missing": 0.0})
    return clip, clean, fitted(model, clip, effort=0.8)


@pytest.mark.paper("VA-1")
def test_known_bodies_are_found_again(model, case):
    """Under 1 % of body height in the picture, missing points included; nobody seen from behind is turned round."""
    clip, clean, found = case
    size = FOCAL * model.height / np.linalg.norm(clip.joints[:, 0], axis=-1)
    distance = np.linalg.norm((found.points - clean.keypoints) * (1, HEIGHT / WIDTH), axis=-1) / size[:, None]
    for part in (BODY, HANDS, FACE):
        assert distance[:, part][clean.scores[:, part] > 0].mean() < 0.01
    assert found.arrays["error"].max() < 0.02
    assert aligned_error(found.joints[:, :22], clip.joints[:, :22]) < 0.045
    turned = np.abs(facing(found.joints) - facing(clip.joints))
    assert np.minimum(turned, 2 * np.pi - turned).max() < 0.5


def test_knees_and_elbows_bend_the_right_way(case):
    pose = case[2].arrays["body_pose"].reshape(-1, 21, 3)
    assert pose[:, [3, 4], 0].min() > -0.1
    assert pose[:, 17, 1].max() < 0.1
    assert pose[:, 18, 1].min() > -0.1


def facing(joints):
    """(T,) yaw of the hips' and shoulders' left, in radians."""
    left = joints[:, 16] - joints[:, 17] + joints[:, 1] - joints[:, 2]
    return np.arctan2(-left[:, 2], left[:, 0])


def test_what_is_stored_is_the_body_that_was_fitted(model):
    """The parameters, put into the model again, give the joints; the camera gives the points; the schema is kept."""
    clip = known_clip(model, frames=12, seed=6, noise=0.003)
    found = fitted(model, clip, effort=0.1)
    arrays = found.arrays
    info = ClipInfo(id="a", source="a.mp4", end=1.0, fps=25.0, frames=12)
    check("smplx.npz", arrays, info)
    assert encode("smplx.npz", arrays)
    zero = np.zeros((12, 3), np.float32)
    names = ("global_orient", "body_pose", "jaw_pose", None, None, "left_hand_pose", "right_hand_pose")
    pose = np.concatenate([zero if name is None else arrays[name] for name in names], 1).reshape(12, 55, 3)
    with torch.no_grad():
        joints, points = (
            value.numpy()
            for value in model(*map(torch.from_numpy, (pose, arrays["betas"], arrays["expression"], arrays["transl"])))
        )
    np.testing.assert_allclose(joints, found.joints, atol=1e-4)
    focal, across, down = arrays["camera"]
    x = across + focal * points[..., 0] / -points[..., 2]
    y = (down - focal * points[..., 1] / -points[..., 2]) * WIDTH / HEIGHT
    np.testing.assert_allclose(np.stack([x, y], -1), found.points, atol=1e-4)
    assert focal == pytest.approx(FOCAL)


def test_unseen_legs_stay_at_rest(model):
    """Half a body: the legs hang straight down under it, and do not kick about."""
    found = fitted(model, known_clip(model, frames=15, seed=7, half=True))
    joints = found.joints
    for hip, knee, ankle in ((1, 4, 7), (2, 5, 8)):
        assert (joints[:, ankle, 1] < joints[:, knee, 1]).all()
        assert (joints[:, knee, 1] < joints[:, hip, 1]).all()
    assert np.abs(np.diff(joints[:, 7:9], axis=0)).max() < 0.06


def test_limits_hold_on_both_sides():
    def cost(body=(), left=(), right=(), jaw=0.0):
        values = [torch.zeros(1, size) for size in (63, 45, 45, 3)]
        for tensor, entries in zip(values, (body, left, right, [(0, jaw)])):
            for number, value in entries:
                tensor[0, number] = value
        return float(limits(values[0], torch.stack(values[1:3], 1), values[3]))

    knees, elbows, hips = (9, 12), (52, 55), (0, 3)  # axes x, y, x of the 21 joints' 63 numbers
    assert cost([(knees[0], 1.5), (knees[1], 1.5), (elbows[0], -1.5), (elbows[1], 1.5), (hips[0], -1.5)]) == 0
    assert cost(left=[(2, -1.2)], right=[(2, 1.2)], jaw=0.3) == 0
    for wrong in ([(knees[0], -0.5)], [(knees[1], -0.5)], [(elbows[0], 0.5)], [(elbows[1], -0.5)], [(hips[1], 0.9)]):
        assert cost(wrong) == pytest.approx(100, rel=1e-3)  # half a radian in units of 0.05
    assert cost(left=[(2, 1.2)]) > 50
    assert cost(right=[(2, -1.2)]) > 50
    assert cost(jaw=-0.5) == pytest.approx(100, rel=1e-3)


def test_what_is_not_seen_comes_back_to_rest(model):
    """A body that starts bent, with no key point to follow, ends as somebody who stands still."""
    nothing, target = torch.zeros(1, POINTS), torch.zeros(1, POINTS, 2)
    camera = Camera.of(WIDTH, HEIGHT)
    start = place(model.joints[:1].expand(POINTS, 3), model.height, camera, target, nothing)
    energy = Energy(model, camera, start, target, nothing, 25.0)
    variables = Variables.zeros(1, model.betas, model.expressions)
    torch.manual_seed(0)
    for tensor in variables.free(("body", "hands", "jaw", "expression", "betas")):
        with torch.no_grad():
            tensor += 0.5 * torch.randn_like(tensor)
    minimise(lambda: energy(variables, 4), variables.free(("body", "hands", "jaw", "expression", "betas")), 60)
    for name in ("body", "hands", "jaw", "expression", "betas"):
        assert getattr(variables, name).abs().max() < 0.25, name


def test_an_outlier_moves_nothing(model):
    clip, wrong = (known_clip(model, frames=12, seed=8) for _ in range(2))
    wrong.keypoints[5:8, 4] = (0.95, 0.05)
    wrong.keypoints[9, 113:134] = 0.9
    there, here = fitted(model, clip), fitted(model, wrong)
    assert np.linalg.norm(there.joints[:, 21] - here.joints[:, 21], axis=-1).max() < 0.08


def test_somebody_who_sits_is_not_taken_for_one_who_stands(model):
    """Thighs towards the camera, feet out of the picture: the knees are in front of the hips, not behind them."""
    clip = known_clip(model, frames=10, seed=16)
    turns = clip.turns.copy()
    turns[:, [1, 2], 0], turns[:, [4, 5], 0] = -1.45, 1.4
    zero = torch.zeros(10)
    with torch.no_grad():
        joints, points = model(
            torch.from_numpy(turns).float(), zero, None, torch.tensor([[0.0, -1.0, -3.0]]).expand(10, 3)
        )
    depth = -points[..., 2].numpy()
    clip.keypoints[..., 0] = 0.5 + FOCAL * points[..., 0] / depth
    clip.keypoints[..., 1] = 0.5 - FOCAL * WIDTH / HEIGHT * points[..., 1] / depth
    clip.scores[:] = 1
    clip.scores[:, [10, 13, *range(18, 24)]] = 0
    found = fitted(model, clip)
    assert np.abs(found.joints[:, [4, 5], 2] - found.joints[:, [1, 2], 2] - 0.4).max() < 0.15
    assert aligned_error(found.joints[:, :6], joints[:, :6].numpy()) < 0.06


def test_frames_without_a_person_count_as_poor(model):
    clip = known_clip(model, frames=15, seed=11)
    clip.scores[6:8] = 0
    found = fitted(model, clip)
    assert (found.arrays["error"][6:8] == NOTHING_SEEN).all()
    assert found.arrays["error"][[5, 8]].max() < 0.02
    nobody = fitted(model, known_clip(model, frames=5), minimum_score=1.1, effort=0.1)
    assert (nobody.arrays["error"] == NOTHING_SEEN).all()
    assert all(np.isfinite(array).all() for array in nobody.arrays.values())


def test_one_frame_will_do(model):
    assert fitted(model, known_clip(model, frames=1, seed=12), effort=1.0).arrays["error"].max() < 0.02


# The step


def draft(clip, fps=25.0):
    frames = len(clip.keypoints)
    info = ClipInfo(id="a", source="a.mp4", end=frames / fps, fps=fps, frames=frames, width=WIDTH, height=HEIGHT)
    source = SourceFile(ROOT / "a.mp4", "a.mp4", ROOT)
    return Draft(info, b"", fps, None, source, {"pose.npz": {"keypoints": clip.keypoints, "scores": clip.scores}})


def test_the_step_adds_parameters_and_figures(model, file):
    there = draft(known_clip(model, frames=10, seed=13))
    SMPLX.build({"name": "fit", "model": str(file), "focal": FOCAL, "effort": 0.5})(there)
    check("smplx.npz", there.arrays["smplx.npz"], there.info)
    assert there.figures["smplx_poor"] == 0
    assert 0 < there.figures["smplx_error"] < 0.01


def test_poor_fits_are_counted_and_dropped_on_demand(model, file):
    clip = known_clip(model, frames=10, seed=14)
    clip.scores[:4] = 0
    kept, dropped = draft(clip), draft(clip)
    FitSmplx(str(file), focal=FOCAL, effort=0.3, max_poor=0.5)(kept)
    assert kept.figures["smplx_poor"] == pytest.approx(0.4)
    with pytest.raises(Drop, match="40%") as drop:
        FitSmplx(str(file), focal=FOCAL, effort=0.3, max_poor=0.3)(dropped)
    assert drop.value.reason == "smplx_fit"
    assert dropped.figures["smplx_poor"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("options", "word"),
    [({}, "smpl-x.is.tue.mpg.de"), ({"model": "/no/such.npz"}, "smpl-x.is.tue.mpg.de"), ({"max_poor": 2}, "max_poor"),
     ({"focal": 0}, "focal"), ({"max_error": 0}, "max_error"), ({"minimum_score": -1}, "minimum_score")],
)  # fmt: skip
def test_wrong_options_are_named(file, options, word):
    with pytest.raises(ConfigError, match=word):
        FitSmplx(**({"model": str(file)} if options and "model" not in options else {}), **options)


def test_the_number_of_threads_changes_no_byte(model):
    threads, output = torch.get_num_threads(), []
    for number in (1, 2):
        torch.set_num_threads(number)
        try:
            found = fitted(model, known_clip(model, frames=100, seed=15, noise=0.01), effort=0.05)
            assert torch.get_num_threads() == number, "the number of threads is put back"
        finally:
            torch.set_num_threads(threads)
        output.append(encode("smplx.npz", found.arrays))
    assert output[0] == output[1]


@pytest.mark.slow
def test_workers_change_no_byte_of_the_shards(file, five_videos, tmp_path):
    """The whole command, also with key points that no body could have."""
    words = [
        f"input={five_videos}/[ab].mp4",
        "smplx=fit",
        f"smplx.model={file}",
        "smplx.effort=0.05",
        "videos_per_shard=1",
    ]
    for name, workers in (("one", 0), ("two", 2)):
        ended = quick_run(*words, f"output={tmp_path / name}", f"workers={workers}")
        assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    found = samples(tmp_path / "one").values()
    assert len(found) == 2
    assert all(values["smplx.npz"]["body_pose"].shape == (values["clip.json"].frames, 63) for values in found)
    assert all(values["clip.json"].extra["quality"]["smplx_error"] > 0 for values in found)


def test_the_summary_says_that_smplx_is_off(five_videos, tmp_path):
    ended = quick_run(f"input={five_videos / 'a.mp4'}", f"output={tmp_path / 'out'}", "workers=0")
    assert "smplx.model" in ended.stderr
    assert "smplx.model" in json.loads((tmp_path / "out" / "summary.json").read_text())["notes"][0]
    assert "smplx.model" in (tmp_path / "out" / "report.html").read_text()
    assert notes(Options("a", "b", smplx={"name": "fit", "model": "x"})) == []
