"""The configs of MMGT's video diffusion: what the paper says of both steps, and networks that can be built."""

from pathlib import Path
from typing import Any

import pytest
import torch

from settings.command import command
from trainers.fit import fit
from trainers.stages import STAGES

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "mmgt"
KINDS = ("video_pose", "video_audio")


def values(path: str, *words: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / path), "data.shards=/nowhere", *words], prog="fit")


@pytest.mark.paper("MMGT-21")
@pytest.mark.parametrize(("kind", "steps", "size"), [("video_pose", 29580, 2), ("video_audio", 32500, 1)])
def test_paper_configs(kind, steps, size):
    paper = values(f"{kind}/paper.yaml")
    assert paper["trainer"]["max_steps"] == steps
    assert paper["data"]["global_batch"] == size
    optimizer = paper["stage"]["optimizer"]
    assert (optimizer["name"], optimizer["lr"]) == ("adam", 1e-5)
    assert paper["checkpoint"]["monitor"] == "val/rmse"
    assert {value for name, value in paper["stage"].items() if name.startswith("drop_")} == {0.05}


@pytest.mark.paper("MMGT-14")
@pytest.mark.parametrize("kind", KINDS)
def test_paper_trains_on_twelve_consecutive_frames_of_512_pixels_the_first_of_them_the_reference(kind):
    paper = values(f"{kind}/paper.yaml")
    assert paper["stage"]["network"]["window"] == 12
    assert paper["data"]["video_size"] == [512, 512]
    assert paper["stage"]["reference"] == "first"
    assert paper["stage"].get("frames", "consecutive") == "consecutive"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["paper.yaml", "tiny.yaml"])
def test_every_config_builds_its_stage_on_the_meta_device(kind, name):
    with torch.device("meta"):
        one = STAGES.build(dict(values(f"{kind}/{name}")["stage"]))
    data = values(f"{kind}/{name}")["data"]
    assert data["window"] >= one.network.window
    trained = sum(p.numel() for p in one.network.parameters() if p.requires_grad)
    assert 0 < trained < sum(p.numel() for p in one.network.parameters())


def test_both_steps_of_a_size_make_one_network():
    for name in ("paper.yaml", "tiny.yaml"):
        pose, audio = (values(f"{kind}/{name}")["stage"]["network"] for kind in KINDS)
        assert {key for key in pose if pose[key] != audio[key]} <= {"window", "guidance_audio"}
