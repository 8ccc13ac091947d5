"""Both steps of VersaAnimator's video diffusion: what a step is told, what is learned, what starts from what."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors.torch import load_file

from models.human.expressions import EXPRESSIONS
from models.human.keypoints import FACE
from models.versa.video.conditions import FACE as OF_FACE
from models.versa.video.pose_picture import draw_pose_pictures
from pretrained.faces import COLOURS, R100, FaceColours
from pretrained.svd import PUBLISHED
from settings import ConfigError
from settings.command import command
from settings.hashes import file_hash
from tests.autoencoders import save_autoencoder
from tests.nested import nested
from tests.trainers.test_resume import assert_same
from tests.trainers.versa_video_stages import FACES, LABELS, B, F, T, base_of, faces_of, options, stage
from tests.trainers.video_stages import batch, of_its_own
from trainers.fit import fit
from trainers.plan import training_config
from trainers.planning.measure import build_stage
from trainers.stage.agreement import agree
from trainers.versa.pose_video import PoseVideoStage
from trainers.video.batch import pick

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "versa"
KINDS = ("pose_video", "audio_video")


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def base(tmp_path_factory, vae) -> Path:
    return base_of(tmp_path_factory.mktemp("base"), vae)


@pytest.fixture
def made(vae, base) -> Any:
    """Makes a stage of a kind, on top of a first step with the same options."""
    return lambda kind, **options: stage(kind, vae, base if kind == "audio_video" else None, **options)


class Spy:
    """Remembers what the network was asked, and what it said."""

    def __init__(self, made: Any):
        self.calls: list[tuple[Any, ...]] = []
        self.outputs: list[torch.Tensor] = []
        made.network.register_forward_hook(self._look)

    def _look(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> None:
        self.calls.append(args)
        self.outputs.append(output)


def undropped(made: Any) -> Any:
    made.dropped = dict.fromkeys(made.dropped, 0.0)
    return made


@pytest.mark.paper("VA-15")
@pytest.mark.parametrize("kind", KINDS)
def test_paper_configs(kind):
    paper = command(fit, ["--config", str(CONFIGS / kind / "paper.yaml"), "data.shards=/nowhere"], prog="fit")
    stage, network = paper["stage"], paper["stage"]["network"]
    assert network["window"] == 16
    assert paper["data"]["video_size"] == [576, 1024]
    assert paper["data"]["global_batch"] == 8
    assert paper["trainer"]["max_steps"] == 100_000
    assert (stage["optimizer"]["name"], stage["optimizer"]["lr"]) == ("adamw", 1e-5)
    assert stage["reference"] == "any"
    assert stage.get("frames", "consecutive") == "consecutive"
    assert paper["checkpoint"]["monitor"] == "val/rmse"
    if kind == "audio_video":
        assert stage["identity"] == R100.names[0], "ArcFace"
        tiny = command(fit, ["--config", str(CONFIGS / kind / "tiny.yaml"), "data.shards=/nowhere"], prog="fit")
        assert tiny["stage"]["identity"] == COLOURS


@pytest.mark.paper("VA-11")
@pytest.mark.paper("VA-15")
@pytest.mark.parametrize(("kind", "count"), [("pose_video", 1_526_758_138), ("audio_video", 1_621_005_626)])
def test_paper_is_built_on_the_meta_device_with_svd_s_sizes_and_all_of_it_is_trained(kind, count):
    values = training_config(str(CONFIGS / kind / "paper.yaml"), ())
    network = build_stage(values["stage"]).network
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    assert all(p.is_meta for p in network.parameters())
    assert values["stage"]["autoencoder"] == PUBLISHED
    assert values["stage"].get("svd_weights", PUBLISHED) == PUBLISHED


@pytest.mark.paper("VA-11")
def test_the_first_step_starts_from_svd_s_weights_by_path(vae, tmp_path):
    other = stage("pose_video", vae, channels=[32, 64])  # weights in SVD's format
    UNetSpatioTemporalConditionModel.save_pretrained(other.network.denoiser, tmp_path / "svd" / "unet")
    config = json.loads((tmp_path / "svd" / "unet" / "config.json").read_text())
    config["_class_name"] = "UNetSpatioTemporalConditionModel"
    (tmp_path / "svd" / "unet" / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    words = nested(PoseVideoStage, **options("pose_video", channels=[32, 64]))
    one = PoseVideoStage(**words, autoencoder=str(vae), svd_weights=str(tmp_path / "svd"))
    assert_same(one.network.denoiser.state_dict(), other.network.denoiser.state_dict())
    with pytest.raises(ConfigError, match=r"stage\.svd_weights=.*block_out_channels is \[32, 64\]"):
        stage("pose_video", vae, svd_weights=str(tmp_path / "svd"))


@pytest.mark.paper("VA-11")
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_edm_s_denoiser_weighted_as_svd_weights_it(kind, made):
    one = undropped(made(kind))
    given, spy = faces_of(one), Spy(one)
    loss = one.step(given, "train")
    noisy, levels, _, _ = spy.calls[0]
    assert noisy.dtype == levels.dtype == torch.float32
    random = one.generator(given)  # the same numbers again
    picked = pick(random, F, T, 2 if kind == "audio_video" else 0, "consecutive", "any")
    for _ in one.dropped:
        random.uniform()
    x0 = one._of(given, picked, random)[:, :-1].transpose(1, 2)
    sigma = levels.view(-1, 1, 1, 1, 1)
    # Of the denoiser itself: D = x / (sigma^2 + 1) - sigma / sqrt(sigma^2 + 1) F.
    denoised = noisy / (sigma**2 + 1) - sigma / (sigma**2 + 1).sqrt() * spy.outputs[0]
    weight = (sigma**2 + 1) / sigma**2
    torch.testing.assert_close(loss, (weight * (denoised - x0).square()).mean(), rtol=1e-3, atol=1e-4)


@pytest.mark.paper("VA-11")
def test_noise_levels_are_drawn_as_svd_draws_them(made):
    one = made("pose_video")
    random = one.generator(type("Windows", (), {"ids": [f"{n}" for n in range(4000)]}))
    logarithm = one.network.noise.draw(random).log()
    assert logarithm.mean() == pytest.approx(0.7, abs=0.1)
    assert logarithm.std() == pytest.approx(1.6, abs=0.1)


@pytest.mark.paper("VA-11")
@pytest.mark.parametrize("training", [True, False])
def test_the_reference_has_the_noise_that_the_network_is_told_of(training, made):
    one = undropped(made("pose_video"))
    given, spy, strengths = faces_of(one), Spy(one), []
    one.train(training)
    for number in range(30):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        with torch.no_grad():
            one.step(given, "train" if training else "val")
        told = spy.calls[-1][2]
        clean = (told.reference / one.latents.scale).mean((1, 2, 3)).round() * one.latents.scale
        noise = told.reference - clean[:, None, None, None]
        torch.testing.assert_close(noise.std((1, 2, 3)), told.augmentation, rtol=0.3, atol=1e-4)
        strengths.append(told.augmentation)
    drawn = torch.cat(strengths).log()
    if training:  # Blattmann et al. 2023
        assert drawn.mean() == pytest.approx(-3.0, abs=0.2)
        assert drawn.std() == pytest.approx(0.5, abs=0.15)
    else:
        assert torch.equal(torch.cat(strengths), torch.full((30 * B,), one.network.noise_augmentation))


@pytest.mark.paper("VA-15")
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_network_is_told_belongs_to_the_same_frames_and_any_is_the_reference(kind, made):
    one = undropped(made(kind))
    given, spy, first, seen = faces_of(one), Spy(one), [], set()
    one.network.noise.draw = lambda random: torch.full((B,), 1e-4)  # nearly no noise
    rows = torch.arange(B)
    for number in range(12):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        with torch.no_grad():
            one.step(given, "train")
        noisy, _, told, _ = spy.calls[-1]
        scale = one.latents.scale
        frames = (noisy.mean((1, 3, 4)) / scale).round().long()
        assert (frames.diff(dim=1) == 1).all()
        reference = (told.reference.mean((1, 2, 3)) / scale).round().long()
        seen |= set(reference.tolist())
        first += (reference == frames[:, 0]).tolist()
        torch.testing.assert_close(told.skeletons, draw_pose_pictures(given.pose[rows[:, None], frames], 24, 16))
        if kind == "pose_video":
            assert all(getattr(told, name) is None for name in OF_FACE)
            continue
        assert torch.equal(told.identity[:, 0].long(), reference + 1)
        assert torch.equal(told.audio[:, :, 2, 0, 0].long(), frames), "the frame's own speech stands in the middle"
        assert torch.equal(told.audio[:, :, 0, 0, 0].long(), (frames - 2).clamp(min=0))
        torch.testing.assert_close(told.blink, torch.where(frames == 3, -1.0, frames / 20))
        assert torch.equal(told.expression, torch.tensor([1, -1, 2])[:, None].expand(B, T))
    assert seen == set(range(F))
    assert not all(first)


def test_the_first_step_may_take_any_frames_and_tells_each_its_own_pose(made):
    one = undropped(made("pose_video", frames="any"))
    given, spy, apart = faces_of(one), Spy(one), []
    one.network.noise.draw = lambda random: torch.full((B,), 1e-4)  # nearly no noise
    for number in range(12):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        with torch.no_grad():
            one.step(given, "train")
        noisy, _, told, _ = spy.calls[-1]
        frames = (noisy.mean((1, 3, 4)) / one.latents.scale).round().long()
        apart += frames.diff(dim=1).flatten().tolist()
        poses = given.pose[torch.arange(B)[:, None], frames]
        torch.testing.assert_close(told.skeletons, draw_pose_pictures(poses, 24, 16))
    assert min(apart) < 0 < max(apart)
    assert set(apart) != {1}


@pytest.mark.paper("VA-12")
@pytest.mark.parametrize("kind", KINDS)
def test_no_point_of_a_face_changes_what_is_told_of_the_pose(kind, made):
    one = undropped(made(kind))
    given, spy = faces_of(one), Spy(one)
    moved = faces_of(one)
    moved.pose = moved.pose.clone()
    # The middle stays: all that the disc is drawn by.
    lips = slice(FACE.start + 48, FACE.stop)
    moved.pose[:, :, lips, :2] += 0.1
    for each in (given, moved):
        with torch.no_grad():
            one.step(each, "train")
    assert torch.equal(spy.calls[0][2].skeletons, spy.calls[1][2].skeletons)


@pytest.mark.paper("VA-15")
@pytest.mark.parametrize("kind", KINDS)
def test_all_of_the_network_is_trained(kind, made):
    one = undropped(made(kind))
    one.step(faces_of(one), "train").backward()
    unread = [name for name, p in one.network.named_parameters() if p.grad is None]
    assert unread == []
    face = {"identity": FaceColours.sha256} if kind == "audio_video" else {}
    assert one.frozen() == {"autoencoder": one.latents.sha256} | face


@pytest.mark.paper("VA-15")
def test_the_second_step_starts_from_the_first_and_only_adds_the_face(vae, base):
    torch.manual_seed(0)
    one = stage("audio_video", vae, base)
    first = load_file(base / "export" / "model.safetensors")
    added = {id(p) for p in one.network.face_parameters()}
    own = {name for name, p in one.network.named_parameters() if id(p) in added}
    assert {name for name, _ in one.network.named_parameters()} == own | set(first)
    assert not own & set(first)
    for name, p in one.network.named_parameters():
        assert name in own or torch.equal(p, first[name]), name


@pytest.mark.paper("VA-15")
def test_before_training_the_second_step_makes_what_the_first_does(vae, base, monkeypatch):
    monkeypatch.setattr("tests.trainers.versa_video_stages.filled", lambda network, std: network)
    second = undropped(stage("audio_video", vae, base)).eval()
    monkeypatch.undo()
    first = undropped(stage("pose_video", vae)).eval()
    losses = []
    for one in (first, second):
        given = faces_of(one)
        one.hears = False  # the same frames
        with torch.no_grad():
            losses.append(one.step(given, "val"))
    torch.testing.assert_close(*losses)


@pytest.mark.paper("VA-14")
@pytest.mark.paper("VA-15")
@pytest.mark.parametrize("name", ["reference", "pose", *OF_FACE])
def test_each_condition_is_left_out_in_its_share_of_the_samples_and_in_no_validation(name, made):
    one = made(
        "audio_video", **{f"drop_{each}": 0.0 for each in ("reference", "pose", *OF_FACE)} | {f"drop_{name}": 0.7}
    )
    given, spy, shares = faces_of(one), Spy(one), []
    one.network.forward = lambda noisy, levels, told, left_out: torch.zeros_like(noisy)
    for number in range(60):
        given.ids = [f"{number}-{sample}" for sample in range(B)]
        one.step(given, "train")
        left_out = spy.calls[-1][3]
        shares += left_out[name].tolist()
        assert not any(left.any() for other, left in left_out.items() if other != name)
    assert sum(shares) / len(shares) == pytest.approx(0.7, abs=0.1)
    one.eval().step(given, "val")
    assert spy.calls[-1][3] == {}


def test_without_attention_to_the_face_nothing_of_it_is_read_or_left_out(made):
    one = made("audio_video", face_attention=False)
    assert set(one.dropped) == {"reference", "pose"}
    assert not {"identity.npz", "face.npz", "speech.npz"} & set(one.needs)
    one.step(of_its_own(one, batch()), "train").backward()
    whole = made("audio_video")
    assert {"identity.npz", "face.npz", "speech.npz", "latents.npz", "pose.npz"} <= set(whole.needs)


@pytest.mark.paper("VA-14")
def test_a_classifier_labels_frames_by_the_labels_that_the_network_knows(made):
    one = undropped(made("audio_video", expression="classifier"))
    assert "expression.npz" in one.needs
    assert "expression.npz" not in made("audio_video").needs
    given, spy = faces_of(one, ("grumpy", None, None)), Spy(one)
    labels = torch.tensor([EXPRESSIONS.index(name) for name in ("sad", "angry", "happy")] + [-1], dtype=torch.int16)
    given.arrays["expression"] = {"labels": labels.repeat(3)[:F].expand(B, F)}
    one.network.noise.draw = lambda random: torch.full((B,), 1e-4)
    one.step(given, "train")
    noisy, _, told, _ = spy.calls[0]
    frames = (noisy.mean((1, 3, 4)) / one.latents.scale).round().long()
    expected = torch.tensor([LABELS.index("sad"), -1, LABELS.index("happy"), -1])  # it knows no anger
    assert torch.equal(told.expression, expected[frames % 4])


def test_it_is_said_once_where_no_clip_has_a_label(made, caplog):
    one = made("audio_video")
    one.step(faces_of(one, (None, None, None)), "train")
    for _ in range(2):
        one.on_train_epoch_end()
    assert caplog.text.count("no clip of this epoch has a label of its expression") == 1
    labelled = made("audio_video")
    labelled.step(faces_of(labelled), "train")
    labelled.on_train_epoch_end()
    assert caplog.text.count("no clip of this epoch") == 1


def test_a_label_that_the_network_does_not_know_is_refused(made):
    one = made("audio_video")
    with pytest.raises(ConfigError, match=r"clip1 is labelled expression=grumpy, but .* has neutral, happy, sad"):
        one.step(faces_of(one, ("happy", "grumpy", None)), "train")


def test_other_sizes_than_the_first_step_s_and_no_base_are_refused(vae, base, made):
    with pytest.raises(ConfigError, match=r"stage.network.head is 0.2, but 0.0625 in the network of stage.base"):
        stage("audio_video", vae, base, head=0.2)
    with pytest.raises(ConfigError, match=r"stage.base is needed: the run folder of a versa.pose_video"):
        stage("audio_video", vae)
    stage("audio_video", vae, base, sampling_steps=3, expressions=["one"], guidance_audio=2.0)
    other = next(each for each in made("audio_video").expects() if each.fact == "identity_channels")
    assert other.met(FACES)
    assert not other.met(512)


@pytest.mark.paper("VA-13")
def test_the_face_network_is_named_and_has_to_be_that_of_the_shards(made, tmp_path):
    (tmp_path / "own.onnx").write_bytes(b"weights of somebody's own")
    own = file_hash(tmp_path / "own.onnx")
    for name, sha256 in (("colours", FaceColours.sha256), (R100.names[0], R100.sha256), (f"{tmp_path}/own.onnx", own)):
        one = made("audio_video", identity=name)
        assert one.frozen()["identity"] == sha256
        one.network.save_pretrained(tmp_path / "saved")
        assert json.loads((tmp_path / "saved" / "config.json").read_text())["face_network"] == sha256
        with pytest.raises(ConfigError, match=rf"stage.identity={name} is a network with the hash {sha256[:16]}, but"):
            agree(one, {"identity.network": "ab" * 32})
        agree(one, {"identity.network": sha256})
    with pytest.raises(ConfigError, match=r"stage.identity=.*other.onnx: no such file"):
        made("audio_video", identity=str(tmp_path / "other.onnx"))
    without = made("audio_video", identity=str(tmp_path / "other.onnx"), face_attention=False)
    assert set(without.frozen()) == {"autoencoder"}
    assert "identity.network" not in [each.fact for each in without.expects()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_shows_reference_truth_and_what_is_made_and_validation_is_told_all(kind, made):
    one = made(kind).eval()
    given, spy = faces_of(one), Spy(one)
    with torch.no_grad():
        shown = one.sample(given)["beside"]
        made_of = spy.calls[-1][2]
        one.step(given, "val")
    assert shown.shape == (B, T, 3, 24, 48)
    assert set(one.logged) == {name for name in one.figures() if name.startswith("val/")}
    assert made_of.augmentation.tolist() == pytest.approx([one.network.noise_augmentation] * B)
    clean = made_of.reference.mean((1, 2, 3), keepdim=True)  # a frame's latents are one number
    assert (made_of.reference - clean).std().item() == pytest.approx(one.network.noise_augmentation, rel=0.3)


def test_face_and_hands_count_more_where_asked(made):
    plain, other = made("pose_video"), made("pose_video", region_weight=3.0)
    given = of_its_own(plain, batch())
    assert plain.step(given, "train").item() != other.step(given, "train").item()
