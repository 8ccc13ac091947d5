"""A new clip key is one entry in the table of keys and one writer: nothing else knows of it."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from datamodules.clip import ClipInfo
from datamodules.clips import read_clips
from datamodules.keys import KEYS, Array, Key, Statistic
from datamodules.reader import ClipDataModule
from datamodules.shards.index import Index
from preprocessing.features.run import Options, make_features
from preprocessing.features.writer import WRITERS, Frames, Loaded
from preprocessing.verify import verify
from settings import ConfigError
from tests.shards import write_shards
from trainers.planning.samples import sample_batch
from trainers.stage.agreement import agree, made_by

SHA256 = "5a" * 32
LOUDNESS = Key(
    "loudness.npz",
    {
        "level": Array(
            ("T", "C"), "float32", "loudest sample and mean square of a frame's sound", 0, usual={"C": 2},
            channels="loudness_channels", padding=-1.0,
        ),
        "network": Array((32,), "uint8", "SHA-256 of the network"),
    },
    "make shards with it by loudness",
    statistics=(Statistic("loudness", "level", (2,)),),
)  # fmt: skip


class LoudnessWriter:
    """Loudness of each frame.

    Args:
        gain: what sound is multiplied by.
    """

    key: ClassVar[str] = "loudness.npz"
    reads: ClassVar[tuple[str, ...]] = ("audio.flac",)
    batch: ClassVar[int] = 1

    def __init__(self, *, gain: float = 1.0) -> None:
        self.gain = gain

    def load(self, network: str, video_fit: Any) -> Loaded:
        return Loaded(torch.nn.Identity(), SHA256, Frames(), self.make, {"gain": self.gain})

    def make(self, info: ClipInfo, values: Mapping[str, Any], frames: Iterable[torch.Tensor]) -> dict[str, Any]:
        assert not list(frames), "no video was asked for"
        sound = self.gain * values["audio.flac"].reshape(info.frames, -1)
        return {"level": np.stack([abs(sound).max(1), (sound**2).mean(1)], -1)}


class Stage:
    needs = ("loudness.npz",)

    def __init__(self, sha256: str = SHA256) -> None:
        self.sha256 = sha256

    def expects(self):
        return [made_by("loudness.npz", self.sha256, "stage.meter")]


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(KEYS, "loudness.npz", LOUDNESS)
    monkeypatch.setitem(WRITERS._parts, "loudness", LoudnessWriter)
    write_shards(tmp_path / "in", clips=3, per_shard=2, seconds=[2.0, 3.0], keys=("audio.flac", "pose.npz"))
    writer = {"name": "loudness", "gain": 2.0}
    result = make_features(
        Options(input=str(tmp_path / "in"), output=str(tmp_path / "out"), network="none", writer=writer, workers=0,
                progress=False)
    )  # fmt: skip
    assert result["clips"] == 3
    return tmp_path / "out"


def test_it_is_written_checked_and_counted(shards):
    assert list(verify(shards)) == []
    clips = [values for _, values in read_clips(shards, ("loudness.npz", "audio.flac"))]
    levels = [values["loudness.npz"]["level"] for values in clips]
    assert [level.shape for level in levels] == [(50, 2), (75, 2), (50, 2)]
    assert levels[0][:, 0].max() == pytest.approx(2 * abs(clips[0]["audio.flac"]).max())
    statistics = Index.load(shards).statistics
    np.testing.assert_allclose(statistics["loudness"]["mean"], np.concatenate(levels).mean(0), rtol=1e-5)
    assert statistics["loudness"]["network"] == SHA256
    assert np.asarray(statistics["pose"]["std"]).shape == (134, 2), "those of the input stay"


@pytest.mark.parametrize("workers", [0, 1])
def test_it_is_cut_into_windows_and_batches(shards, workers):
    clips = {info.id: values["loudness.npz"]["level"] for info, values in read_clips(shards, ("loudness.npz",))}
    module = ClipDataModule(
        ("loudness.npz", "whole/loudness.npz"), shards=str(shards), batch_size=3, window=20, workers=workers
    )
    batch = next(iter(module.train_dataloader()))
    level, whole = batch.arrays["loudness"]["level"], batch.whole["loudness.level"]
    assert level.shape == (3, 20, 2)
    for row, (window, start) in enumerate(zip(batch.ids, batch.starts.tolist(), strict=True)):
        clip = clips[window.partition("@")[0]]
        np.testing.assert_array_equal(level[row], clip[start : start + 20])
        np.testing.assert_array_equal(whole[row, : len(clip)], clip)
        assert (whole[row, len(clip) :] == -1).all(), "padded as the table says"
    assert batch.arrays["loudness"]["network"].shape == (3, 32)
    assert batch.to("cpu").arrays["loudness"]["level"].equal(level)


def test_it_is_planned_and_compared(shards, tmp_path):
    facts = ClipDataModule(("loudness.npz",), shards=str(shards)).facts()
    assert (facts["loudness_channels"], facts["loudness.network"]) == (2, SHA256)
    agree(Stage(), facts)
    said = rf"stage\.meter is .* hash {'0' * 16}, but loudness\.npz of data\.shards was made by {SHA256[:16]}"
    with pytest.raises(ConfigError, match=said):
        agree(Stage("00" * 32), facts)
    lacking = ClipDataModule(("loudness.npz",), shards=str(tmp_path / "in")).facts()
    with pytest.raises(ConfigError, match=r"reads loudness\.npz, .*make shards with it by loudness"):
        agree(Stage(), lacking)
    network = {"network": {"loudness_channels": 5}}
    planned = sample_batch(("loudness.npz", "whole/loudness.npz"), {"window": 20}, network, 4)
    assert planned.arrays["loudness"]["level"].shape == (4, 20, 5)
    assert planned.whole["loudness.level"].shape == (4, 750, 5)
    assert sample_batch(Stage.needs, {"window": 20}, {}, 4).arrays["loudness"]["level"].shape == (4, 20, 2)


def test_an_array_of_a_size_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="say in `usual` what Q mostly is"):
        Array(("T", "Q"), "float32", "of an odd size")
