"""The command that builds a token2pose bank: clips with motion and poses in, one saved artefact out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from models.human.keypoints import LEFT_SHOULDER, RIGHT_SHOULDER
from models.versa.token2pose import PoseBank
from models.versa.tokenizer import MotionTokenizer
from preprocessing.bank import at_25, main
from tests.motions import motion_statistics
from tests.shards import write_shards


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = MotionTokenizer(codes=16, code_width=8, width=16, depth=1)
    network.set_statistics(motion_statistics([np.random.default_rng(0).normal(size=(40, 263))]))
    torch.nn.init.normal_(network.quantizer.codebook)
    folder = tmp_path_factory.mktemp("tokenizer") / "export"
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=5, seconds=2.0, keys=("pose.npz", "motion.npz"), splits=("train", "train", "test"))
    return folder


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.mark.paper("VA-10")
def test_snippets_are_the_poses_of_their_tokens(shards, tokenizer, tmp_path, slow_clock, capsys):
    assert run(f"input={shards}", f"output={tmp_path / 'bank'}", f"tokenizer={tokenizer}") == 0
    bank = PoseBank.from_pretrained(tmp_path / "bank")
    summary = json.loads((tmp_path / "bank" / "summary.json").read_text())
    assert (summary["clips"], summary["snippets"]) == (4, len(bank.tokens)) == (4, 40)
    said = capsys.readouterr()
    assert f"{summary['tokens']} of 16 tokens" in said.out
    assert "clips read into tokens  3/4  ETA " in said.err
    network = MotionTokenizer.from_pretrained(tokenizer).eval()
    clips = list(read_clips(shards, ("pose.npz", "motion.npz"), {"split": "train"}))
    for row in range(0, 40, 7):
        clip, place = bank.places[row].tolist()
        info, values = clips[clip]
        tokens = network.encode(torch.from_numpy(values["motion.npz"]["motion"])[None])[0]
        assert bank.tokens[row] == tokens[place]
        keypoints = values["pose.npz"]["keypoints"] * np.array([info.width or 1, info.height or 1])
        wide = np.quantile(np.linalg.norm(keypoints[:, LEFT_SHOULDER] - keypoints[:, RIGHT_SHOULDER], axis=-1), 0.95)
        expected = (keypoints[place * 5 : place * 5 + 5] - keypoints[:, 1].mean(0)) / wide
        there = values["pose.npz"]["scores"][place * 5 : place * 5 + 5] > 0
        np.testing.assert_allclose(bank.poses[row, 2:-2].numpy()[there], expected[there], atol=1e-3)
        assert (bank.poses[row, 2:-2].numpy()[~there] == -1).all()


def test_an_older_bank_is_replaced_and_anything_else_is_not(shards, tokenizer, tmp_path, capsys):
    words = (f"input={shards}", f"tokenizer={tokenizer}", f"output={tmp_path / 'bank'}")
    assert run(*words) == 0
    assert run(*words, "snippets=1") == 0
    bank = PoseBank.from_pretrained(tmp_path / "bank")
    assert len(bank.tokens) == int(bank.known.sum())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("work")
    assert run(f"input={shards}", f"tokenizer={tokenizer}", f"output={tmp_path / 'other'}") == 2
    assert "is no bank" in capsys.readouterr().err
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_clips_without_poses_are_counted(shards, tokenizer, tmp_path, capsys):
    write_shards(tmp_path / "bare", clips=2, seconds=2.0, keys=("motion.npz",))
    assert run(f"input={tmp_path / 'bare'}", f"tokenizer={tokenizer}", f"output={tmp_path / 'bank'}") == 2
    assert "2 clips: pose.npz is missing" in capsys.readouterr().err
    assert not (tmp_path / "bank").exists()


def test_another_network_is_refused(shards, tmp_path, capsys):
    assert run(f"input={shards}", f"tokenizer={tmp_path}", f"output={tmp_path / 'bank'}") == 2
    assert "neither a run folder" in capsys.readouterr().err
    PoseBank(codes=4, snippets=2).save_pretrained(tmp_path / "export")
    assert run(f"input={shards}", f"tokenizer={tmp_path}", f"output={tmp_path / 'bank'}") == 2
    assert "does not hold versa's tokenizer" in capsys.readouterr().err


def test_poses_at_other_rates_are_brought_to_25():
    info = ClipInfo(id="a", source="a.mp4", end=2, fps=50, frames=100, width=200, height=100)
    times = np.arange(100, dtype=np.float32)[:, None] / 50
    keypoints = np.repeat(np.stack([times * 0.1, times * 0.2], -1), 134, 1).astype(np.float32)
    scores = np.ones((100, 134), np.float32)
    keypoints[10, 3], scores[10, 3] = -1, 0
    square, seen = at_25(keypoints, scores, info)
    assert square.shape == (50, 134, 2)
    np.testing.assert_allclose(square[:, 0, 0], np.arange(50) / 25 * 0.1 * 200, rtol=1e-5)
    np.testing.assert_allclose(square[:, 0, 1], np.arange(50) / 25 * 0.2 * 100, rtol=1e-5)
    assert seen[5, 3] == 0
    assert (square[5, 3] == -1).all()
    slow = ClipInfo(id="a", source="a.mp4", end=10, fps=10, frames=100, width=1, height=1)
    square, seen = at_25(keypoints, scores, slow)
    np.testing.assert_allclose(square[:248, 0, 0], np.arange(248) / 25 * 10 / 50 * 0.1, atol=1e-6)
    assert (seen[22:29, 3] > 0).tolist() == [True, *[False] * 5, True]
