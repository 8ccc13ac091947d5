"""`python -m preprocessing.motion` of HumanML3D folders and of shards with SMPL-X parameters (VA-1)."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from datamodules.clip import encode
from datamodules.shards.index import Index
from models.human.body import forward_kinematics
from models.human.motion import PARTS, from_smplx, recover_joints, recover_rotations
from preprocessing.motion.run import import_motion
from preprocessing.runs.writer import END, member
from preprocessing.verify import verify
from settings import ConfigError
from tests.models.body_motions import parameters
from tests.preprocessing.motion_files import write_humanml3d
from tests.preprocessing.test_motion_import import clips_of, options
from tests.shards import write_shards


@pytest.mark.paper("VA-1")
def test_humanml3d_comes_with_its_splits_and_captions(tmp_path):
    names = {"000001": ("train", 3.0), "M000001": ("train", 3.0), "000002": ("val", 2.0), "000003": ("test", 2.0)}
    motions = write_humanml3d(tmp_path / "in", names)
    output = import_motion(options(tmp_path / "in", tmp_path / "out"))
    assert output["splits"] == {"test": 1, "train": 2, "val": 1}
    assert list(verify(tmp_path / "out")) == []
    for info, values, _ in clips_of(tmp_path / "out").values():
        name = Path(info.source).stem
        seconds = len(motions[name]) / 20
        assert info.split == names[name][0]
        assert [(c.start, c.end) for c in info.captions] == [(0.0, seconds), (0.5, 1.5)]
        assert info.captions[1].text == "someone bows."
        assert info.extra == {"captions": "description", "mirrored": name.startswith("M")}
        motion = values["motion.npz"]["motion"]
        there = np.ones(263, bool)
        there[PARTS["rotations"]] = False
        np.testing.assert_array_equal(motion[:, there], motions[name][:, there])
        np.testing.assert_array_equal(recover_joints(motion), recover_joints(motions[name]))


def test_rotations_of_humanml3d_are_found_anew_or_kept(tmp_path):
    motions = write_humanml3d(tmp_path / "in", {"a": ("train", 2.0)})
    for how in ("found", "kept"):
        import_motion(options(tmp_path / "in", tmp_path / how, rotations=how))
    kept, found = (
        next(iter(clips_of(tmp_path / how).values()))[1]["motion.npz"]["motion"] for how in ("kept", "found")
    )
    np.testing.assert_array_equal(kept, motions["a"])
    joints = recover_joints(found)
    posed = forward_kinematics(recover_rotations(found), joints[:, 0])
    np.testing.assert_allclose(posed, joints, atol=1e-3)  # of the stated skeleton, so the rotations explain all
    assert np.abs(found - kept)[:, PARTS["rotations"]].max() > 0.1  # arms that twist about themselves


def test_bad_motions_and_texts_of_humanml3d_are_counted(tmp_path):
    data = tmp_path / "in"
    write_humanml3d(
        data, dict.fromkeys(("ok", "nan", "kit", "mute", "gone", "lost", "one", "odd", "late"), ("train", 2.0))
    )
    motion = np.load(data / "new_joint_vecs" / "ok.npy")
    np.save(data / "new_joint_vecs" / "nan.npy", np.where(motion > 0.5, np.nan, motion))
    np.save(data / "new_joint_vecs" / "kit.npy", np.zeros((40, 251), np.float32))
    np.save(data / "new_joint_vecs" / "one.npy", motion[:1])
    (data / "new_joint_vecs" / "odd.npy").write_bytes(b"no array")
    (data / "new_joint_vecs" / "gone.npy").unlink()
    (data / "texts" / "lost.txt").unlink()
    (data / "texts" / "mute.txt").write_text("#a/DET#0.0#0.0\n\n")
    (data / "texts" / "late.txt").write_text("after the end#x#50.0#60.0\n")
    (data / "texts" / "ok.txt").write_text("no marks\na wave#x#nan#nan\nlate#x#50.0#60.0\npast the end#x#1.0#99.0\n")
    np.save(data / "new_joint_vecs" / "extra.npy", motion)
    output = import_motion(options(data, tmp_path / "out"))
    assert {Path(e["file"]).stem: e["reason"] for e in output["drops"]} == {
        "nan": "not_finite", "kit": "wrong_shape", "one": "too_short", "odd": "unreadable", "gone": "missing_file",
        "lost": "missing_file", "mute": "no_text", "late": "no_text",
    }  # fmt: skip
    assert output["unlisted"] == ["extra"]
    ((info, _, _),) = clips_of(tmp_path / "out").values()
    said = [(c.start, c.end, c.text) for c in info.captions]
    assert said == [(0.0, 1.95, "no marks"), (0.0, 1.95, "a wave"), (1.0, 1.95, "past the end")]


def test_lists_and_captions_that_an_editor_of_windows_saved(tmp_path):
    data = tmp_path / "in"
    write_humanml3d(data, {"a": ("train", 2.0), "b": ("train", 2.0)})
    (data / "train.txt").write_bytes("\ufeffa\r\nb\r\n".encode())
    (data / "texts" / "a.txt").write_bytes("\ufeffsomeone waves#x#0.0#0.0\r\n".encode())
    output = import_motion(options(data, tmp_path / "out"))
    assert (output["drops"], output["clips"]) == ([], 2)
    assert "someone waves" in [c.text for info, _, _ in clips_of(tmp_path / "out").values() for c in info.captions]


HAND_WRITTEN = {"left_hand_pose": 45, "right_hand_pose": 45, "jaw_pose": 3, "expression": 10}


def smplx_arrays(seed: int) -> dict[str, np.ndarray]:
    """`smplx.npz` of 2 s at 25 fps."""
    values = {name: array.astype(np.float32) for name, array in parameters(2.0, 25.0, seed).items()}
    values |= {name: np.zeros((50, width), np.float32) for name, width in HAND_WRITTEN.items()}
    return values | {"betas": np.zeros(10), "camera": np.zeros(3), "error": np.zeros(50)}


def add_smplx(folder: Path, arrays: dict[str, dict[str, np.ndarray]]) -> None:
    """Put `smplx.npz` into clips of a folder of shards, by id."""
    index = Index.load(folder)
    for shard in index.shards:
        old, new = (folder / shard.name).read_bytes(), b""
        for sample in shard.samples:
            body = old[sample.offset : sample.offset + sample.size]
            if sample.id in arrays:
                encoded = encode("smplx.npz", arrays[sample.id])
                body += member(f"{sample.id}.smplx.npz", encoded)
                sample.keys["smplx.npz"] = len(encoded)
            sample.offset, sample.size = len(new), len(body)
            new += body
        new += END
        (folder / shard.name).write_bytes(new)
        shard.bytes, shard.sha256 = len(new), hashlib.sha256(new).hexdigest()
    index.save(folder)
    assert list(verify(folder)) == []


@pytest.mark.paper("VA-1")
def test_clips_with_smplx_parameters_get_motion(tmp_path):
    data = tmp_path / "in"
    write_shards(data, clips=3, per_shard=2, seconds=2.0, fps=25.0, keys=("pose.npz", "speech.npz"))
    ids = [sample.id for shard in Index.load(data).shards for sample in shard.samples]
    arrays = {ids[0]: smplx_arrays(0), ids[2]: smplx_arrays(2)}
    add_smplx(data, arrays)
    output = import_motion(options(data, tmp_path / "out"))
    assert list(verify(tmp_path / "out")) == []
    assert (output["clips"], output["with_motion"], len(output["warnings"])) == (3, 2, 1)
    old, new = Index.load(data), Index.load(tmp_path / "out")
    assert set(new.statistics) == set(old.statistics) | {"body_motion"}
    assert {name: new.statistics[name] for name in old.statistics} == old.statistics
    assert new.fps == 25
    before, after = clips_of(data), clips_of(tmp_path / "out")
    assert list(after) == ids
    for clip in ids:
        (info, _, raw), (info_after, values, raw_after) = before[clip], after[clip]
        assert info == info_after
        assert {key: data for key, data in raw_after.items() if key != "motion.npz"} == raw
        assert ("motion.npz" in values) == (clip in arrays)
        if clip in arrays:
            parts = {name: arrays[clip][name] for name in ("global_orient", "body_pose", "transl")}
            wanted = from_smplx(parts, 25.0, frames=40)
            np.testing.assert_allclose(values["motion.npz"]["motion"], wanted, atol=1e-6)
    with pytest.raises(ConfigError, match="folder of the input"):
        import_motion(options(data, data))
