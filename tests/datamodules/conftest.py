import pytest

from tests.shards import write_shards


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is written to the user's own cache."""
    monkeypatch.setenv("COSPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """40 clips of 4, 6 and 9 seconds in 6 uneven shards, every fifth for validation."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(
        folder,
        clips=40,
        per_shard=7,
        seconds=[4.0, 6.0, 9.0],
        splits=["train"] * 4 + ["val"],
        keys=("pose.npz", "speech.npz", "audio.flac", "face.npz"),
        layers=8,
        info=lambda clip: {"licence": ["CC0", "CC-BY", "all rights"][clip % 3], "extra": {"loudness": -clip}},
    )
    return str(folder)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory):
    """Six clips with video of 48 x 64 pixels."""
    folder = tmp_path_factory.mktemp("filmed")
    write_shards(folder, clips=6, per_shard=3, keys=("video.mp4", "pose.npz", "audio.flac"))
    return str(folder)
