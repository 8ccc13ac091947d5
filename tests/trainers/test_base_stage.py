"""Implicit motion's base stage: its configs, what a step does, and a whole short run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.batch import Batch
from models.implicit_motion import ImplicitMotion
from models.losses.adversarial import discriminator_loss, generator_loss
from models.losses.threshold import threshold_loss
from settings import ConfigError, build
from settings.command import command
from tests.models.filled import filled
from tests.models.test_implicit_motion_base import SMALL
from tests.nested import nested
from tests.nested import words as words_of
from tests.shards import write_shards
from trainers.fit import fit
from trainers.implicit_motion.base import BaseStage
from trainers.tracking.metrics_csv import read_metrics

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "implicit_motion" / "base"
OPTIONS = {**SMALL, "reconstruction": "structural", "discriminator_width": 4, "discriminator_layers": 3, "frames": 2}
B, T = 2, 10


def values(name: str, *words: str) -> dict[str, Any]:
    return command(fit, ["--config", str(CONFIGS / name), "data.shards=/nowhere", *words], prog="fit")


def stage(**options: Any) -> BaseStage:
    torch.manual_seed(0)
    output = BaseStage(**nested(BaseStage, **{**OPTIONS, **options}))
    output.logged = {}
    output.log = lambda name, value, **_: output.logged.update({name: float(value)})
    return output


def batch(side: int = 32) -> Batch:
    g = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (B, T, 3, side, side), generator=g, dtype=torch.uint8)
    return Batch(ids=[f"clip{i}@0" for i in range(B)], starts=torch.zeros(B, dtype=torch.long), fps=25.0, video=video)


@pytest.mark.paper("IM-1")
@pytest.mark.paper("IM-3")
@pytest.mark.paper("IM-4")
@pytest.mark.paper("IM-6")
def test_paper_config_has_the_sizes_of_the_specification():
    paper = values("paper.yaml")["stage"]["network"]
    assert (paper["image_size"], paper["feature_size"], paper["channels"], paper["planes"]) == (256, 64, 32, 16)
    assert (paper["appearance_channels"], paper["regions"], paper["backbone"]) == (512, 10, "convnext_tiny")


@pytest.mark.paper("IM-10")
@pytest.mark.paper("IM-11")
def test_paper_config_has_the_losses_of_the_specification():
    paper = values("paper.yaml")["stage"]
    assert paper["reconstruction"] == "vgg19"
    weights = [paper[f"{name}_weight"] for name in ("reconstruction", "adversarial", "threshold")]
    assert weights == [10.0, 1.0, 1.0]
    assert paper["threshold"] == 0.05


@pytest.mark.paper("IM-10")
@pytest.mark.paper("IM-11")
def test_the_loss_is_equation_3():
    output = stage(reconstruction_weight=10.0, adversarial_weight=2.0, threshold_weight=3.0, adversarial="lsgan")
    image, driving = output._frames(batch())
    rebuilt = output.network(image, driving, reencode=True)
    losses = output._losses(rebuilt, image, driving)
    frames = rebuilt["frames"].flatten(0, 1)
    adversarial = generator_loss("lsgan", output.discriminator(frames).logits)
    motion, repeated = rebuilt["motion"].flatten(0, 1), output.network.encode_motion(frames)
    threshold = threshold_loss(motion, repeated, 0.05)
    expected = 10 * output.reconstruction(frames, driving.flatten(0, 1)) + 2 * adversarial + 3 * threshold
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert threshold > 0


@pytest.mark.paper("IM-10")
@pytest.mark.paper("IM-11")
@pytest.mark.parametrize("term", ["reconstruction", "adversarial", "threshold"])
def test_every_term_reaches_every_part_of_the_network(term):
    """The third one too: v_dev are features of the generated frames, so it goes back through all that made them."""
    output = stage()
    filled(output.network)
    image, driving = output._frames(batch())
    losses = output._losses(output.network(image, driving, reencode=True), image, driving)
    for name, part in output.network.named_children():
        gradients = torch.autograd.grad(losses[term], list(part.parameters()), retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in gradients), name


@pytest.mark.paper("IM-11")
def test_the_third_term_moves_the_generated_frames_features_alone():
    """v_gt is what is aimed at: were it to move as well, the encoder could make both the same by telling nothing."""
    output = stage()
    image, driving = output._frames(batch())
    rebuilt = {name: value.detach() for name, value in output.network(image, driving, reencode=True).items()}
    wanted, repeated = rebuilt["motion"].requires_grad_(True), rebuilt["reencoded"].requires_grad_(True)
    output._losses(rebuilt, image, driving)["threshold"].backward()
    assert wanted.grad is None
    assert repeated.grad.any()
    assert not output._losses(rebuilt | {"reencoded": wanted.detach()}, image, driving)["threshold"]


@pytest.mark.paper("IM-10")
def test_generator_and_discriminator_each_have_an_optimiser_of_their_own():
    output = stage(optimizer={"name": "adamw", "lr": 1e-2})
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
    reached = {name.split(".")[1] for name in steps[0][2]}
    assert reached == {name for name, _ in output.network.named_children()}
    image, driving = output._frames(batch())
    truth = driving.flatten(0, 1)
    fake = output.network(image, driving)["frames"].flatten(0, 1)
    judged = discriminator_loss("hinge", output.discriminator(truth).logits, output.discriminator(fake).logits)
    assert steps[1][1] == pytest.approx(judged.item(), rel=1e-4)


def test_what_moves_can_count_more():
    output = stage(motion_weight=2.0, reconstruction="l1")
    image, driving = torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 3, 32, 32)
    driving[..., :16] = 0.5
    still = {"frames": driving.clone()}
    moved = {"frames": driving.clone()}
    still["frames"][..., 24:28] += 0.1  # an error where nothing moves
    moved["frames"][..., 4:8] += 0.1  # the same one where something does
    light, heavy = (output._losses(one, image, driving)["reconstruction"] for one in (still, moved))
    assert heavy / light == pytest.approx(1 + 2 * 2, rel=0.1)  # twice the mean difference there, none here


def test_training_frames_follow_the_sample_and_validation_frames_are_spread_evenly():
    output, one = stage(frames=3), batch()
    image, driving = output._frames(one)
    repeated, _ = output._frames(one)
    assert torch.equal(image, repeated)
    assert driving.shape == (B, 3, 3, 32, 32)
    turned = Batch(**{**vars(one), "ids": one.ids[::-1], "video": one.video.flip(0)})
    assert torch.equal(output._frames(turned)[0], image.flip(0))
    output.eval()
    image, driving = output._frames(one)
    assert torch.equal(image, one.video[:, 0].float() / 255)
    assert torch.equal(driving, one.video[:, [3, 6, 9]].float() / 255)


def test_validation_says_how_it_stands_beside_the_source_frame():
    output = stage().eval()
    with torch.no_grad():
        output.validation_step(batch(), 0)
    image, driving = output._frames(batch())
    error = (image[:, None] - driving).square().flatten(2).mean(2)
    assert output.logged["val/psnr_source"] == pytest.approx((-10 * error.log10()).mean().item(), rel=1e-5)
    assert 0 < output.logged["val/psnr"] < 30


def test_frames_of_another_size_are_refused():
    with pytest.raises(ConfigError, match=r"data\.video_size=\[32,32\]"):
        stage()._frames(batch(side=16))


def test_vgg_without_weights_is_refused():
    with pytest.raises(ConfigError, match="VGG-19"):
        stage(reconstruction="vgg19")


@pytest.mark.parametrize("name", ["paper.yaml", "tiny.yaml"])
def test_every_config_makes_a_stage(name):
    options = dict(values(name)["stage"])
    options.pop("name")
    if options["reconstruction"] == "vgg19":
        options["reconstruction"] = "structural"  # no weights at hand
    output = BaseStage(**options)
    count = sum(p.numel() for p in output.network.parameters())
    low, high = {"paper.yaml": (30e6, 60e6), "tiny.yaml": (1e6, 8e6)}[name]
    assert low < count < high


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    shards = folder / "shards"
    keys, splits = ("video.mp4", "pose.npz"), ("train", "train", "val")
    write_shards(shards, keys=keys, splits=splits, video_size=(32, 32), seconds=2)
    words = words_of(BaseStage, **OPTIONS)
    words += ["data.video_size=[32,32]", "data.window=16", "data.batch_size=2", "data.workers=0"]
    words += ["trainer.max_steps=8", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]
    words += ["checkpoint.every_n_steps=4", f"data.shards={shards}", f"run={folder / 'run'}"]
    return build(command(fit, ["--config", str(CONFIGS / "tiny.yaml"), *words], prog="fit"), fit)


def test_a_short_run_leaves_a_network_samples_and_figures(run):
    rows = read_metrics(run / "metrics.csv")
    assert {"train/reconstruction", "train/adversarial", "train/threshold", "train/discriminator"} <= set(rows[0])
    assert any("val/psnr" in row and "val/psnr_source" in row for row in rows)
    network = ImplicitMotion.from_pretrained(run / "export")
    assert network.image_size == 32
    samples = list((run / "samples").glob("*.mp4"))
    assert samples
    from datamodules.media.files import read_frames

    frames = list(read_frames(samples[0]))
    assert len(frames) == 16
    assert frames[0].shape == (256, 512, 3)  # real and rebuilt, side by side
