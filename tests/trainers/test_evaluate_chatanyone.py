"""Measuring ChatAnyone's renderer: clips rebuilt from their first frame, beside what needs no network (CA-17)."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from datamodules.clip import decode, encode
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import Renderer
from models.human.keypoints import HANDS
from settings import ConfigError
from settings.hashes import file_hash
from tests.heads import template
from tests.models.filled import filled
from tests.models.test_chatanyone_face_refine import SMALL as REFINER
from tests.portraits import RENDER
from tests.preprocessing.test_features_chatanyone import KEYS, make, wide
from tests.shards import write_shards
from trainers.chatanyone.cast import Named, moving_cast
from trainers.chatanyone.evaluation.reenactment import Rebuilt, _heads
from trainers.evaluate import evaluate
from trainers.evaluation.videos import read_shots
from trainers.run.exports import find_export

SPLITS = ("train", "test", "test", "train")
FACELESS = 2


def talking(clip: int, members: list) -> list:
    """Heads and hands; the second clip of the test split shows no head."""
    before = dict(members)["pose.npz"]
    output = []
    for key, data in wide(0, members):
        if key == "pose.npz":
            pose, old = decode(key, data, "a"), decode(key, before, "a")
            for name in ("keypoints", "scores"):
                pose[name][:, HANDS] = old[name][:, HANDS]
            if clip == FACELESS:
                pose["scores"][:, : HANDS.start] = 0
                pose["keypoints"][:, : HANDS.start] = -1
            data = encode(key, pose)
        output.append((key, data))
    return output


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Shards with heads, and run folders of renderers and a refiner."""
    folder = tmp_path_factory.mktemp("rendered")
    write_shards(folder / "clips", 4, 2, 0.8, keys=KEYS, video_size=(32, 48), splits=SPLITS, change=talking)
    template().save_pretrained(folder / "head")
    assert make(folder / "clips", folder / "head", folder / "heads", "head")["clips"] == 3
    sha256 = file_hash(folder / "head" / "model.safetensors")
    torch.manual_seed(0)
    refiner = FaceRefiner(**{**REFINER, "head_points": len(INDICES)})
    for name, stage, made, hashed in (
        ("renderer", "renderer", Renderer(**RENDER), sha256),
        ("landmarks", "renderer", Renderer(**RENDER), ""),
        ("refine", "face_refine", refiner, sha256),
    ):
        made.set_template(hashed)
        filled(made).save_pretrained(folder / name / "export")
        settings = {
            "stage": {"name": f"chatanyone.{stage}"},
            "data": {"name": "clips", "shards": str(folder / "heads")},
        }
        if hashed:
            settings["stage"]["template"] = str(folder / "head")
        (folder / name / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def measured(world: Path, run: str = "renderer", **more: Any) -> dict[str, Any]:
    return evaluate(run=str(world / run), seeds=[0], clips=None, **more)["splits"]["test"]


@pytest.mark.paper("CA-17")
def test_clips_are_rebuilt_and_measured_beside_the_source_held(world):
    part = measured(world, refine=str(world / "refine"))
    assert part["clips"] == 1
    assert set(part["systems"]) == {"model", "refined", "without_hands", "source"}
    movers = moving_cast(find_export(str(world / "renderer")), Named(refine=str(world / "refine")), torch.device("cpu"))
    (shot,) = read_shots(str(world / "heads"), part["ids"], None, (48, 32), further=("head.npz",))
    from preprocessing.features.writer import Frames

    clip = Rebuilt(movers, shot, _heads(movers, shot, Frames((48, 32), "crop")), 7)
    truth = shot.frames.float() / 255
    for name, frames in {
        "model": clip.frames(),
        "refined": clip.frames(refined=True),
        "without_hands": clip.frames(hands=False),
    }.items():
        error = (frames - truth).square().flatten(1).mean(1)
        assert part["systems"][name]["psnr"]["mean"] == pytest.approx(-10 * error.log10().mean().item(), abs=0.05), name
    assert (clip.frames() - clip.frames(hands=False)).abs().max() > 1e-3
    assert {"psnr_mouth", "psnr_hands", "ssim"} <= set(part["systems"]["source"])
    assert set(part["verdicts"]) == {"psnr_mouth_hands", "ssim"}


def test_clips_without_a_head_are_left_out_and_named(world):
    part = measured(world, "landmarks", data=str(world / "clips"))
    assert part["clips"] == 1
    assert list(part["skipped"].values()) == ["no frame shows a head"]
    assert "refined" not in part["systems"]


def test_what_does_not_go_together_is_refused(world):
    with pytest.raises(ConfigError, match=r"head template is none, not|does not go with the renderer"):
        measured(world, "landmarks", refine=str(world / "refine"))
    with pytest.raises(ConfigError, match=r"no clips with video, pose, head.npz|head.npz"):
        measured(world, data=str(world / "clips"))
