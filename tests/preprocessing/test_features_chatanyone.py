"""`preprocessing.features writer=chatanyone`: what moves every frame, as a trained renderer sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.clip import decode, encode
from datamodules.clips import read_clips
from datamodules.media.fitting import Fit
from datamodules.media.video import read_window
from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from models.chatanyone.grid import landmark_heads, to_grid
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import Renderer
from preprocessing.features.run import Options, make_features
from preprocessing.verify import verify
from settings import ConfigError
from settings.hashes import file_hash
from tests.heads import template
from tests.models.filled import filled
from tests.models.test_chatanyone_renderer import SMALL
from tests.preprocessing.test_head import FACELESS, heads
from tests.shards import write_shards

HEIGHT, WIDTH, KEY = 48, 32, "chatanyone.npz"
KEYS = ("video.mp4", "pose.npz", "audio.flac")


def network(folder: Path, sha256: str = "") -> Path:
    torch.manual_seed(0)
    made = filled(Renderer(**{**SMALL, "head_points": len(INDICES)}))
    made.set_template(sha256)
    made.save_pretrained(folder)
    return folder


def make(shards: Path, where: Path, output: Path, writer: str = "chatanyone", **more: Any) -> dict[str, Any]:
    own = {name: more.pop(name) for name in ("template",) if name in more}
    given = {"workers": 0, "progress": False, **more}
    return make_features(Options(str(shards), str(output), str(where), {"name": writer, **own}, **given))


def wide(clip: int, members: list) -> list:
    """Talking heads in the middle of frames half as wide again as they are high."""
    output = []
    for key, data in heads(clip, members):
        if key == "pose.npz":
            pose = decode(key, data, "a")
            points = pose["keypoints"]
            points[..., 0] = np.where(points[..., 0] < 0, -1, (points[..., 0] + 0.25) / 1.5)
            data = encode(key, pose)
        output.append((key, data))
    return output


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Wide clips of talking heads, one without a face; head template, coefficients, both kinds of renderer."""
    folder = tmp_path_factory.mktemp("world")
    splits = ("train", "train", "val", "train", "train")
    write_shards(folder / "clips", 5, 2, 1.2, keys=KEYS, video_size=(32, 48), splits=splits, change=wide)
    template().save_pretrained(folder / "head")
    assert make(folder / "clips", folder / "head", folder / "heads", "head")["clips"] == 4
    network(folder / "renderer", file_hash(folder / "head" / "model.safetensors"))
    network(folder / "landmarks")
    make(folder / "heads", folder / "renderer", folder / "made", template=str(folder / "head"), batch=7)
    return folder


@pytest.mark.paper("CA-9", "CA-1", "CA-2")
def test_every_frame_has_what_the_renderer_sees(world):
    renderer, head = Renderer.from_pretrained(world / "renderer").eval(), template()
    count = 0
    for info, values in read_clips(world / "made", (*KEYS, KEY, "head.npz")):
        found, fit = values[KEY], Fit.of(32, 48, (HEIGHT, WIDTH))
        own = values["head.npz"]
        expression, pose, identity = (torch.from_numpy(own[name]) for name in ("expression", "pose", "identity"))
        grid = to_grid(head(expression, pose, identity.expand(info.frames, -1)), 48 / 32)
        scale = fit.scaled[1] / WIDTH
        across = scale * (grid[..., 0] + 1) - 2 * fit.left / WIDTH - 1  # the middle of wide frames
        np.testing.assert_allclose(found["head"][..., 0], across, atol=1e-4)
        np.testing.assert_allclose(found["head"][..., 1:], grid[..., 1:], atol=1e-4)
        pictures = (
            torch.from_numpy(read_window(values["video.mp4"], 0, info.frames, fit)).permute(0, 3, 1, 2).contiguous()
            / 255
        )
        points = torch.from_numpy(found["head"])
        with torch.no_grad():
            motion = renderer.encode_motion(pictures, points)
            source = renderer.encode_source(pictures[:1], points[:1])
        np.testing.assert_allclose(found["offset"], motion.offset, atol=1e-4)
        np.testing.assert_allclose(found["movement"], motion.movement.flatten(1), atol=2e-3)
        np.testing.assert_allclose(found["scale"], motion.scale, atol=1e-4)
        np.testing.assert_allclose(found["place"], motion.place, atol=1e-4)
        np.testing.assert_allclose(found["appearance"], source.appearance[0], atol=1e-4)
        assert found["frame"].tolist() == [HEIGHT, WIDTH, 0]
        assert found["seen"].all()
        assert bytes(found["network"]).hex() == file_hash(world / "renderer" / "model.safetensors")
        count += 1
    assert count == 4
    assert list(verify(world / "made")) == []


def test_statistics_are_of_how_far_things_move_in_training_clips(world):
    statistics = Index.load(world / "made").statistics
    clips = [values[KEY] for info, values in read_clips(world / "made", (KEY,)) if info.split == "train"]
    for name, array in (("", "head"), ("_offset", "offset"), ("_movement", "movement"), ("_place", "place")):
        moved = np.concatenate([clip[array] - clip[array].mean(0) for clip in clips]).astype(np.float64)
        np.testing.assert_allclose(
            statistics[f"chatanyone{name}"]["std"], np.maximum(moved.std(0), 1e-4), rtol=1e-3, atol=1e-6
        )
    assert statistics["chatanyone"]["network"] == file_hash(world / "renderer" / "model.safetensors")
    assert {"pose", "head"} <= set(statistics)


def test_poses_go_with_the_frames_that_the_renderer_saw(world):
    """Who reads the features reads poses in the same frames, though no frame is decoded."""
    data = ClipDataModule((KEY, "pose.npz"), shards=str(world / "made"), window=20, batch_size=1, workers=0)
    batch = next(iter(data.train_dataloader()))
    head = batch.arrays["chatanyone"]["head"]
    seen = landmark_heads(batch.pose).points
    torch.testing.assert_close(head[..., :2], seen[..., :2], atol=0.02, rtol=0)
    plain = ClipDataModule(("pose.npz",), shards=str(world / "made"), window=20, batch_size=1, workers=0)
    assert (next(iter(plain.train_dataloader())).pose[..., 0] - batch.pose[..., 0]).abs().max() > 0.1
    facts = data.facts()
    assert facts["movement_channels"] == 3 * SMALL["body_points"]
    assert facts["appearance_channels"] == SMALL["channels"] * SMALL["planes"]


def test_a_renderer_of_landmarks_sees_landmarks(world, tmp_path):
    summary = make(world / "clips", world / "landmarks", tmp_path / "out")
    assert summary["clips"] == 4
    assert list(summary["skipped"].values()) == ["no frame shows a head"]
    assert list(summary["skipped"]) == [f"clip-{FACELESS:08x}-000"]
    for _, values in read_clips(tmp_path / "out", ("pose.npz", KEY)):
        assert not values[KEY]["head"][..., 2].any()
        down = values["pose.npz"]["keypoints"][:, list(INDICES), 1]
        np.testing.assert_allclose(values[KEY]["head"][..., 1], 2 * down - 1, atol=1e-5)


def test_what_does_not_go_together_is_said(world, tmp_path):
    summary = make(world / "clips", world / "renderer", tmp_path / "none", template=str(world / "head"))
    assert summary["clips"] == 0
    assert {*summary["skipped"].values()} == {"head.npz is missing (`python -m preprocessing.features writer=head`)"}
    with pytest.raises(ConfigError, match=r"does not say where it is: give writer.template=FOLDER"):
        make(world / "heads", world / "renderer", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"was trained with landmarks of faces, .* leave it out"):
        make(world / "heads", world / "landmarks", tmp_path / "out", template=str(world / "head"))
    other = template()
    other.mean += 0.01
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"is another head template than the network was trained with"):
        make(world / "heads", world / "renderer", tmp_path / "out", template=str(tmp_path / "other"))
    Renderer(**SMALL).save_pretrained(tmp_path / "six")
    with pytest.raises(ConfigError, match=r"moves heads by 6 key points, chatanyone.npz holds 59"):
        make(world / "heads", tmp_path / "six", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"does not hold chatanyone's renderer"):
        make(world / "heads", world / "head", tmp_path / "out")
