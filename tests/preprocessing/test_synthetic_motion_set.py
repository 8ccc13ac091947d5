"""The set of text and motion as shards: whole, the same for the same options, left alone where it is another's."""

import json
import runpy
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.clips import read_clips
from datamodules.shards.index import Index
from metrics.actions import recognise, strokes
from preprocessing.synthetic.phonemes import Phoneme
from preprocessing.synthetic.rule import beats
from preprocessing.synthetic_motion.actions import held_out
from preprocessing.synthetic_motion.sets import generate
from preprocessing.verify import verify
from settings import ConfigError
from tests.preprocessing.test_synthetic_motion import FIELDS, FPS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("set") / "set"
    generate(path, clips=24, talking=0.5, test=0.3, clips_per_shard=10)
    return path


def test_shards_are_whole_and_hold_what_the_index_says(folder):
    assert list(verify(folder)) == []
    index = Index.load(folder)
    assert index.samples == 24
    assert len(index.shards) == 3
    assert index.fps == FPS
    body = index.statistics["body_motion"]
    assert len(body["mean"]) == len(body["std"]) == 263
    assert min(body["std"]) > 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["clips"] == 24
    assert sum(summary["splits"].values()) == sum(summary["kinds"].values()) == 24
    assert {tuple(one) for one in summary["held_out"]} == held_out(0)


@pytest.mark.paper("VA-8")
def test_talking_clips_strike_on_the_stress_of_their_sound(folder):
    """Truth, sound and hands tell the same times, and those of another clip do not."""
    found, truths, kinds = [], [], Counter()
    for info, values in read_clips(
        folder, ("motion.npz", "audio.flac", "speech.npz"), {"extra.truth.kind": ["talk", "talk_action"]}
    ):
        truth = info.extra["truth"]
        kinds[truth["kind"]] += 1
        times = np.array(truth["strokes"])
        assert len(values["audio.flac"]) == info.samples == round(info.frames / FPS * 16_000)
        assert values["speech.npz"]["handcrafted"].shape == (info.frames, 35)
        assert np.allclose(times, beats([Phoneme(**sound) for sound in info.extra["phonemes"]]), atol=1e-4)
        assert any(text.text == "A person is giving a speech." and text.start == 0 for text in info.captions)
        if truth["kind"] == "talk":
            assert recognise(values["motion.npz"]["motion"]).action == "gesture"
            found.append(strokes(values["motion.npz"]["motion"]))
            truths.append(times)
        else:
            assert info.split == "test"
            action = truth["actions"][0]
            span = slice(int(action["start"] * FPS) - 2, int(action["end"] * FPS) + 3)
            done = recognise(values["motion.npz"]["motion"][span])
            assert done.agrees(action, *FIELDS[action["name"]])
    assert kinds["talk"] >= 5
    assert kinds["talk_action"] >= 1

    def hits(others: list[np.ndarray]) -> float:
        near = [np.abs(output[None] - true[:, None]).min(1) < 0.1 for output, true in zip(found, others, strict=True)]
        return float(np.concatenate(near).mean())

    assert hits(truths) > 0.9
    assert hits(truths[1:] + truths[:1]) < 0.5


@pytest.mark.slow
def test_the_same_options_give_the_same_bytes_and_a_finished_set_is_kept(folder, tmp_path):
    options = {"clips": 12, "talking": 0.0, "clips_per_shard": 8}
    generate(tmp_path / "one", **options)
    generate(tmp_path / "two", **options, workers=2)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    index = tmp_path / "one" / "index.json"
    before = index.stat().st_mtime_ns
    assert generate(tmp_path / "one", **options)["clips"] == 12
    assert index.stat().st_mtime_ns == before
    lost = tmp_path / "one" / "shard-000001.tar"
    whole = lost.read_bytes()
    lost.unlink()
    generate(tmp_path / "one", **options)
    assert lost.read_bytes() == whole
    with pytest.raises(ConfigError, match="seed"):
        generate(tmp_path / "one", **options, seed=1)
    old = (tmp_path / "one" / "shard-000000.tar").read_bytes()
    generate(tmp_path / "one", **options, seed=1, restart=True)
    assert (tmp_path / "one" / "shard-000000.tar").read_bytes() != old
    assert list(verify(tmp_path / "one")) == []


def test_shards_of_something_else_are_left_alone(tmp_path):
    (tmp_path / "other.tar").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="something else"):
        generate(tmp_path, clips=2, talking=0.0, restart=True)
    assert [path.name for path in tmp_path.iterdir()] == ["other.tar"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"clips": 0}, "clips"), ({"talking": 1.5}, "talking"), ({"val": 0.5, "test": 0.5}, "train"),
        ({"workers": 0}, "workers"), ({"captions": 0}, "captions"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_named_before_anything_is_written(options, word, tmp_path):
    with pytest.raises(ConfigError, match=word):
        generate(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path, monkeypatch, slow_clock, capsys):
    def start(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["synthetic_motion", f"output={tmp_path / 'set'}", *words])
        runpy.run_module("preprocessing.synthetic_motion", run_name="__main__")

    start("clips=3", "talking=0")
    said = capsys.readouterr()
    assert "3 clips" in said.out
    assert "clips made  2/3  ETA " in said.err
    for words, named in ((("clips=3", "talkin=0"), "talking"), (("clips=3", "talking=2"), "talking")):
        with pytest.raises(SystemExit) as ended:
            start(*words)
        assert ended.value.code == 2
        assert named in capsys.readouterr().err
