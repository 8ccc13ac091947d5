"""Classifiers of PAHA guide a network of MMGT that shares their latents, noise and speech."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.paha.classifier import PCEClassifier
from models.paha.regions import region_mask
from settings import ConfigError
from settings.hashes import file_hash
from tests.autoencoders import FACTOR
from tests.encoded import ROUNDING
from tests.models.filled import filled
from tests.trainers.test_animate_video import make, world  # noqa: F401
from trainers.video.guidance import _of_frames

STRONG = {"steps": 4, "weight_nonface": 300.0, "weight_face": 300.0}


def save_classifier(folder: Path, vae: Path, region: str, **changed) -> str:
    torch.manual_seed(1)
    univdm = {
        "channels": (8, 16), "layers": 1, "head_channels": 4, "cross_channels": 8, "norm_groups": 4, "motion_heads": 2,
        "motion_frames": 8, "window": 8, "downscaling": FACTOR, "image_channels": 0, "audio_layers": 1,
        "audio_channels": 35, "audio_tokens": 2, "audio_width": 8,
        "autoencoder": file_hash(vae / "diffusion_pytorch_model.safetensors"), **changed,
    }  # fmt: skip
    network = PCEClassifier(univdm=univdm, region=region, width=8, depth=1, heads=2)
    filled(network, std=0.3).save_pretrained(folder / region)
    return str(folder / region)


@pytest.fixture(scope="module")
def judges(world, tmp_path_factory) -> dict[str, str]:  # noqa: F811
    folder = tmp_path_factory.mktemp("judges")
    return {f"pce_{region}": save_classifier(folder, world["vae"], region) for region in ("face", "nonface")}


@pytest.mark.paper("PH-15")
def test_a_network_of_another_system_is_guided_and_at_rate_0_not(world, judges, encoded, tmp_path):  # noqa: F811
    driven = {"driving": world["driving"], "audio": world["audio"]}
    plain = encoded[make(world, tmp_path / "plain.mp4", steps=4, **driven).video]
    guided = encoded[make(world, tmp_path / "sg.mp4", guide="sg", **driven, **judges, **STRONG).video]
    assert np.abs(guided - plain).max() > ROUNDING
    # What one region does to the other in a step of so small a network is a hundredth of what guidance does.
    far = STRONG | {"weight_differential": 100.0}
    both = encoded[make(world, tmp_path / "dg.mp4", guide="dg", **driven, **judges, **far).video]
    assert np.abs(both - guided).max() > ROUNDING
    none = encoded[make(world, tmp_path / "rate.mp4", guide="sg", guide_rate=0.0, **driven, **judges, **STRONG).video]
    assert np.array_equal(none, plain)


def test_what_is_corrected_follows_the_face_frame_by_frame():
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    masks = _of_frames(boxes, 4, 4)
    assert masks["face"].shape == (1, 1, 2, 4, 4)
    for frame in (0, 1):
        assert torch.equal(masks["face"][0, 0, frame], region_mask(boxes[0, frame : frame + 1], 4, 4, "face")[0, 0, 0])
    assert torch.equal(masks["face"] + masks["nonface"], torch.ones(1, 1, 2, 4, 4))


def test_what_cannot_judge_it_is_refused_in_words(world, judges, tmp_path):  # noqa: F811
    driven = {"driving": world["driving"], "audio": world["audio"], "guide": "sg"}
    with pytest.raises(ConfigError, match="classifiers judge picture and speech: give audio=FILE"):
        make(world, tmp_path / "a.mp4", driving=world["driving"], guide="sg", **judges)
    with pytest.raises(ConfigError, match="pose hears no speech, which classifiers judge"):
        make(world, tmp_path / "e.mp4", run="pose_run", **driven, **judges)
    other = save_classifier(tmp_path / "noise", world["vae"], "face", zero_terminal_snr=True, predict="v")
    with pytest.raises(ConfigError, match=r"knows other noise .* zero_terminal_snr=true, the network .*=false"):
        make(world, tmp_path / "b.mp4", pce_face=other, **driven)
    with pytest.raises(ConfigError, match=r"judges all but the face; one of paha\.pce_face is needed"):
        make(world, tmp_path / "d.mp4", pce_face=judges["pce_nonface"], **driven)
    deaf = save_classifier(tmp_path / "deaf", world["vae"], "face", audio_channels=7)
    with pytest.raises(ConfigError, match="hears 1 layers of 7"):
        make(world, tmp_path / "c.mp4", pce_face=deaf, **driven)
