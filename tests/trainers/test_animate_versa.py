"""Text and speech to a pose video of the whole body: what is made, for whom, and messages for what cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from datamodules.media.files import read_frames, read_metadata
from models.human.keypoints import FACE, LEFT_HAND, LEFT_WRIST, NECK, NOSE
from models.human.projection import project_joints
from models.human.retarget import BONES, lengths_of, target_of
from models.versa.token2pose import PoseBank, Template
from models.versa.tokenizer import MotionTokenizer
from models.versa.transformer import MotionTransformer
from settings import ConfigError
from tests.models.test_token2pose import waving
from tests.motions import make_motion, motion_statistics
from tests.trainers.commands import status
from trainers.animate import animate, main
from trainers.versa.timed_text import read_texts

CODES = 16
SIZES = {"codes": CODES, "width": 16, "layers": 1, "heads": 2, "feedforward": 16, "text_buckets": 64, "text_layers": 1}


def saved(folder: Path, network: torch.nn.Module, stage: str, **options: str) -> Path:
    network.save_pretrained(folder / "export")
    (folder / "config.yaml").write_text(yaml.safe_dump({"stage": {"name": stage, **options}}))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Run folders of small untrained networks, and a bank without the last four tokens."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    tokenizer = MotionTokenizer(codes=CODES, code_width=8, width=16, depth=1)
    rng = np.random.default_rng(0)
    tokenizer.set_statistics(motion_statistics([make_motion(rng, 80) for _ in range(4)]))
    torch.nn.init.normal_(tokenizer.quantizer.codebook)
    output = {"tokenizer": saved(folder / "tokenizer", tokenizer, "versa.tokenizer")}
    options = {"tokenizer": str(output["tokenizer"])}
    output["text"] = saved(folder / "text", MotionTransformer(**SIZES), "versa.text_motion", **options)
    both = MotionTransformer(**SIZES, audio_branch=True)
    output["audio"] = saved(folder / "audio", both, "versa.audio_motion", **options)
    keypoints, scores = project_joints(waving(40))
    scores[:, 24:134] = 1
    keypoints[:, 24:134] = keypoints[:, [0]] + 0.1 * torch.randn(1, 110, 2)
    bank = PoseBank.build([Template(torch.arange(40) % (CODES - 4), keypoints, scores)], codes=CODES)
    bank.save_pretrained(folder / "bank")
    return {**output, "bank": folder / "bank"}


@pytest.fixture(scope="module")
def pose(tmp_path_factory) -> Path:
    """A person of some size who stands somewhere, hands and face included."""
    keypoints, scores = project_joints(waving(1, seed=4))
    person = keypoints[0] * 0.3 + torch.tensor([0.45, 0.6])
    g = torch.Generator().manual_seed(0)
    person[FACE] = person[NOSE] + 0.03 * torch.randn(68, 2, generator=g)
    person[LEFT_HAND] = person[LEFT_WRIST] + 0.02 * torch.randn(21, 2, generator=g)
    seen = scores[0]
    seen[FACE] = seen[LEFT_HAND] = 1
    person[seen == 0] = -1
    path = tmp_path_factory.mktemp("pose") / "me.npz"
    np.savez(path, keypoints=person[None].numpy(), scores=seen[None].numpy())
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.normal(size=16_000 * 3).astype(np.float32), 16_000)
    return path


def poses_in(path: Path) -> np.ndarray:
    with np.load(path.with_suffix(".npz")) as archive:
        return np.concatenate([archive["keypoints"], archive["scores"][..., None]], -1)


@pytest.mark.paper("VA-9")
def test_text_in_time_becomes_a_silent_video_of_that_length(runs, pose, tmp_path, slow_clock, capsys):
    out = tmp_path / "out.mp4"
    words = ["--text", "0-2 s: waves the right hand", "--text", "2-3.5s: bows", f"run={runs['text']}", f"pose={pose}"]
    assert main([*words, f"out={out}", "seed=3", "size=128"]) == 0
    printed = capsys.readouterr()
    assert "3.5 s, 88 frames" in printed.out
    assert "generating motion tokens  2/10  ETA " in printed.err
    assert sum(1 for _ in read_frames(out)) == 88
    said = read_metadata(out)
    assert said["settings"]["text"] == ["0-2 s: waves the right hand", "2-3.5s: bows"]
    assert said["ai_generated"] is True
    first = poses_in(out)
    assert main([*words, f"out={tmp_path / 'again.mp4'}", "seed=3", "size=128"]) == 0
    assert (tmp_path / "again.mp4").read_bytes() == out.read_bytes()
    assert main([*words, f"out={tmp_path / 'other.mp4'}", "seed=4", "size=128"]) == 0
    assert not np.array_equal(poses_in(tmp_path / "other.mp4"), first)


@pytest.mark.paper("VA-10")
def test_speech_and_a_bank_make_real_poses_of_the_person_in_the_picture(runs, pose, speech, tmp_path):
    output = animate(
        run=str(runs["audio"]), pose=pose, audio=speech, bank=str(runs["bank"]), out=tmp_path / "o.mp4", size=128
    )
    assert (output.frames, output.fps) == (75, 25)
    assert (tmp_path / "o.mp4").with_suffix(".lips.mp4").exists()
    poses = torch.from_numpy(output.poses)
    square = poses[..., :2] * 512
    with np.load(pose) as archive:
        own, seen = torch.from_numpy(archive["keypoints"][0]) * 512, torch.from_numpy(archive["scores"][0])
    have = lengths_of(square, poses[..., 2])
    want = target_of(own, seen, have)
    known = have.bones.isfinite()
    assert known.sum() == len(BONES)
    assert ((have.bones - want.bones).abs() / want.bones)[known].max() < 0.02
    assert (square[:, NECK].mean(0) - own[NECK]).norm() < 1


def test_face_and_hands_that_a_motion_lacks_are_the_picture_s_own(runs, pose, tmp_path):
    output = animate(run=str(runs["text"]), pose=pose, text=["turns"], seconds=2.0, out=tmp_path / "o.mp4", size=128)
    assert output.frames == 50
    with np.load(pose) as archive:
        own = archive["keypoints"][0]
    moved = output.poses[:, FACE, :2] - output.poses[:, [NOSE], :2]
    np.testing.assert_allclose(moved, np.broadcast_to(own[FACE] - own[NOSE], moved.shape), atol=1e-4)
    assert (output.poses[:, FACE, 2] > 0).all()
    hand = np.linalg.norm(output.poses[:, LEFT_HAND, :2] - output.poses[:, [LEFT_WRIST], :2], axis=-1)
    size = np.linalg.norm(own[LEFT_HAND] - own[LEFT_WRIST], axis=-1)
    np.testing.assert_allclose(hand, np.broadcast_to(size, hand.shape), atol=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give audio=FILE to speak to, or text=WORDS"),
        (["text=0-2: waves", "text=bows"], "holds all of the time, beside other texts"),
        (["text=0-2: waves", "text=1-3: bows"], "overlaps the text from 0 to 2 s"),
        (["text=2-1: waves", "seconds=4"], "ends behind its start"),
        (["text=3-4: waves", "seconds=2"], "starts behind the end of the motion"),
        (["text=0-2: "], "text"),
        (["text=-1-2: waves"], "a span is written as in"),
        (["text=waves"], "how long the motion shall be"),
        (["text=waves", "seconds=0"], "'seconds' Input should be greater than 0"),
        (["text=waves", "seconds=2", "bank=nowhere"], "bank=nowhere"),
        (["text=waves", "seconds=2", "tokenizer=nowhere"], "nowhere"),
        (["text=waves", "seconds=2", "beta=0.3"], "means nothing to a network of versa.text_motion"),
        (["audio=nothing.wav"], "trained on text alone"),
        (["text=waves", "seconds=2", "speech=wavlm"], "hears no sound here"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(words, says, runs, pose, tmp_path, capsys):
    assert status(main, [*words, f"run={runs['text']}", f"pose={pose}", f"out={tmp_path / 'o.mp4'}"]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
    assert not (tmp_path / "o.mp4").exists()


def test_a_bank_of_another_tokenizer_is_refused(runs, pose, tmp_path):
    PoseBank(codes=CODES, snippets=1, tokenizer="ab" * 32).save_pretrained(tmp_path / "bank")
    with pytest.raises(ConfigError, match="was made with another tokenizer"):
        animate(
            run=str(runs["text"]), pose=pose, text=["bows"], seconds=1.0, bank=str(tmp_path / "bank"),
            out=tmp_path / "o.mp4",
        )  # fmt: skip


def test_texts_in_any_script_and_way_of_writing_times():
    assert read_texts(None) is None
    assert read_texts(["winkt mit der Hand"]) == "winkt mit der Hand"
    assert read_texts(["0-2: 挥右手", "2,5 – 3.5 s: قوس", "4s to 6s: bows: deeply"]) == [
        (0, 2, "挥右手"), (2.5, 3.5, "قوس"), (4, 6, "bows: deeply"),
    ]  # fmt: skip


@pytest.mark.paper("VA-16")
def test_the_person_may_be_smaller_than_a_head(runs, tmp_path):
    """A portrait shows no shoulders: the face tells the size, the nose the place."""
    keypoints = np.full((1, 134, 2), -1, np.float32)
    scores = np.zeros((1, 134), np.float32)
    rng = np.random.default_rng(0)
    keypoints[0, FACE], scores[0, FACE] = 0.5 + 0.1 * rng.normal(size=(68, 2)), 1
    for point, place in zip((NOSE, 14, 15, 16, 17), ((0.5, 0.5), (0.45, 0.45), (0.55, 0.45), (0.4, 0.47), (0.6, 0.47))):
        keypoints[0, point], scores[0, point] = place, 1
    np.savez(tmp_path / "face.npz", keypoints=keypoints, scores=scores)
    output = animate(
        run=str(runs["audio"]), pose=tmp_path / "face.npz", text=["bows"], seconds=1.0, bank=str(runs["bank"]),
        out=tmp_path / "o.mp4", size=128,
    )  # fmt: skip
    face = output.poses[:, FACE][..., :2]
    spread = np.linalg.norm(face - face.mean(1, keepdims=True), axis=-1).mean(1)
    own = np.linalg.norm(keypoints[0, FACE] - keypoints[0, FACE].mean(0), axis=-1).mean()
    assert np.quantile(spread, 0.95) == pytest.approx(own, rel=0.05)
    assert json.dumps(output.metadata)
    plain = animate(
        run=str(runs["audio"]), pose=tmp_path / "face.npz", text=["bows"], seconds=1.0, out=tmp_path / "p.mp4", size=128
    )
    for made in (output, plain):
        assert made.metadata["settings"]["fitted"] == "by lengths"
        np.testing.assert_allclose(made.poses[:, NOSE, :2].mean(0), (0.5, 0.5), atol=1e-3)
