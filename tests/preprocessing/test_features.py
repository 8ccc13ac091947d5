"""`preprocessing.features`: shards with the base network's features in them."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.clip import decode
from datamodules.clips import read_clips
from datamodules.media.fitting import Fit
from datamodules.media.video import read_window
from datamodules.shards.index import Index
from datamodules.statistics import Moments
from models.implicit_motion import ImplicitMotion
from preprocessing.features import implicit_motion
from preprocessing.features.run import Options, main, make_features
from preprocessing.features.work import FeatureWork
from preprocessing.verify import verify
from settings import ConfigError
from tests.models.test_implicit_motion_base import SMALL
from tests.preprocessing.clips import contents
from tests.shards import write_shards

KEYS = ("video.mp4", "speech.npz", "audio.flac")
KEY = "implicit.npz"


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "run" / "export"
    torch.manual_seed(0)
    ImplicitMotion(**SMALL).save_pretrained(folder)
    return folder.parent


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, clips=5, per_shard=2, seconds=[1.0, 1.4], keys=KEYS, splits=("train", "train", "val"))
    return folder


def options(shards: Path, network: Path, output: Path, **more) -> Options:
    return Options(
        input=str(shards), output=str(output), network=str(network), progress=False, **{"workers": 0, **more}
    )


@pytest.fixture(scope="module")
def made(shards, network, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "out"
    make_features(options(shards, network, output))
    return output


@pytest.mark.paper("IM-4")
def test_every_clip_gets_what_the_base_network_says_of_its_frames(shards, network, made):
    base = ImplicitMotion.from_pretrained(network / "export").eval()
    pairs = zip(read_clips(shards, KEYS), read_clips(made, (*KEYS, KEY)), strict=True)
    for (before, old), (after, new) in pairs:
        assert after == before
        assert old["video.mp4"] == new["video.mp4"]
        np.testing.assert_array_equal(old["audio.flac"], new["audio.flac"])
        middle = Fit.of(before.height, before.width, (32, 32), "crop")
        frames = read_window(old["video.mp4"], 0, before.frames, middle)
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            motion, appearance = base.encode_motion(pictures), base.encode_appearance(pictures[:1])
        found = new[KEY]
        assert found["motion"].shape == (before.frames, 768)
        np.testing.assert_allclose(found["motion"], motion, atol=1e-4)
        np.testing.assert_allclose(found["appearance"], appearance[0], atol=1e-4)
        weights = (network / "export" / "model.safetensors").read_bytes()
        assert bytes(found["network"]) == hashlib.sha256(weights).digest()


def test_it_says_how_far_it_is_and_how_long_still(shards, network, tmp_path, slow_clock, capsys):
    make_features(replace(options(shards, network, tmp_path / "out"), progress=True))
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"frames read by the network  25/\d+  ETA [\d:]+", said[1]), said
    assert len(said) == 1 + 5 + 1, "nothing read yet, five clips, the end"


def test_what_is_written_is_whole(made):
    assert list(verify(made)) == []
    assert not (made / "work").exists()


def test_statistics_are_those_of_the_training_clips(shards, made):
    clips = [clip[KEY]["motion"] for info, clip in read_clips(made, (KEY,)) if info.split == "train"]
    assert len(clips) == 4
    statistics = Index.load(made).statistics
    rows = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(statistics["implicit"]["mean"], rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(statistics["implicit"]["std"], np.maximum(rows.std(0), 1e-4), rtol=1e-5)
    moved = np.concatenate([clip - clip.mean(0) for clip in clips]).astype(np.float64)
    np.testing.assert_allclose(statistics["implicit_motion"]["std"], np.maximum(moved.std(0), 1e-4), rtol=1e-4)
    assert statistics["handcrafted"] == Index.load(shards).statistics["handcrafted"]


def test_videos_can_be_left_out(shards, network, tmp_path):
    make_features(options(shards, network, tmp_path / "out", drop=["video.mp4"]))
    index = Index.load(tmp_path / "out")
    for shard in index.shards:
        for sample in shard.samples:
            assert set(sample.keys) == {"clip.json", "audio.flac", "speech.npz", "implicit.npz"}
    assert list(verify(tmp_path / "out")) == []


@pytest.mark.parametrize("key", ["clip.json", "audio.flac", "implicit.npz", "videos.mp4"])
def test_what_cannot_be_left_out_is_named(shards, network, tmp_path, key):
    with pytest.raises(ConfigError, match=key):
        options(shards, network, tmp_path / "out", drop=[key])


def test_workers_and_another_start_change_nothing(shards, network, made, tmp_path):
    make_features(options(shards, network, tmp_path / "out", workers=2))
    assert contents(tmp_path / "out") == contents(made)


def test_a_stopped_run_goes_on_and_keeps_whole_shards(shards, network, made, tmp_path, monkeypatch):
    output, count = tmp_path / "out", 0
    real = implicit_motion.motion_of

    def tired(*args):
        nonlocal count
        count += 1
        if count == 4:  # in the middle of the second shard
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(implicit_motion, "motion_of", tired)
    with pytest.raises(KeyboardInterrupt):
        make_features(options(shards, network, output))
    assert sorted(path.name for path in output.glob("*.tar")) == ["shard-000000.tar"]
    assert not list(output.glob(".*"))
    assert not (output / "index.json").exists()
    count = 10
    make_features(options(shards, network, output))
    assert count == 13, "three clips of two shards were left"
    assert contents(output) == contents(made)
    count = 20
    make_features(options(shards, network, output))
    assert count == 20, "there was nothing to do"


def test_a_shard_that_has_gone_is_made_again(shards, network, made, tmp_path, monkeypatch):
    output = tmp_path / "out"
    monkeypatch.setattr(FeatureWork, "finish", lambda self: {})
    make_features(options(shards, network, output))
    (output / "shard-000001.tar").write_bytes(b"half")
    monkeypatch.undo()
    make_features(options(shards, network, output))
    assert contents(output) == contents(made)


def test_a_run_that_an_earlier_version_began_is_finished(shards, network, made, tmp_path, monkeypatch):
    """Its records hold the statistics under other names."""
    output = tmp_path / "out"
    monkeypatch.setattr(FeatureWork, "finish", lambda self: {})
    make_features(options(shards, network, output))
    for path in (output / "work").glob("*.json"):
        record = json.loads(path.read_text())
        statistics = record.pop("statistics")
        empty = Moments((768,)).state()
        for name, before in (("implicit", "features"), ("implicit_motion", "moves")):
            record[before] = statistics.get(name, empty)
        path.write_text(json.dumps(record))
    monkeypatch.undo()
    make_features(options(shards, network, output))
    assert contents(output) == contents(made)


def test_a_bad_clip_costs_itself_and_is_named(network, tmp_path, capsys):
    def damage(clip, members):
        return [(key, b"\0\0\0\x18ftypisom" + bytes(100) if (clip, key) == (1, "video.mp4") else data)
                for key, data in members]  # fmt: skip

    write_shards(tmp_path / "in", clips=3, per_shard=2, seconds=1.0, keys=KEYS, change=damage)
    words = [f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", f"network={network}", "workers=0"]
    assert main([*words, "progress=false"]) == 0
    said = capsys.readouterr().out
    assert "2 clips" in said
    assert "clip-00000001-000: video.mp4" in said
    assert [s.id for shard in Index.load(tmp_path / "out").shards for s in shard.samples] == [
        "clip-00000000-000", "clip-00000002-000"
    ]  # fmt: skip
    assert list(verify(tmp_path / "out")) == []


def test_a_shard_without_a_good_clip_is_left_out(network, tmp_path):
    write_shards(tmp_path / "in", clips=2, per_shard=1, seconds=1.0, keys=("audio.flac", "speech.npz"))
    found = make_features(options(tmp_path / "in", network, tmp_path / "out"))
    assert found["clips"] == 0
    assert found["skipped"] == {f"clip-0000000{i}-000": "video.mp4 is missing" for i in range(2)}
    assert Index.load(tmp_path / "out").shards == []
    assert list(verify(tmp_path / "out")) == []


def test_another_network_or_input_is_refused_until_restart(shards, network, made, tmp_path, capsys):
    output = shutil.copytree(made, tmp_path / "out")
    torch.manual_seed(1)
    ImplicitMotion(**SMALL).save_pretrained(tmp_path / "other")
    words = [f"input={shards}", f"output={output}", f"network={tmp_path / 'other'}", "workers=0", "progress=false"]
    assert main(words) == 1
    assert "another network" in capsys.readouterr().err
    assert contents(output) == contents(made)
    assert main([*words, "restart=true"]) == 0
    assert contents(output).keys() == contents(made).keys()
    assert contents(output) != contents(made)


def test_folders_of_others_are_left_alone(shards, network, tmp_path, capsys):
    output = shutil.copytree(shards, tmp_path / "out")
    words = [f"input={shards}", f"output={output}", f"network={network}", "workers=0", "progress=false"]
    assert main([*words, "restart=true"]) == 1
    assert "unknown run" in capsys.readouterr().err
    assert contents(output) == contents(shards)
    assert main([*words[:1], f"output={shards}", *words[2:]]) == 2
    assert "'output'" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["nowhere", "empty", "text"])
def test_what_is_no_base_network_is_named(shards, tmp_path, capsys, where):
    folder = tmp_path / where
    if where != "nowhere":
        folder.mkdir()
    if where == "text":
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text("no weights")
    words = [f"input={shards}", f"output={tmp_path / 'out'}", f"network={folder}"]
    assert main(words) == 2
    assert f"network={folder}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_features_keep_the_schema(made):
    index = Index.load(made)
    shard = index.shards[0]
    data = (made / shard.name).read_bytes()[shard.samples[0].offset :]
    from preprocessing.runs.writer import read_members

    members = dict(read_members(data[: shard.samples[0].size]))
    names = [name.partition(".")[2] for name in members]
    assert names == ["clip.json", "video.mp4", "audio.flac", "speech.npz", "implicit.npz"]
    assert decode("implicit.npz", list(members.values())[-1])["motion"].dtype == np.float32
