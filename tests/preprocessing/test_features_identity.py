"""`preprocessing.features` of faces: who they are (writer=identity), and what they show (writer=expression)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.clips import read_clips
from datamodules.media.video import read_window
from datamodules.reader import ClipDataModule
from models.human.aligned_face import arcface_crops, five_points
from models.human.expressions import EXPRESSIONS
from preprocessing.features.run import Options, make_features
from preprocessing.verify import verify
from pretrained.expressions import load_expression_classifier
from pretrained.faces import COLOURS, embeddings, load_face_network
from tests import shards
from tests.image_models import saved_classifier


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def seen(monkeypatch):
    """Shards in every other clip of which all of a face is seen."""
    make, made = shards.make_clip, []

    def make_clip(*given, **options):
        values = make(*given, **options)
        pose = values["pose.npz"]
        if len(made) % 2 == 0:
            pose["keypoints"][pose["scores"] == 0] = 0.5
            pose["scores"][:] = 1
        made.append(values)
        return values

    monkeypatch.setattr(shards, "make_clip", make_clip)


@pytest.mark.paper("VA-13")
def test_every_frame_has_its_embedding_and_batches_have_them(tmp_path: Path, seen):
    shards.write_shards(
        tmp_path / "in", clips=2, seconds=[0.8, 1.2], keys=("video.mp4", "pose.npz"), video_size=(48, 64)
    )
    options = Options(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), network=COLOURS, workers=0, progress=False,
        writer={"name": "identity"}, batch=7,
    )  # fmt: skip
    assert make_features(options)["clips"] == 2
    network, found = load_face_network("network", COLOURS), []
    for info, values in read_clips(tmp_path / "out", ("video.mp4", "pose.npz", "identity.npz")):
        frames, pose = read_window(values["video.mp4"], 0, info.frames), values["pose.npz"]
        points = np.concatenate([pose["keypoints"], pose["scores"][..., None]], -1)
        expected = embeddings(network, frames, points)
        found.append(expected.any())
        np.testing.assert_allclose(values["identity.npz"]["embedding"], expected, rtol=2e-3, atol=2e-3)
        assert bytes(values["identity.npz"]["network"]).hex() == network.sha256
    assert found == [True, False], "where a point is not seen there is no face"
    assert list(verify(tmp_path / "out")) == []
    module = ClipDataModule(("identity.npz",), shards=str(tmp_path / "out"), batch_size=1, window=6, workers=0)
    assert module.facts()["identity_channels"] == 512
    assert module.facts()["identity.network"] == network.sha256
    assert next(iter(module.train_dataloader())).arrays["identity"]["embedding"].shape == (1, 6, 512)


@pytest.mark.paper("VA-14")
def test_every_face_has_its_likeliest_expression_and_batches_have_them(tmp_path: Path, seen):
    shards.write_shards(
        tmp_path / "in", clips=2, seconds=[0.8, 1.2], keys=("video.mp4", "pose.npz"), video_size=(48, 64)
    )
    where = saved_classifier(tmp_path / "classifier", ("sadness", "happy", "anger"))
    options = Options(
        input=str(tmp_path / "in"), output=str(tmp_path / "out"), network=str(where), workers=0, progress=False,
        writer={"name": "expression"}, batch=7,
    )  # fmt: skip
    assert make_features(options)["clips"] == 2
    classifier, sha256 = load_expression_classifier("network", str(where))
    for info, values in read_clips(tmp_path / "out", ("video.mp4", "pose.npz", "expression.npz")):
        frames, pose, found = (
            read_window(values["video.mp4"], 0, info.frames),
            values["pose.npz"],
            values["expression.npz"],
        )
        assert bytes(found["network"]).hex() == sha256
        points = five_points(np.concatenate([pose["keypoints"], pose["scores"][..., None]], -1))
        if np.isnan(points).any():
            assert set(found["labels"].tolist()) == {-1}
            assert not found["scores"].any()
            continue
        with torch.no_grad():
            likely = classifier(torch.from_numpy(arcface_crops(frames, points)).permute(0, 3, 1, 2))
        assert found["labels"].tolist() == likely.argmax(1).tolist()
        assert {EXPRESSIONS[label] for label in found["labels"]} <= {"sad", "happy", "angry"}
        np.testing.assert_allclose(found["scores"], likely.max(1).values, rtol=1e-3)
    assert list(verify(tmp_path / "out")) == []
    module = ClipDataModule(("expression.npz",), shards=str(tmp_path / "out"), batch_size=1, window=6, workers=0)
    labels = next(iter(module.train_dataloader())).arrays["expression"]["labels"]
    assert (labels.shape, labels.dtype) == ((1, 6), torch.int16)
