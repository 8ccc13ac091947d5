"""`preprocessing.features writer=latents`: VAE latents of every frame in shards."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.clips import read_clips
from datamodules.media.video import read_window
from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from models.implicit_motion import ImplicitMotion
from preprocessing.features import latents
from preprocessing.features.run import Options, main, make_features
from preprocessing.verify import verify
from pretrained.autoencoders import WEIGHTS, load_autoencoder
from settings import ConfigError
from tests.autoencoders import save_autoencoder
from tests.models.test_implicit_motion_base import SMALL
from tests.preprocessing.clips import contents
from tests.shards import write_shards
from trainers.planning.samples import sample_batch

KEYS = ("video.mp4", "audio.flac")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    return save_autoencoder(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Three clips whose height, 30, is no multiple of the autoencoder's 4."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=3, per_shard=1, seconds=[0.8, 1.2], keys=KEYS, video_size=(30, 64))
    return folder


def options(shards: Path, network: Path, output: Path, **more: Any) -> Options:
    given = {"writer": {"name": "latents"}, "workers": 0, "progress": False, **more}
    return Options(input=str(shards), output=str(output), network=str(network), **given)


@pytest.fixture(scope="module")
def made(shards, network, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    make_features(options(shards, network, output))
    return output


def test_latents_are_those_of_the_frames_and_decode_to_the_same_pictures(shards, network, made):
    vae, sha256 = load_autoencoder("network", str(network))
    assert sha256 == hashlib.sha256((network / WEIGHTS).read_bytes()).hexdigest()
    pairs = zip(read_clips(shards, KEYS), read_clips(made, (*KEYS, "latents.npz")), strict=True)
    for (before, old), (after, new) in pairs:
        assert after == before
        assert old["video.mp4"] == new["video.mp4"]
        frames = torch.from_numpy(read_window(old["video.mp4"], 0, before.frames)).permute(0, 3, 1, 2)
        continued = torch.cat([frames, frames[:, :, -1:], frames[:, :, -1:]], 2)
        with torch.no_grad():
            encoded = vae.encode(continued.float() / 127.5 - 1).latent_dist
        mean, log_variance = encoded.mean, encoded.logvar
        found = new["latents.npz"]
        assert found["mean"].shape == found["log_variance"].shape == (before.frames, 4, 8, 16)
        np.testing.assert_allclose(found["mean"], mean, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found["log_variance"], log_variance, rtol=1e-3, atol=1e-3)
        assert bytes(found["network"]).hex() == sha256
        assert found["frame"].tolist() == [30, 64, 0]
        with torch.no_grad():
            stored, direct = (vae.decode(each).sample for each in (torch.from_numpy(found["mean"]).float(), mean))
        assert direct.std() > 0.01, "there is something to compare"
        torch.testing.assert_close(stored, direct, rtol=0, atol=5e-3)
    assert list(verify(made)) == []


def test_a_stopped_run_goes_on_and_keeps_whole_shards(shards, network, made, tmp_path, monkeypatch):
    output, count, real = tmp_path / "out", 0, latents.moments_of

    def tired(*args):
        nonlocal count
        count += 1
        if count == 5:  # 20 frames in parts of 8 are three; in the middle of the second shard
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(latents, "moments_of", tired)
    with pytest.raises(KeyboardInterrupt):
        make_features(options(shards, network, output))
    assert sorted(path.name for path in output.glob("*.tar")) == ["shard-000000.tar"]
    assert not (output / "index.json").exists()
    count = 10
    make_features(options(shards, network, output, workers=1))
    assert count == 17, "30 and 20 frames were left, four parts and three"
    assert contents(output) == contents(made)


def test_frames_come_to_the_size_that_is_asked_for(shards, network, tmp_path, capsys):
    words = [f"input={shards}", f"network={network}", "writer=latents", "workers=0", "progress=false", "batch=30"]
    assert main([*words, f"output={tmp_path / 'out'}", "writer.size=[16,20]", "drop=[video.mp4]"]) == 0
    assert "3 clips with latents.npz" in capsys.readouterr().out
    shapes = {values["latents.npz"]["mean"].shape[1:] for _, values in read_clips(tmp_path / "out", ("latents.npz",))}
    assert shapes == {(4, 4, 5)}
    assert main([*words, f"output={tmp_path / 'out'}", "writer.size=[20,20]", "drop=[video.mp4]"]) == 1
    assert "another size" in capsys.readouterr().err
    assert main([*words, f"output={tmp_path / 'other'}", "writer.size=[15,18]", "video_fit=pad"]) == 0
    found = {tuple(v["latents.npz"]["frame"]): v["latents.npz"]["mean"].shape[1:] for v in _latents(tmp_path / "other")}
    assert found == {(15, 18, 1): (4, 4, 5)}
    with pytest.raises(ConfigError, match=r"latents\.npz"):
        options(shards, network, tmp_path / "other", drop=["latents.npz"])


def _latents(folder: Path) -> list[dict[str, Any]]:
    return [values for _, values in read_clips(folder, ("latents.npz",))]


def test_a_clip_that_breaks_off_in_a_later_part_costs_itself_alone(network, tmp_path):
    def shorten(clip, members):
        # The index and clip.json promise more frames than the video has.
        from datamodules.clip import ClipInfo, encode

        if clip != 0:
            return members
        info = ClipInfo.model_validate_json(dict(members)["clip.json"]).model_copy(update={"frames": 40})
        return [(key, encode(key, info) if key == "clip.json" else data) for key, data in members]

    write_shards(tmp_path / "in", clips=2, per_shard=2, seconds=0.8, keys=KEYS, change=shorten)
    index = Index.load(tmp_path / "in")
    index.shards[0].samples[0].frames = 40
    index.save(tmp_path / "in")
    found = make_features(options(tmp_path / "in", network, tmp_path / "out"))
    assert found["skipped"] == {"clip-00000000-000": "video.mp4: fewer frames than clip.json says"}
    assert (found["clips"], found["frames"]) == (1, 20)


def test_batches_and_plans_have_them(shards, network, made):
    module = ClipDataModule(("latents.npz",), shards=str(made), batch_size=2, window=8, workers=0, drop_last=True)
    clips = {info.id: values["latents.npz"] for info, values in read_clips(made, ("latents.npz",))}
    for batch in module.train_dataloader():
        for row, (window, start) in enumerate(zip(batch.ids, batch.starts.tolist(), strict=True)):
            clip = clips[window.partition("@")[0]]
            for name in ("mean", "log_variance"):
                np.testing.assert_array_equal(batch.arrays["latents"][name][row], clip[name][start : start + 8])
    _, sha256 = load_autoencoder("network", str(network))
    assert module.facts()["latents.network"] == sha256
    planned = sample_batch(("latents.npz",), {"window": 8, "video_size": [256, 128]}, {}, 2)
    assert planned.arrays["latents"]["mean"].shape == (2, 8, 4, 32, 16)


def test_another_writer_goes_on_from_them(made, tmp_path):
    torch.manual_seed(0)
    ImplicitMotion(**SMALL).save_pretrained(tmp_path / "base")
    make_features(options(made, tmp_path / "base", tmp_path / "out", writer={"name": "implicit_motion"}))
    keys = {key for shard in Index.load(tmp_path / "out").shards for sample in shard.samples for key in sample.keys}
    assert keys == {"clip.json", "video.mp4", "audio.flac", "latents.npz", "implicit.npz"}
    assert list(verify(tmp_path / "out")) == []
