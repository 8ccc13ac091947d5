"""What the benchmark of latent video counts is what it says."""

import pytest
import torch

from benchmarks import video, video_versa
from models.mmgt.video import MMGTVideo
from models.versa.video.network import VersaVideo

SMALL = {
    **video.TINY,
    "channels": [8, 16],
    "heads": 2,
    "cross_channels": 8,
    "norm_groups": 4,
    "motion_heads": 2,
    "audio_width": 8,
    "pose_channels": [4, 4, 8],
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(video, "TINY", SMALL)
    monkeypatch.setattr(video, "STEPS", 3)


def test_a_clip_asks_each_encoder_once_and_the_guider_once_a_frame(tmp_path):
    found = video.once(tmp_path, 16, 1)
    assert found["calls"] == {
        "VAE encoder": 1, "reference UNet": 1, "pose guider": 1, "audio projection": 1, "denoiser": 3,
    }  # fmt: skip
    assert found["rows"]["pose guider"] == video.FRAMES
    assert found["ratio"] > 0


def test_checkpointing_keeps_less_and_the_same_is_counted_twice_over():
    network = MMGTVideo(**SMALL)
    found = video.activations(network, 16, 4)
    assert 0 < found["with checkpointing MB"] < 0.5 * found["kept MB"]
    assert video.activations(network, 16, 8)["kept MB"] > 1.8 * found["kept MB"]


def test_steps_from_latents_and_from_frames_take_turns(tmp_path):
    found = video.cached(tmp_path, 16, 2)
    assert set(found) == {"cached s", "encoded s", "ratio"}
    assert min(found.values()) > 0


def test_a_part_that_is_not_there_is_answered_with_those_that_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["video", "speed"])
    with pytest.raises(SystemExit) as end:
        video.main()
    assert end.value.code == 2
    assert "activations" in capsys.readouterr().err


@pytest.mark.paper("VA-11")
def test_versa_makes_all_that_does_not_change_once(tmp_path, monkeypatch):
    monkeypatch.setattr(video_versa, "STEPS", 3)
    found = video_versa.once(tmp_path, 16, 1)
    constant = ("VAE encoder", "image token", "pose guider", "audio projection", "identity", "expression", "blink")
    assert [found["calls"][name] for name in constant] == [1] * len(constant)
    assert found["calls"]["denoiser"] == 3
    assert found["rows"]["pose guider"] == video_versa.FRAMES
    assert found["ratio"] > 0


def test_versa_keeps_less_with_checkpointing_and_no_more_of_weights():
    torch.manual_seed(0)
    network = VersaVideo(**{**video_versa.TINY, "channels": (32, 64)})
    found = video_versa.activations(network, (4, 16, 16))
    assert 0 < found["with checkpointing MB"] < found["kept MB"]
    twice = video_versa.activations(network, (8, 16, 16))
    assert twice["kept MB"] > 1.5 * found["kept MB"]
