"""Implicit motion's motion stage on shards: cached features and frames, the base it stands on, whole short runs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.batch import Batch
from datamodules.shards.index import Index
from models.implicit_motion import ImplicitMotion
from models.implicit_motion.generate import generate
from models.implicit_motion.motion import MotionDiffusion
from preprocessing.features import run as features
from settings import ConfigError, build
from settings.command import command
from settings.hashes import file_hash
from tests.models.test_implicit_motion_base import SMALL as BASE
from tests.nested import nested
from tests.nested import words as words_of
from tests.shards import write_shards
from tests.trainers.test_motion_stage import CONFIGS, SMALL, T
from trainers.fit import fit
from trainers.implicit_motion.motion import MotionStage
from trainers.tracking.metrics_csv import read_metrics


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A base network that was saved."""
    folder = tmp_path_factory.mktemp("base") / "export"
    torch.manual_seed(0)
    ImplicitMotion(**BASE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory, base) -> tuple[Path, Path]:
    """Clips with video, and the same with the base network's features."""
    folder = tmp_path_factory.mktemp("shards")
    keys = ("video.mp4", "speech.npz", "audio.flac")
    write_shards(folder / "video", clips=6, seconds=2.0, keys=keys, splits=("train", "train", "val"))
    options = {"input": str(folder / "video"), "output": str(folder / "cached"), "network": str(base), "workers": 0}
    features.make_features(features.Options(**options, device="cpu", progress=False))
    return folder / "video", folder / "cached"


def options(folder: Path, shards: Path, *words: str) -> dict[str, Any]:
    small = words_of(MotionStage, **SMALL)
    run = [
        f"data.shards={shards}", f"run={folder}", f"data.window={T}", "data.batch_size=2", "data.workers=0",
        "trainer.accelerator=cpu", "trainer.max_steps=4", "trainer.log_every_n_steps=1", "trainer.val_check_interval=2",
        "trainer.enable_progress_bar=false", "checkpoint.every_n_steps=2", "samples.count=0",
    ]  # fmt: skip
    return command(fit, ["--config", str(CONFIGS / "tiny.yaml"), *small, *run, *words], prog="fit")


def one_batch(where: Path, base: Path, source: str) -> tuple[MotionStage, Batch]:
    """The stage and the first validation batch, whose windows start with their clips."""
    from datamodules.reader import ClipDataModule

    output = MotionStage(**nested(MotionStage, **SMALL), base=str(base), features=source)
    size = None if source == "cached" else (32, 32)
    data = ClipDataModule(output.needs, shards=str(where), window=T, batch_size=2, workers=0, video_size=size)
    output.use_statistics(data.statistics)
    return output, next(iter(data.val_dataloader()))


def test_cached_features_are_those_that_frames_give(shards, base):
    video, cached = (one_batch(where, base, kind) for where, kind in zip(shards, ("video", "cached"), strict=True))
    frame = torch.zeros(2, dtype=torch.long)
    assert video[1].ids == cached[1].ids
    assert video[1].starts.tolist() == [0, T]
    motion, appearance = video[0]._features(video[1], frame)
    kept, kept_appearance = cached[0]._features(cached[1], frame)
    torch.testing.assert_close(motion, kept)  # frames stand in batches of another size
    torch.testing.assert_close(appearance[0], kept_appearance[0])  # of the clip's first frame, in another batch
    assert motion.std() > 0


def test_features_of_another_base_are_refused(shards, tmp_path):
    torch.manual_seed(1)
    ImplicitMotion(**BASE).save_pretrained(tmp_path / "export")
    with pytest.raises(ConfigError, match=r"stage\.base is .* preprocessing\.features"):
        build(options(tmp_path / "run", shards[1], f"stage.base={tmp_path / 'export'}"), fit)
    assert not (tmp_path / "run").exists()


def test_frames_of_another_size_are_named(shards, base):
    output, some = one_batch(shards[0], base, "video")
    some.video = some.video[..., :16]
    with pytest.raises(ConfigError, match=r"data\.video_size=\[32,32\]"):
        output.training_step(some, 0)


def test_a_base_that_is_no_base_is_refused(tmp_path):
    MotionDiffusion(width=8, layers=1, heads=2).save_pretrained(tmp_path / "export")
    with pytest.raises(ConfigError, match=r"implicit_motion\.base"):
        MotionStage(**nested(MotionStage, **SMALL), base=str(tmp_path / "export"))


def test_the_base_is_frozen_and_stays_in_evaluation_mode(shards, base):
    output, some = one_batch(shards[0], base, "video")
    output.log = lambda *args, **kwargs: None
    output.train()
    assert output.network.training
    assert not any(module.training for module in output.base.modules())
    output.training_step(some, 0).backward()
    assert all(p.grad is None and not p.requires_grad for p in output.base.parameters())


@pytest.fixture(scope="module")
def cached_run(tmp_path_factory, shards) -> Path:
    return build(options(tmp_path_factory.mktemp("cached") / "run", shards[1], "trainer.max_steps=40"), fit)


def test_a_whole_short_run_learns_and_its_export_generates(cached_run, shards):
    rows = read_metrics(cached_run / "metrics.csv")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5]), "0.47 of it is left"
    assert {"train/loss_simple", "train/loss_velocity", "val/loss"} <= {name for row in rows for name in row}
    network = MotionDiffusion.from_pretrained(cached_run / "export")
    index = Index.load(shards[1]).statistics
    assert network.space.base_sha256 == index["implicit"]["network"]
    torch.testing.assert_close(network.space.offset_std, torch.tensor(index["implicit_motion"]["std"]))
    assert generate(network, torch.randn(768), torch.randn(16), torch.randn(40, 35)).shape == (40, 768)


@pytest.fixture(scope="module")
def video_run(tmp_path_factory, shards, base) -> Path:
    words = ("stage.features=video", f"stage.base={base}", "data.video_size=[32,32]", "samples.count=1")
    return build(options(tmp_path_factory.mktemp("video") / "run", shards[0], *words), fit)


def test_features_made_of_frames_are_measured_once_and_stay_out_of_checkpoints(video_run, shards, base):
    network = MotionDiffusion.from_pretrained(video_run / "export")
    assert network.space.base_sha256 == file_hash(base / "model.safetensors")
    measured, index = network.space, Index.load(shards[1]).statistics
    mean, std = (torch.tensor(index["implicit"][name]) for name in ("mean", "std"))
    assert ((measured.motion_mean - mean).abs() < 0.6 * std).all(), "of windows, that hold other frames more often"
    for name, whole in (("motion_std", std), ("offset_std", torch.tensor(index["implicit_motion"]["std"]))):
        ratio = getattr(measured, name) / whole
        assert 0.7 < ratio.median() < 1.1, name
    newest = sorted((video_run / "checkpoints").glob("*.ckpt"))[-1]
    names = torch.load(newest, weights_only=True)["state_dict"]
    assert "network.space.offset_std" in names
    assert not any(name.startswith("base.") for name in names)
    assert list((video_run / "samples").glob("*.mp4"))


def test_a_resumed_run_keeps_what_was_measured(video_run, shards, base, tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.implicit_motion.motion.measure", lambda *_: pytest.fail("measured again"))
    words = ("stage.features=video", f"stage.base={base}", "data.video_size=[32,32]", "trainer.max_steps=6")
    run = build(options(tmp_path / "run", shards[0], *words, f"resume={video_run}"), fit)
    before, after = (MotionDiffusion.from_pretrained(folder / "export").space for folder in (video_run, run))
    assert torch.equal(before.offset_std, after.offset_std)
