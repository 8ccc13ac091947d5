"""Implicit motion's stages as real trainings: on two ranks, and stopped in the middle."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from preprocessing.features.run import Options, make_features
from tests.e2e.strategies import COMMON, curve, train_all
from tests.models.test_implicit_motion_base import SMALL
from tests.shards import write_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Sums over ranks add up in another order; convolutions, and a discriminator's feedback, make more of it in eight steps
# than a transformer does.
TOLERANCE = 1e-3
BASE = (
    "stage=implicit_motion.base", *(f"stage.network.{name}={value}" for name, value in SMALL.items()),
    "stage.reconstruction=structural", "stage.discriminator_width=4", "stage.discriminator_layers=3",
    "stage.adversarial_weight=0.1", "stage.frames=2", "stage.optimizer.lr=1e-3", "data.video_size=[32,32]",
    "trainer.max_steps=16", "trainer.gradient_clip_val=0.5", "checkpoint.every_n_steps=8",
)  # fmt: skip
MOTION = (
    "stage=implicit_motion.motion", "stage.network.width=16", "stage.network.layers=2", "stage.network.heads=2",
    "stage.network.feedforward=32",
    "stage.network.dropout=0", "stage.network.audio=handcrafted", "stage.network.audio_width=8",
    "stage.network.audio_layers=1", "stage.network.window=20",
    f"stage.network.appearance_channels={SMALL['appearance_channels']}", "stage.network.sampling_steps=2",
    "trainer.max_steps=8", "trainer.gradient_clip_val=0.5", "checkpoint.every_n_steps=4",
)  # fmt: skip
BASE_FIGURES = ("train/loss", "train/discriminator", "train/threshold", "val/loss", "val/psnr")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: by one process, by two, and by one that goes on from the middle."""
    folder = tmp_path_factory.mktemp("implicit_motion")
    shards, features = folder / "shards", folder / "features"
    keys = ("video.mp4", "speech.npz", "audio.flac")
    write_shards(shards, clips=8, per_shard=4, seconds=2.0, keys=keys, splits=("train", "train", "train", "val"))

    def base(name: str, ranks: int, *more: str) -> list[str]:
        return _words(BASE, folder / name, shards, ranks, *more)

    def motion(name: str, ranks: int, *more: str) -> list[str]:
        return _words(MOTION, folder / name, features, ranks, *more)

    middle = {name: folder / name / "checkpoints" for name in ("base", "motion")}
    train_all(
        folder, "alone", [base("base", 1), base("base-again", 1, f"resume={middle['base'] / 'step-00000004.ckpt'}")]
    )
    make_features(Options(input=str(shards), output=str(features), network=str(folder / "base"), workers=0))
    repeated = f"resume={middle['motion'] / 'step-00000004.ckpt'}"
    train_all(folder, "alone-too", [motion("motion", 1), motion("motion-again", 1, repeated)])
    ranks = [motion(f"motion-{strategy}", 2, f"strategy={strategy}") for strategy in ("deepspeed_2", "deepspeed_3")]
    train_all(folder, "two", [base("base-ddp", 2, "strategy=ddp"), *ranks])
    return folder


def _words(stage: tuple[str, ...], out: Path, shards: Path, ranks: int, *more: str) -> list[str]:
    return [
        *stage, *COMMON, f"run={out}", f"data.shards={shards}", f"trainer.devices={ranks}",
        f"data.batch_size={4 // ranks}", *more,
    ]  # fmt: skip


def same(one: Path, other: Path, *names: str, tolerance: float, after: int = -1) -> None:
    first, second = (
        {key: value for key, value in curve(run, *names).items() if key[0] > after} for run in (one, other)
    )
    assert len(first) > len(names)
    assert first == pytest.approx(second, rel=tolerance, abs=tolerance * 1e-1)


@pytest.mark.parametrize(("stage", "names"), [("base", BASE_FIGURES), ("motion", ())])
def test_a_run_that_goes_on_from_the_middle_ends_as_the_unbroken_one(runs, stage, names):
    wanted = {key: value for key, value in curve(runs / stage, *names).items() if key[0] > 3}
    found = {key: value for key, value in curve(runs / f"{stage}-again", *names).items() if key[0] > 3}
    assert found == wanted
    assert len(wanted) > 4
    weights, repeated = (load_file(runs / name / "export" / "model.safetensors") for name in (stage, f"{stage}-again"))
    assert all(torch.equal(weights[name], repeated[name]) for name in weights)


def test_base_on_two_ranks_is_one_process_of_twice_the_batch(runs):
    same(runs / "base-ddp", runs / "base", *BASE_FIGURES, tolerance=TOLERANCE)


@pytest.mark.parametrize("strategy", ["deepspeed_2", "deepspeed_3"])
def test_motion_under_zero_is_one_process_of_twice_the_batch(runs, strategy):
    same(runs / f"motion-{strategy}", runs / "motion", tolerance=TOLERANCE)
    weights, other = (
        load_file(runs / name / "export" / "model.safetensors") for name in ("motion", f"motion-{strategy}")
    )
    assert all(torch.allclose(weights[name], other[name], rtol=1e-3, atol=1e-5) for name in weights)
