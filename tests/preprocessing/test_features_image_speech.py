"""`preprocessing.features writer=image` and `writer=speech`: embeddings of frames, layers of a speech network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.clips import read_clips
from datamodules.media.fitting import Fit
from datamodules.media.video import read_window
from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from preprocessing.features.run import Options, make_features
from preprocessing.speech.pretrained import PretrainedSpeech
from preprocessing.verify import verify
from pretrained.images import load_image_encoder
from settings import ConfigError
from tests.image_models import CHANNELS, saved_image_encoder
from tests.shards import write_shards
from tests.speech_models import saved_speech_model

KEYS = ("video.mp4", "audio.flac", "speech.npz")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=2, seconds=[0.8, 1.2], keys=KEYS, video_size=(32, 48))
    return folder


def make(shards: Path, network: Path, output: Path, **more: Any) -> dict[str, Any]:
    given = {"workers": 0, "progress": False, **more}
    return make_features(Options(input=str(shards), output=str(output), network=str(network), **given))


def test_every_frame_has_its_embedding_and_batches_have_them(shards, tmp_path):
    network = saved_image_encoder(tmp_path / "clip")
    assert make(shards, network, tmp_path / "out", writer={"name": "image"}, batch=7)["clips"] == 2
    encoder, sha256 = load_image_encoder("network", str(network))
    found = {}
    for info, values in read_clips(tmp_path / "out", ("video.mp4", "image.npz")):
        frames = torch.from_numpy(read_window(values["video.mp4"], 0, info.frames)).permute(0, 3, 1, 2)
        found[info.id] = values["image.npz"]["tokens"]
        with torch.no_grad():
            np.testing.assert_allclose(found[info.id], encoder(frames), rtol=2e-3, atol=2e-3)
        assert found[info.id].std(0).max() > 0.01, "frames differ"
        assert bytes(values["image.npz"]["network"]).hex() == sha256
    assert list(verify(tmp_path / "out")) == []
    module = ClipDataModule(("image.npz",), shards=str(tmp_path / "out"), batch_size=1, window=6, workers=0)
    assert module.facts()["image_channels"] == CHANNELS
    assert module.facts()["image.network"] == sha256
    one = next(iter(module.train_dataloader()))
    start = int(one.starts[0])
    clip = found[one.ids[0].partition("@")[0]]
    np.testing.assert_array_equal(one.arrays["image"]["tokens"][0], clip[start : start + 6])
    make(shards, network, tmp_path / "square", writer={"name": "image", "size": [16, 16]})
    for info, values in read_clips(tmp_path / "square", ("video.mp4", "image.npz")):
        fit = Fit.of(32, 48, (16, 16), "crop")
        frames = torch.from_numpy(read_window(values["video.mp4"], 0, info.frames, fit)).permute(0, 3, 1, 2)
        with torch.no_grad():
            np.testing.assert_allclose(values["image.npz"]["tokens"], encoder(frames), rtol=2e-3, atol=2e-3)


def test_layers_come_to_the_speech_that_is_there(shards, tmp_path):
    saved_speech_model(tmp_path / "wav2vec2", "Wav2Vec2")
    model, out = tmp_path / "wav2vec2", tmp_path / "out"
    make(shards, model, out, writer={"name": "speech"}, drop=["video.mp4"])
    own = PretrainedSpeech(str(model), device="cpu")
    for (info, before), (_, after) in zip(
        read_clips(shards, ("audio.flac", "speech.npz")), read_clips(out, ("audio.flac", "speech.npz")), strict=True
    ):
        found, steps = after["speech.npz"], round(info.frames / info.fps * 50)
        np.testing.assert_array_equal(found["handcrafted"], before["speech.npz"]["handcrafted"])
        assert found["layers"].shape == (3, steps, 16)
        np.testing.assert_array_equal(found["layers"], own.features(after["audio.flac"], steps))
        assert found["layer_ids"].tolist() == [0, 1, 2]
        assert bytes(found["network"]).hex() == own.sha256
    assert list(verify(out)) == []
    for name, values in Index.load(shards).statistics["handcrafted"].items():
        assert Index.load(out).statistics["handcrafted"][name] == pytest.approx(values, abs=1e-6)
    module = ClipDataModule(("speech.npz",), shards=str(out), batch_size=1, window=6, workers=0, speech_layers=[2, 0])
    assert module.facts()["layer_channels"] == 16
    assert next(iter(module.train_dataloader())).speech_layers.shape == (1, 2, 12, 16)
    make(out, model, tmp_path / "last", writer={"name": "speech", "layers": [-1]})
    for (_, before), (_, after) in zip(
        read_clips(out, ("speech.npz",)), read_clips(tmp_path / "last", ("speech.npz",)), strict=True
    ):
        assert after["speech.npz"]["layer_ids"].tolist() == [2]
        np.testing.assert_array_equal(after["speech.npz"]["layers"][0], before["speech.npz"]["layers"][2])
    with pytest.raises(ConfigError, match="no such folder"):
        make(shards, tmp_path / "nowhere", tmp_path / "never", writer={"name": "speech"})


def test_a_clip_without_speech_features_gets_both(tmp_path):
    write_shards(tmp_path / "in", clips=1, seconds=0.8, keys=("audio.flac",))
    saved_speech_model(tmp_path / "hubert", "Hubert")
    make(tmp_path / "in", tmp_path / "hubert", tmp_path / "out", writer={"name": "speech", "layers": [1]})
    ((_, values),) = read_clips(tmp_path / "out", ("speech.npz",))
    assert values["speech.npz"]["handcrafted"].shape == (20, 35)
    assert values["speech.npz"]["layers"].shape == (1, 40, 16)
