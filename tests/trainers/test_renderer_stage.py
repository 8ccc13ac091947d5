"""ChatAnyone's renderer stage: its configs, what a step does, and a whole short run that can be stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.batch import Batch
from models.chatanyone.grid import landmark_heads
from models.chatanyone.hands import hand_images
from models.chatanyone.head import INDICES
from models.chatanyone.renderer import Renderer
from models.human.keypoints import FACE, HANDS, LEFT_WRIST, POINTS, RIGHT_WRIST
from models.losses.adversarial import discriminator_loss, generator_loss
from models.losses.pixels import pixel_error
from settings import ConfigError, build
from settings.command import command
from tests.models.filled import filled
from tests.models.test_chatanyone_renderer import SMALL as NETWORK
from tests.nested import nested
from tests.nested import words as words_of
from tests.shards import write_shards
from tests.trainers.runs import assert_goes_on
from trainers.chatanyone.renderer import RendererStage
from trainers.chatanyone.renderer_batch import boxes, check_seen, limbs, psnr
from trainers.fit import fit
from trainers.tracking.metrics_csv import read_metrics

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "chatanyone" / "renderer"
HEIGHT, WIDTH = 48, 32
SMALL = {**NETWORK, "head_points": len(INDICES), "compress": 0}
OPTIONS = {**SMALL, "perceptual": "structural", "discriminator_width": 4, "discriminator_layers": 3, "frames": 2}
LOSSES = (
    "equivariance", "keypoint_prior", "deformation_prior", "perceptual", "adversarial", "reconstruction", "landmark",
    "hand",
)  # fmt: skip
B, T = 2, 10


def values(name: str, *words: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *words], prog="fit")


def stage(**options: Any) -> RendererStage:
    torch.manual_seed(0)
    output = RendererStage(**nested(RendererStage, **{**OPTIONS, **options}))
    filled(output.network)
    output.logged = {}
    output.log = lambda name, value, **_: output.logged.update({name: float(value)})
    return output


def batch(height: int = HEIGHT, width: int = WIDTH) -> Batch:
    g = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (B, T, 3, height, width), generator=g, dtype=torch.uint8)
    pose = torch.rand(B, T, POINTS, 3, generator=g) * 0.5 + 0.25
    pose[..., 2] = 0.9
    ids = [f"clip{i}@0" for i in range(B)]
    return Batch(ids=ids, starts=torch.zeros(B, dtype=torch.long), fps=25.0, video=video, pose=pose)


def step(output: RendererStage, one: Batch) -> tuple[Any, torch.Tensor | None, dict, dict]:
    """The frames of a batch, pictures of their hands, what the network makes of them, and the losses."""
    draw = output.generator(one)
    given = output._pair(one, draw)
    hands = output._pictures(given)
    rendered = output._rendered(given, hands, output._turns(draw))
    return given, hands, rendered, output._losses(rendered, given, hands)


@pytest.mark.paper("CA-14")
def test_paper_configs_have_the_sizes_of_the_specification():
    for name, size in (("paper.yaml", [768, 512]), ("head.yaml", [512, 512])):
        paper = values(name)
        network = paper["stage"]["network"]
        assert [network["height"], network["width"]] == list(paper["data"]["video_size"]) == size
        assert (paper["stage"]["optimizer"]["name"], paper["stage"]["optimizer"]["lr"]) == ("adam", 1e-4)
        assert paper["data"]["global_batch"] == 32
    assert values("head.yaml")["stage"]["network"]["body_points"] == 0
    assert values("head.yaml")["stage"]["network"]["hands"] is False


@pytest.mark.paper("CA-14")
@pytest.mark.parametrize(
    ("name", "low", "high"), [("paper.yaml", 15e6, 80e6), ("head.yaml", 15e6, 80e6), ("tiny.yaml", 0.2e6, 2e6)]
)
def test_every_config_makes_a_stage(name, low, high):
    options = dict(values(name)["stage"])
    options.pop("name")
    options["perceptual"] = "structural"  # no weights at hand
    with torch.device("meta"):
        output = RendererStage(**options)
    parts = {one: sum(p.numel() for p in part.parameters()) for one, part in output.network.named_children()}
    print(name, {one: f"{count / 1e6:.2f} M" for one, count in parts.items()})
    assert low < sum(parts.values()) < high


@pytest.mark.paper("CA-12")
def test_paper_config_has_all_eight_losses():
    output = RendererStage(**nested(RendererStage, **OPTIONS))
    assert set(output.weights) == set(LOSSES)
    paper = values("paper.yaml")["stage"]
    assert paper["perceptual"] == "vgg19"
    assert all(paper[f"{name}_weight"] > 0 for name in LOSSES)


@pytest.mark.paper("CA-12")
def test_the_loss_is_the_weighed_sum_of_equation_6():
    weights = {name: float(2**i) for i, name in enumerate(LOSSES)}
    output = stage(**{f"{name}_weight": weight for name, weight in weights.items()}, adversarial="lsgan")
    given, hands, rendered, losses = step(output, batch())
    assert set(losses) == {"loss", *LOSSES}
    assert all(value > 0 for value in losses.values())
    assert losses["loss"].item() == pytest.approx(sum(weights[n] * losses[n].item() for n in LOSSES), rel=1e-5)
    frames, truth = rendered["frames"].flatten(0, 1), given.driving.flatten(0, 1)
    adversarial = generator_loss("lsgan", output.discriminator(frames).logits)
    assert losses["adversarial"].item() == pytest.approx(adversarial.item(), rel=1e-4)
    assert losses["perceptual"].item() == pytest.approx(output.perceptual(frames, truth).item(), rel=1e-4)
    assert losses["reconstruction"].item() == pytest.approx((frames - truth).abs().mean().item(), rel=1e-4)
    near = torch.nn.functional.max_pool2d((hands.flatten(0, 1)[:, :1] > 0).float(), 5, stride=1, padding=2)
    assert losses["hand"].item() == pytest.approx(output.perceptual(frames, truth, near).item(), rel=1e-4)


@pytest.mark.paper("CA-12")
@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_of_zero_leaves_a_loss_out(name):
    output = stage(**{f"{name}_weight": 0.0})
    assert set(step(output, batch())[3]) == {"loss", *LOSSES} - {name}
    assert f"train/{name}" not in output.figures()


PICTURED = {"image_encoder", "detector", "displacement", "warping", "image_decoder", "injections"}
REACHED = {
    "equivariance": {"detector"},
    "keypoint_prior": {"detector"},
    "deformation_prior": {"detector", "displacement"},
    "landmark": {"detector"},
    **dict.fromkeys(("perceptual", "adversarial", "reconstruction", "hand"), PICTURED),
}


@pytest.mark.paper("CA-12")
@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_reaches_the_parts_it_is_for(name):
    output = stage()
    losses = step(output, batch())[3]
    found = set()
    for part, module in output.network.named_children():
        gradients = torch.autograd.grad(losses[name], list(module.parameters()), retain_graph=True, allow_unused=True)
        if any(g is not None and g.any() for g in gradients):
            found.add(part)
    assert found == REACHED[name]


@pytest.mark.paper("CA-1")
def test_offsets_are_trained_with_the_renderer():
    output = stage(deformation_prior_weight=0.0)
    step(output, batch())[3]["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in output.network.displacement.parameters())


@pytest.mark.paper("CA-12")
def test_the_hands_loss_counts_hands_alone():
    output, one = stage(perceptual="l1"), batch()
    given, hands, rendered, _ = step(output, one)
    off = dict(rendered)
    near = torch.nn.functional.max_pool2d((hands.flatten(0, 1)[:, :1] > 0).float(), 5, stride=1, padding=2) > 0
    assert 0 < near.float().mean() < 1
    off["frames"] = torch.where(near.unflatten(0, (B, 2)), given.driving, given.driving + 0.2)
    losses = output._losses(off, given, hands)
    assert losses["hand"] == 0
    assert losses["perceptual"] > 0.01
    unseen = torch.zeros_like(hands)
    assert output._losses(rendered, given, unseen)["hand"] == 0


@pytest.mark.paper("CA-12")
def test_body_points_are_held_to_wrists_elbows_shoulders_and_neck():
    pose = batch().pose
    wanted, seen = limbs(pose, 3)
    assert wanted.shape == (B, T, 3, 2)
    torch.testing.assert_close(wanted[:, :, 0], 2 * pose[:, :, RIGHT_WRIST, :2] - 1)
    torch.testing.assert_close(wanted[:, :, 1], 2 * pose[:, :, LEFT_WRIST, :2] - 1)
    assert seen.all()
    pose[:, :, RIGHT_WRIST, 2], pose[:, :, LEFT_WRIST, 0] = 0.1, 1.2  # hardly seen; out of the frame
    assert limbs(pose, 3)[1][0, 0].tolist() == [False, False, True]
    assert limbs(pose, 21)[0].shape == (B, T, 7, 2)


@pytest.mark.paper("CA-9")
def test_generator_and_discriminator_each_have_an_optimiser_of_their_own():
    output = stage()
    steps: list[tuple[str, float, list[str]]] = []

    def update(part: str, loss: torch.Tensor) -> None:
        loss.backward()
        steps.append((part, loss.item(), [n for n, p in output.named_parameters() if p.grad is not None]))
        output.zero_grad()

    output.update = update
    output.training_step(batch(), 0)
    assert [part for part, _, _ in steps] == ["network", "discriminator"]
    assert all(name.startswith("network.") for name in steps[0][2])
    assert all(name.startswith("discriminator.") for name in steps[1][2])
    assert set(steps[0][2]) == {name for name, _ in output.named_parameters() if name.startswith("network.")}
    given, _, rendered, _ = step(output, batch())
    truth, fake = given.driving.flatten(0, 1), rendered["frames"].flatten(0, 1)
    judged = discriminator_loss("hinge", output.discriminator(truth).logits, output.discriminator(fake).logits)
    assert steps[1][1] == pytest.approx(judged.item(), rel=1e-4)


@pytest.mark.paper("CA-9")
def test_the_heads_points_are_contour_brows_eyes_and_lips_of_the_frame():
    pose = batch().pose
    points, seen = landmark_heads(pose)
    assert points.shape == (B, T, 59, 3)
    assert seen.all()
    assert set(INDICES) == set(range(FACE.start, FACE.stop)) - set(range(FACE.start + 27, FACE.start + 36))
    torch.testing.assert_close(points[..., 0, :2], 2 * pose[..., FACE.start, :2] - 1)
    assert not points[..., 2].any()
    pose[:, 0, INDICES[3]] = torch.tensor([-1.0, -1.0, 0.0])  # missing: it goes with the others
    filled, seen = landmark_heads(pose)
    assert seen.all()
    others = [i for i in range(59) if i != 3]
    torch.testing.assert_close(filled[:, 0, 3, :2], points[:, 0, others, :2].mean(1))
    pose[:, 1, list(INDICES[:40]), 2] = 0.0
    assert not landmark_heads(pose)[1][:, 1].any()


@pytest.mark.paper("CA-3")
@pytest.mark.paper("CA-10")
def test_hands_of_the_driving_frame_are_brought_in():
    output, one = stage(), batch()
    given, hands, rendered, _ = step(output, one)
    by_hand = hand_images(given.driving_pose.flatten(0, 1)[:, HANDS], HEIGHT, WIDTH)
    torch.testing.assert_close(hands.flatten(0, 1), by_hand)
    plain = output._rendered(given, None, None)["frames"]
    assert (plain - rendered["frames"]).abs().max() > 1e-3
    one.pose[:, :, HANDS] = -1  # no hand in the picture: as without
    unseen = step(output, one)
    torch.testing.assert_close(unseen[2]["frames"], output._rendered(unseen[0], None, None)["frames"])


def test_frames_follow_the_sample_and_show_a_head():
    output, one = stage(frames=3), batch()
    given = output._pair(one, output.generator(one))
    repeated = output._pair(one, output.generator(one))
    assert torch.equal(given.driving, repeated.driving)
    assert given.driving.shape == (B, 3, 3, HEIGHT, WIDTH)
    turned = Batch(**{**vars(one), "ids": one.ids[::-1], "video": one.video.flip(0), "pose": one.pose.flip(0)})
    assert torch.equal(output._pair(turned, output.generator(turned)).image, given.image.flip(0))
    output.eval()
    given = output._pair(one, output.generator(one))
    assert torch.equal(given.image, one.video[:, 0].float() / 255)
    assert torch.equal(given.driving, one.video[:, [3, 6, 9]].float() / 255)
    assert torch.equal(given.driving_pose, one.pose[:, [3, 6, 9]])
    one.pose[:, :4, FACE] = -1  # no head in the first frames
    given = output._pair(one, output.generator(one))
    assert torch.equal(given.image, one.video[:, 4].float() / 255)
    assert given.shown.all()


def test_a_window_without_a_head_counts_nothing():
    output, one = stage(), batch()
    given, hands, rendered, _ = step(output, one)
    alone = output._losses(
        {name: value[:1] for name, value in rendered.items()}, type(given)(*(v[:1] for v in given)), hands[:1]
    )
    one.pose[1, :, FACE] = -1
    lost, hands, rendered, losses = step(output, one)
    assert lost.shown.tolist() == [[True, True], [False, False]]
    for name in ("perceptual", "reconstruction", "hand"):
        assert losses[name].item() == pytest.approx(alone[name].item() / 2, rel=1e-3)


def test_what_moves_can_count_more():
    output = stage(motion_weight=2.0)
    given, _, rendered, losses = step(output, batch())
    plain = step(stage(), batch())[3]
    assert losses["reconstruction"].item() != pytest.approx(plain["reconstruction"].item(), rel=1e-6)
    assert losses["hand"].item() == pytest.approx(plain["hand"].item(), rel=1e-4)
    frames, truth = rendered["frames"].flatten(0, 1), given.driving.flatten(0, 1)
    still = given.image[:, None].expand_as(given.driving).flatten(0, 1)
    moved = torch.nn.functional.avg_pool2d((truth - still).abs().mean(1, keepdim=True), 5, 1, 2)
    weight = 1 + 2 * moved / moved.mean((1, 2, 3), keepdim=True)
    assert losses["reconstruction"].item() == pytest.approx(pixel_error(frames, truth, weight).item(), rel=1e-4)


def test_a_turn_is_a_turn_of_the_picture_even_if_it_is_not_square():
    """A quarter turn of coordinates that are shares of sides: what is right in the picture ends up below, as far."""
    output = stage(turn=0.5)

    class Largest:
        def uniform(self, *shape):
            return torch.tensor([1.0, 0.5, 0.5, 0.5]).expand(B, *shape)

    turn = output._turns(Largest())[0, 0]
    ten_right = torch.tensor([2 * 10 / WIDTH, 0.0])
    at = turn[:, :2] @ ten_right * torch.tensor([WIDTH, HEIGHT]) / 2
    assert at.norm().item() == pytest.approx(10, rel=1e-4)
    assert at[0].abs() < 1e-4
    assert not turn[:, 2].any()


def test_validation_says_how_it_stands_beside_the_source_frame_in_mouth_and_hands():
    output, one = stage().eval(), batch()
    one.pose[..., HANDS, :2] = one.pose[..., HANDS, :2] * 0.3 + 0.6
    with torch.no_grad():
        output.validation_step(one, 0)
    given = output._pair(one, output.generator(one))
    frames = given.driving.flatten(0, 1)
    held = given.image[:, None].expand_as(given.driving).flatten(0, 1)
    mask = boxes(given.driving_pose.flatten(0, 1), "hands", HEIGHT, WIDTH)
    by_hand = torch.stack(
        [-10 * (h - f)[:, m].square().mean().log10() for h, f, m in zip(held, frames, mask, strict=True)]
    )
    assert output.logged["val/psnr_source_hands"] == pytest.approx(by_hand.mean().item(), rel=1e-4)
    assert set(output.logged) <= set(output.figures())
    assert 0 < output.logged["val/psnr_mouth"] < 30
    nothing = torch.zeros_like(mask)
    assert psnr(frames, held, nothing)[0] == 0
    assert psnr(frames, held, nothing)[1] == 0


def test_a_sample_shows_reference_truth_and_what_is_generated():
    output, one = stage().eval(), batch()
    with torch.no_grad():
        shown = output.sample(one)["beside"]
    assert shown.shape == (B, T, 3, HEIGHT, 3 * WIDTH)
    video = one.video.float() / 255
    assert torch.equal(shown[..., :WIDTH], video[:, :1].expand_as(video))
    assert torch.equal(shown[..., WIDTH : 2 * WIDTH], video)
    given = output._pair(one, output.generator(one))  # the last frame is the second that validation takes
    made = output._rendered(given, output._pictures(given), None)["frames"][:, -1]
    torch.testing.assert_close(shown[:, -1, ..., 2 * WIDTH :], made, atol=1e-5, rtol=1e-4)


def test_a_head_alone_trains_without_body_and_hands():
    output = stage(body_points=0, hands=False, hand_weight=0.0)
    losses = step(output, batch())[3]
    assert set(losses) == {"loss", "deformation_prior", "perceptual", "adversarial", "reconstruction"}
    output.update = lambda part, loss: loss.backward()
    output.training_step(batch(), 0)
    with torch.no_grad():
        output.eval().validation_step(batch(), 0)
    assert set(output.logged) == set(output.figures())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hands": False}, "stage.hand_weight is 10, .* set stage.hand_weight=0"),
        ({"perceptual": "vgg19"}, "VGG-19"),
        ({"vgg_weights": "some.pth"}, "takes no weights"),
        ({"height": 50}, r"stage\.network: height 50 is halved 2 times"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        stage(**options)


def test_frames_of_another_size_are_refused():
    with pytest.raises(ConfigError, match=r"are 16 x 24 pixels .*data\.video_size=\[48,32\]"):
        step(stage(), batch(24, 16))
    assert stage().expects()[0].value == (48, 32)


def test_clips_without_heads_or_hands_are_refused_before_training():
    known = {"mean": [[0.5, 0.5]] * POINTS, "std": [[0.1, 0.1]] * POINTS}

    def without(points: slice) -> dict[str, Any]:
        mean, std = list(known["mean"]), list(known["std"])
        count = points.stop - points.start
        mean[points], std[points] = [[0.0, 0.0]] * count, [[1.0, 1.0]] * count
        return {"pose": {"mean": mean, "std": std}}

    check_seen({"pose": known}, True)
    with pytest.raises(ConfigError, match="shows a face"):
        check_seen(without(FACE), True)
    with pytest.raises(ConfigError, match=r"stage\.network\.hands=false and stage\.hand_weight=0"):
        check_seen(without(HANDS), True)
    check_seen(without(HANDS), False)
    with pytest.raises(ConfigError, match="a point of a hand"):
        stage().use_statistics(without(HANDS))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("renderer")
    keys, splits = ("video.mp4", "pose.npz"), ("train", "train", "val")
    write_shards(folder / "shards", keys=keys, splits=splits, video_size=(HEIGHT, WIDTH), seconds=2)
    return trained(folder / "run")


def trained(folder: Path) -> Path:
    words = words_of(RendererStage, **OPTIONS)
    words += [f"data.video_size=[{HEIGHT},{WIDTH}]", "data.window=16", "data.batch_size=2", "data.workers=0"]
    words += ["trainer.max_steps=8", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]
    words += [
        "checkpoint.every_n_steps=2",
        "samples.count=1",
        f"data.shards={folder.parent / 'shards'}",
        f"run={folder}",
    ]
    return build(command(fit, ["--config", str(CONFIGS / "tiny.yaml"), *words], prog="fit"), fit)


def test_a_short_run_leaves_a_network_samples_and_figures(run):
    rows = read_metrics(run / "metrics.csv")
    assert {f"train/{name}" for name in (*LOSSES, "loss", "discriminator")} <= set(rows[0])
    last = [row for row in rows if "val/psnr" in row][-1]
    assert {"val/psnr_source", "val/psnr_mouth", "val/psnr_source_mouth", "val/psnr_hands"} <= set(last)
    network = Renderer.from_pretrained(run / "export")
    assert (network.height, network.width) == (HEIGHT, WIDTH)
    from datamodules.media.files import read_frames, read_metadata

    sample = sorted((run / "samples").glob("*.mp4"))[0]
    frames = list(read_frames(sample))
    assert len(frames) == 16
    assert frames[0].shape[:2] == (256, 512)  # three pictures of 2 x 3 beside each other
    assert [read_metadata(sample)[place] for place in ("left", "middle", "right")] == ["reference", "real", "generated"]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(run):
    again = run.parent / "again"
    assert_goes_on(run, again, trained)
    wanted, found = (torch.load(one / "checkpoints" / "last.ckpt", weights_only=True) for one in (run, again))
    assert len(wanted["optimizer_states"]) == 2
    for ours, theirs in zip(found["optimizer_states"], wanted["optimizer_states"], strict=True):
        for index, state in theirs["state"].items():
            assert all(torch.equal(ours["state"][index][name], value) for name, value in state.items())
