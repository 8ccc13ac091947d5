"""ChatAnyone's renderer driven by the head template: its key points in a batch, what is refused, a whole short run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo, decode, encode
from datamodules.media.fitting import Fit
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.grid import landmark_heads
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import Renderer
from models.human.keypoints import FACE, HANDS
from preprocessing.features.run import Options as FeatureOptions
from preprocessing.features.run import make_features
from preprocessing.head.points import in_frames
from settings import ConfigError, build
from settings.command import command
from settings.hashes import file_hash
from tests.heads import coefficients, template
from tests.nested import nested
from tests.nested import words as words_of
from tests.preprocessing.test_head import heads as faces
from tests.shards import write_shards
from tests.trainers.runs import assert_goes_on
from tests.trainers.test_face_refine_stage import OPTIONS as REFINER
from tests.trainers.test_renderer_stage import HEIGHT, OPTIONS, WIDTH, B, T
from tests.trainers.test_renderer_stage import batch as seen_batch
from trainers.chatanyone.face_refine import FaceRefineStage
from trainers.chatanyone.heads import heads
from trainers.chatanyone.renderer import RendererStage
from trainers.fit import fit
from trainers.stage.agreement import agree

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "chatanyone"


def talking(clip: int, members: list) -> list:
    """Clips of talking heads; their hands stay where they are."""
    before = dict(members)["pose.npz"]
    output = []
    for key, data in faces(0, members):
        if key == "pose.npz":
            pose, old = decode(key, data, "a"), decode(key, before, "a")
            data = encode(
                key, {name: np.concatenate([pose[name][:, : HANDS.start], old[name][:, HANDS]], 1) for name in pose}
            )
        output.append((key, data))
    return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A head template, and shards with its coefficients."""
    output = tmp_path_factory.mktemp("heads")
    template().save_pretrained(output / "head")
    write_shards(
        output / "clips", clips=3, keys=("video.mp4", "pose.npz"), splits=("train", "train", "val"),
        video_size=(HEIGHT, WIDTH), seconds=2, change=talking,
    )  # fmt: skip
    options = FeatureOptions(
        str(output / "clips"), str(output / "shards"), str(output / "head"), {"name": "head"}, workers=0, progress=False
    )
    assert make_features(options)["clips"] == 3
    return output


def stage(folder: Path, **options: Any) -> RendererStage:
    torch.manual_seed(0)
    return RendererStage(**nested(RendererStage, **{**OPTIONS, "template": str(folder / "head"), **options}))


def batch() -> Any:
    one = seen_batch()
    expression, pose, identity = coefficients(T)
    error = torch.full((B, T), 0.001)
    error[1, 3] = -1
    one.arrays["head"] = {
        "expression": expression.expand(B, T, -1).clone(), "pose": pose.expand(B, T, -1).clone(),
        "identity": identity.expand(B, -1), "error": error,
    }  # fmt: skip
    return one


@pytest.mark.paper("CA-1", "CA-9")
def test_heads_come_from_the_templates_coefficients(folder):
    made, one = stage(folder), batch()
    assert made.needs == ("video.mp4", "pose.npz", "head.npz")
    found = heads(one, made.template)
    assert found.points.shape == (B, T, len(INDICES), 3)
    expression, pose, identity = coefficients(T)
    by_hand = template()(expression, pose, identity.expand(T, -1))
    torch.testing.assert_close(found.points[0, ..., 0], 2 * by_hand[..., 0] * HEIGHT / WIDTH - 1)
    torch.testing.assert_close(found.points[0, ..., 1:], 2 * by_hand[..., 1:] - torch.tensor([1.0, 0.0]))
    assert (~found.seen).nonzero().tolist() == [[1, 3]]
    pairs = made._pair(one, made.generator(one))
    assert not torch.allclose(pairs.driving_head[..., 2], torch.zeros(()))  # landmarks have no depth
    made.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    made.update = lambda part, loss: loss.backward()  # type: ignore[method-assign]
    made.training_step(one, 0)
    assert all(p.grad is not None and p.grad.any() for p in [made.network.displacement.last.weight])
    assert not any(p.requires_grad for p in made.template.parameters())


@pytest.mark.paper("CA-1")
def test_coefficients_of_a_clips_own_frame_go_with_frames_that_were_cut(folder):
    made, one = stage(folder), batch()
    info = ClipInfo(id="a", source="a.mp4", end=1, fps=25, frames=T, height=48, width=64)
    fits = [Fit.of(48, 64, (HEIGHT, WIDTH), mode) for mode in ("crop", "pad")]
    cut = heads(replace(one, infos=[info] * B, fits=fits), made.template).points
    expression, pose, identity = coefficients(T)
    points = template()(expression, pose, identity.expand(T, -1))
    for row, each in enumerate(fits):
        torch.testing.assert_close(cut[row], in_frames(points, info, each))
    assert (cut[0] - cut[1]).abs().max() > 0.1


def test_the_network_remembers_its_template(folder, tmp_path):
    made = stage(folder)
    sha256 = file_hash(folder / "head" / "model.safetensors")
    assert made.network.template_sha256 == sha256
    assert made.frozen()["template"] == sha256
    made.network.save_pretrained(tmp_path / "renderer")
    assert Renderer.from_pretrained(tmp_path / "renderer").template_sha256 == sha256
    landmarks = RendererStage(**nested(RendererStage, **OPTIONS))
    plain = landmarks.network
    assert plain.template_sha256 == ""
    state = plain.state_dict()
    del state["template"]  # as networks of landmarks were saved
    plain.load_state_dict(state)
    for one, wanted in ((made, sha256), (landmarks, "")):  # weights to start from are not what it is trained with
        one.network.set_template("cd" * 32)
        one.on_fit_start()
        assert one.network.template_sha256 == wanted


def test_what_does_not_go_together_is_refused(folder, tmp_path):
    made = stage(folder)
    sha256 = made.template.sha256
    size = {"picture": (HEIGHT, WIDTH)}
    agree(made, {"head.network": sha256, **size})
    with pytest.raises(ConfigError, match=r"stage.template is a network with the hash .*head.npz of data.shards"):
        agree(made, {"head.network": "cd" * 32, **size})
    with pytest.raises(ConfigError, match=r"head_points is 6, but stage.template has 59 key points"):
        stage(folder, head_points=6)
    with pytest.raises(ConfigError, match=r"stage.template"):
        stage(tmp_path, template=str(tmp_path / "nowhere"))
    type(template())().save_pretrained(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"is empty: make one with"):
        stage(folder, template=str(tmp_path / "empty"))
    made.network.save_pretrained(tmp_path / "renderer")
    RendererStage(**nested(RendererStage, **OPTIONS)).network.save_pretrained(tmp_path / "landmarks")

    def refine(**options: Any) -> FaceRefineStage:
        return FaceRefineStage(**nested(FaceRefineStage, **{**REFINER, **options}))

    both = refine(renderer=str(tmp_path / "renderer"), template=str(folder / "head"))
    assert both.network.template_sha256 == sha256
    with pytest.raises(ConfigError, match=r"trained with the head template .* stage.template is not given: give that"):
        refine(renderer=str(tmp_path / "renderer"))
    with pytest.raises(ConfigError, match=r"trained with landmarks of faces, .* leave stage.template out"):
        refine(renderer=str(tmp_path / "landmarks"), template=str(folder / "head"))
    other = template()
    other.mean += 0.01
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"stage.template is another one .* give that one"):
        refine(renderer=str(tmp_path / "renderer"), template=str(tmp_path / "other"))


def trained(folder: Path, run: Path) -> Path:
    words = words_of(RendererStage, **{**OPTIONS, "template": str(folder / "head")})
    words += [f"data.video_size=[{HEIGHT},{WIDTH}]", "data.window=16", "data.batch_size=2", "data.workers=0"]
    words += ["trainer.max_steps=8", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]
    words += ["checkpoint.every_n_steps=2", "samples.count=1", f"data.shards={folder / 'shards'}", f"run={run}"]
    return build(command(fit, ["--config", str(CONFIGS / "renderer" / "tiny.yaml"), *words], prog="fit"), fit)


def test_a_short_run_ends_as_one_that_was_stopped(folder, tmp_path):
    run = trained(folder, tmp_path / "run")
    assert sorted((run / "samples").glob("*.mp4"))
    assert_goes_on(run, tmp_path / "again", lambda again: trained(folder, again))
    words = words_of(FaceRefineStage, **{**REFINER, "template": str(folder / "head"), "renderer": str(run)})
    words += [f"data.video_size=[{HEIGHT},{WIDTH}]", "data.window=16", "data.batch_size=2", "data.workers=0"]
    words += [
        "trainer.max_steps=2",
        "trainer.val_check_interval=1",
        f"data.shards={folder / 'shards'}",
        "samples.count=0",
    ]
    config = ["--config", str(CONFIGS / "face_refine" / "tiny.yaml"), *words, f"run={tmp_path / 'refine'}"]
    build(command(fit, config, prog="fit"), fit)
    assert FaceRefiner.from_pretrained(tmp_path / "refine").template_sha256 == file_hash(
        folder / "head" / "model.safetensors"
    )


def test_landmarks_stay_the_choice_of_who_gives_no_template():
    made, one = RendererStage(**nested(RendererStage, **OPTIONS)), seen_batch()
    assert made.needs == ("video.mp4", "pose.npz")
    torch.testing.assert_close(heads(one, made.template).points, landmark_heads(one.pose).points)
    assert FACE.stop > INDICES[-1]
