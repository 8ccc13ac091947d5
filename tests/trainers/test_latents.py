"""Latents of a stage: cached in shards or encoded of frames, the same for the same random numbers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules.batch import Batch
from datamodules.reader import ClipDataModule
from models.video.latents import encode
from preprocessing.features.run import Options, make_features
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.shards import write_shards
from trainers.planning.samples import sample_batch
from trainers.stage.agreement import agree
from trainers.stage.base import SampleGenerator
from trainers.stage.latents import Latents

KEYS = ("video.mp4", "audio.flac", "pose.npz")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=2, seconds=0.6, keys=KEYS, video_size=(30, 64))
    return folder


def cached(shards: Path, vae: Path, folder: Path, **writer: Any) -> Path:
    make_features(
        Options(
            input=str(shards), output=str(folder), network=str(vae), writer={"name": "latents", **writer}, workers=0,
            progress=False,
        )
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def latents(shards, vae, tmp_path_factory) -> Path:
    return cached(shards, vae, tmp_path_factory.mktemp("latents") / "out")


def batch_of(shards: Path, keys: tuple[str, ...] = ("latents.npz",), **options: Any) -> Batch:
    module = ClipDataModule(keys, shards=str(shards), batch_size=2, window=6, workers=0, **options)
    return next(iter(module.train_dataloader()))


class Fixed:
    """A generator that gives the same numbers every time."""

    def normal(self, *shape: int) -> Tensor:
        return SampleGenerator(["a", "b"]).normal(*shape)


def test_cached_and_encoded_latents_are_the_same_for_the_same_noise(latents, vae):
    of = Latents("stage.autoencoder", str(vae))
    one, other = batch_of(latents), batch_of(latents, latents="encode")
    assert one.ids == other.ids
    assert one.video is None
    assert other.video is not None
    drawn, encoded = of.of(one, Fixed()), of.of(other, Fixed())
    assert drawn.shape == (2, 6, 4, 8, 16)
    assert drawn.dtype == encoded.dtype == torch.float32
    torch.testing.assert_close(drawn, encoded, rtol=2e-3, atol=2e-3)
    mean, log_variance = encode(of.network, other.video)
    noise = Fixed().normal(*mean.shape[1:])
    torch.testing.assert_close(encoded, (mean + (log_variance / 2).exp() * noise) * of.scale)
    torch.testing.assert_close(of.mean(one), mean * of.scale, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(of.of_pictures(other.video[:, 0]), mean[:, 0] * of.scale)
    assert of.size(one) == of.size(other) == (30, 64)
    shown = of.decode(of.mean(one), of.size(one))
    assert shown.shape == other.video.shape
    assert not next(iter(of.parameters())).requires_grad


def test_latents_of_another_autoencoder_are_refused_in_a_run_and_before(latents, tmp_path):
    stranger = Latents("stage.autoencoder", str(save_autoencoder(tmp_path, seed=1)))
    with pytest.raises(ConfigError, match=r"stage\.autoencoder=.* but latents\.npz .* was made by [0-9a-f]{16}"):
        stranger.of(batch_of(latents), Fixed())
    module = ClipDataModule(("latents.npz",), shards=str(latents), workers=0)
    stage = SimpleNamespace(needs=("latents.npz",), expects=stranger.expects)
    with pytest.raises(ConfigError, match=r"latents\.npz of data\.shards was made by"):
        agree(stage, module.facts())  # type: ignore[arg-type]
    agree(stage, ClipDataModule(("latents.npz",), shards=str(latents), latents="encode").facts())  # type: ignore[arg-type]


def test_where_frames_are_encoded_shards_need_no_latents(shards, vae):
    stage = SimpleNamespace(needs=("latents.npz",), expects=Latents("stage.autoencoder", str(vae)).expects)
    agree(stage, ClipDataModule(("latents.npz",), shards=str(shards), latents="encode").facts())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"reads latents\.npz, .*writer=latents.*data\.latents=encode"):
        agree(stage, ClipDataModule(("latents.npz",), shards=str(shards)).facts())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.latents"):
        ClipDataModule(("latents.npz",), shards=str(shards), latents="none")  # type: ignore[arg-type]


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_poses_are_those_of_the_frames_that_were_encoded(shards, vae, tmp_path, fit):
    keys = ("latents.npz", "pose.npz")
    folder = tmp_path / "latents"
    make_features(
        Options(
            input=str(shards), output=str(folder), network=str(vae), writer={"name": "latents", "size": [24, 24]},
            workers=0, progress=False, video_fit=fit,
        )
    )  # fmt: skip
    one = batch_of(folder, keys)
    other = batch_of(folder, keys, latents="encode", video_size=(24, 24), video_fit=fit)
    plain = batch_of(folder, ("pose.npz",))
    assert not torch.equal(one.pose, plain.pose)
    torch.testing.assert_close(one.pose, other.pose)
    assert Latents("stage.autoencoder", str(vae)).size(one) == (24, 24)


def test_plans_have_their_sizes():
    data, stage = {"window": 8, "video_size": [64, 62]}, {"network": {"latent_channels": 6, "downscaling": 4}}
    planned = sample_batch(("latents.npz",), data, stage, 2)
    assert planned.arrays["latents"]["mean"].shape == (2, 8, 6, 16, 16)
    planned = sample_batch(("latents.npz",), {**data, "latents": "encode"}, stage, 2)
    assert planned.video.shape == (2, 8, 3, 64, 62)
    with torch.device("meta"):
        of = Latents("stage.autoencoder", "stabilityai/sd-vae-ft-mse")
        assert sum(p.numel() for p in of.parameters()) == 83_653_863
        assert of.of(planned, SimpleNamespace(normal=lambda *shape: torch.randn(2, *shape))).shape == (2, 8, 4, 8, 8)
        assert of.decode(torch.zeros(1, 4, 8, 8)).shape == (1, 3, 64, 64)
