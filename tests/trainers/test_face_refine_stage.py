"""ChatAnyone's face refinement stage: heads cut out of frames, its losses, a whole short run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import Renderer
from models.human.keypoints import FACE, LIPS
from settings import ConfigError, build
from settings.command import command
from tests.models.filled import filled
from tests.models.test_chatanyone_face_refine import SMALL as NETWORK
from tests.nested import nested
from tests.nested import words as words_of
from tests.shards import write_shards
from tests.trainers.test_renderer_stage import SMALL as RENDERER
from tests.trainers.test_renderer_stage import batch as whole_batch
from trainers.chatanyone.face_refine import FaceRefineStage
from trainers.fit import fit
from trainers.tracking.metrics_csv import read_metrics

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "chatanyone" / "face_refine"
SMALL = {**NETWORK, "head_points": len(INDICES)}
OPTIONS = {**SMALL, "perceptual": "structural", "discriminator_width": 4, "discriminator_layers": 2, "frames": 2}
LOSSES = {"perceptual", "adversarial", "reconstruction", "face"}


def batch() -> Any:
    one = whole_batch()
    one.pose[..., FACE, :2] = 0.3 + 0.3 * one.pose[..., FACE, :2]
    return one


def stage(**options: Any) -> FaceRefineStage:
    torch.manual_seed(0)
    output = FaceRefineStage(**nested(FaceRefineStage, **{**OPTIONS, **options}))
    filled(output.network)
    output.logged = {}
    output.log = lambda name, value, **_: output.logged.update({name: float(value)})
    return output


@pytest.mark.paper("CA-13")
def test_losses_are_those_of_the_renderer_with_the_faces_in_the_hands_place():
    output, one = stage(perceptual="l1"), batch()
    assert set(output.weights) == LOSSES
    given = output._pair(one, output.generator(one))
    pictures = output._pictures(given)
    rendered = output._rendered(given, pictures, None)
    losses = output._losses(rendered, given, pictures)
    frames, truth = rendered["frames"].flatten(0, 1), given.driving.flatten(0, 1)
    face = output._region(given, pictures)
    assert 0 < face.mean() < 1
    assert losses["face"].item() == pytest.approx(output.perceptual(frames, truth, face).item(), rel=1e-4)
    off = rendered | {"frames": given.driving + 0.3 * (1 - face.unflatten(0, given.driving.shape[:2]))}
    assert output._losses(off, given, pictures)["face"] == 0
    weighed = sum(output.weights[name] * losses[name].item() for name in LOSSES)
    assert losses["loss"].item() == pytest.approx(weighed, rel=1e-5)
    for part in output.network.children():
        if isinstance(part, torch.nn.Module) and list(part.parameters()):
            found = torch.autograd.grad(losses["face"], list(part.parameters()), retain_graph=True, allow_unused=True)
            assert any(g is not None and g.any() for g in found)


@pytest.mark.paper("CA-13")
def test_what_is_brought_in_is_the_frames_own_head_without_its_face():
    output, one = stage(), batch()
    given = output._pair(one, output.generator(one))
    assert given.driving.shape == (2, 2, 3, 16, 16)
    pictures = output._pictures(given)
    face = output._region(given, pictures).unflatten(0, (2, 2)).expand_as(pictures) > 0
    assert not pictures[face].any()
    assert torch.equal(pictures[~face], given.driving[~face])
    lips = given.driving_pose[..., LIPS, :2]
    assert ((lips > 0) & (lips < 1)).all(), "poses are moved into the crops"
    torch.testing.assert_close(2 * given.driving_pose[..., list(INDICES), :2] - 1, given.driving_head[..., :2])


@pytest.mark.paper("CA-1")
@pytest.mark.paper("CA-13")
def test_key_points_get_the_trained_renderers_offsets(tmp_path):
    torch.manual_seed(1)
    renderer = filled(Renderer(**RENDERER))
    renderer.save_pretrained(tmp_path / "renderer")
    with_offsets, one = stage(renderer=str(tmp_path / "renderer")), batch()
    frames, heads = one.video[:, 0].float() / 255, torch.rand(2, len(INDICES), 3) * 0.4 - 0.2
    boxes_of = with_offsets.network.cut(frames, heads + renderer.displacement(frames, heads))
    cut, points, _ = with_offsets._cut(frames, heads, one.pose[:, 0])
    torch.testing.assert_close(points, boxes_of.head)
    torch.testing.assert_close(cut, boxes_of.pictures)
    plain = stage()._cut(frames, heads, one.pose[:, 0])[1]
    assert (plain - points).abs().max() > 1e-3
    assert set(with_offsets.frozen()) == {"renderer"}
    assert with_offsets.expects()[0].value == (48, 32)
    assert stage().expects() == []
    with pytest.raises(ConfigError, match=r"the network of stage\.renderer has 59"):
        stage(renderer=str(tmp_path / "renderer"), head_points=6)


def test_samples_show_heads():
    output, one = stage().eval(), batch()
    with torch.no_grad():
        shown = output.sample(one)["beside"]
        output.validation_step(one, 0)
    assert shown.shape == (2, 10, 3, 16, 48)
    assert set(output.logged) <= set(output.figures())
    assert "val/psnr_mouth" in output.logged
    assert not any("hands" in name for name in output.figures())


def test_a_short_run_leaves_a_network_and_figures(tmp_path):
    keys, splits = ("video.mp4", "pose.npz"), ("train", "train", "val")
    write_shards(tmp_path / "shards", keys=keys, splits=splits, video_size=(48, 32), seconds=2, clips=3)
    words = words_of(FaceRefineStage, **OPTIONS)
    words += ["data.video_size=[48,32]", "data.window=16", "data.batch_size=2", "data.workers=0"]
    words += ["trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]
    words += ["checkpoint.every_n_steps=2", "samples.count=1", f"data.shards={tmp_path / 'shards'}"]
    words += [f"run={tmp_path / 'run'}"]
    run = build(command(fit, ["--config", str(CONFIGS / "tiny.yaml"), *words], prog="fit"), fit)
    rows = read_metrics(run / "metrics.csv")
    assert {f"train/{name}" for name in (*LOSSES, "loss", "discriminator")} <= set(rows[0])
    assert any("val/psnr_mouth" in row for row in rows)
    assert FaceRefiner.from_pretrained(run / "export").height == 16
