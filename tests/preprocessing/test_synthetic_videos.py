"""The data set: pictures that agree with their key points, sound in step, a whole manifest, restarts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.clip import ClipInfo, check, decode
from datamodules.media.files import read_audio, read_frames
from models.human import keypoints as layout
from preprocessing.sources.manifest import read_sources
from preprocessing.synthetic import rule
from preprocessing.synthetic.draw import portrait, render
from preprocessing.synthetic.figure import figure
from preprocessing.synthetic.files import read_truth, splits
from preprocessing.synthetic.motion import motion
from preprocessing.synthetic.phonemes import Phoneme
from preprocessing.synthetic.speakers import speaker
from preprocessing.synthetic.speech import RATE
from preprocessing.synthetic.videos import generate
from settings import ConfigError

SMALL = {"speakers": 1, "clips_per_speaker": 3, "unseen_speakers": 1, "seconds": (4.0, 6.0), "size": 128, "wav": True}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    generate(folder, **SMALL)
    return folder


@pytest.fixture(scope="module")
def rows(data) -> list[dict]:
    return [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]


def colour(image: np.ndarray, point: np.ndarray, reach: int = 2) -> np.ndarray:
    x, y = (int(value * len(image)) for value in point)
    return image[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3).astype(float).mean(0)


def test_manifest_names_everything_and_preprocessing_reads_it(data, rows):
    assert [row["split"] for row in rows] == ["train", "val", "test"] + ["test_unseen"] * 3
    for row in rows:
        assert row["language"] == "en"
        assert row["licence"].startswith("CC0")
        assert row["consent"] == "synthetic"
        assert row["captions"]
        assert row["extra"]["phonemes"]
        assert row["extra"]["beats"]
        stem = row["file"].removesuffix(".mp4")
        assert all((data / f"{stem}{ending}").is_file() for ending in (".mp4", ".wav", ".pose.npz", ".truth.json"))
    assert len(read_sources(data / "manifest.jsonl")) == 6


def test_splits_keep_speakers_and_sentences_apart(rows):
    spoken: dict[str, set] = {}
    people: dict[str, set] = {}
    for row in rows:
        spoken.setdefault(row["split"], set()).update(caption["text"] for caption in row["captions"])
        people.setdefault(row["split"], set()).add(row["speaker"])
    assert not people["train"] & people["test_unseen"]
    assert people["train"] == people["test"]
    for split in ("val", "test", "test_unseen"):
        assert not spoken["train"] & spoken[split]
    assert splits(1) == ["train"]
    assert splits(2) == ["train", "test"]
    assert splits(12).count("train") == 9
    assert [splits(12, 3).count(name) for name in ("train", "val", "test")] == [8, 1, 3]
    assert [splits(12, 0).count(name) for name in ("train", "val", "test")] == [11, 1, 0]


def test_more_test_videos_than_there_are_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="test_clips 3"):
        generate(tmp_path, clips_per_speaker=3, test_clips=3)
    assert not list(tmp_path.iterdir())


def test_sidecar_keeps_the_clip_schema(data, rows):
    for row in rows:
        truth = read_truth(data / row["file"])
        value = decode("pose.npz", (data / row["file"]).with_suffix(".pose.npz").read_bytes())
        info = ClipInfo(id="x", source=row["file"], end=truth["frames"] / 25, fps=25, frames=truth["frames"])
        check("pose.npz", value, info)
        absent = value["scores"] == 0
        assert (value["keypoints"][absent] == -1).all()
        assert absent[:, layout.FEET].all()
        assert not absent[:, layout.FACE].any()
        assert not absent[:, layout.HANDS].any()


def test_picture_and_sound_are_in_step(data, rows):
    for row in rows[:2]:
        truth = read_truth(data / row["file"])
        frames = list(read_frames(data / row["file"]))
        assert len(frames) == truth["frames"]
        assert frames[0].shape == (128, 128, 3)
        heard = read_audio(data / row["file"])
        said = read_audio(data / row["file"].replace(".mp4", ".wav"))
        wanted = round(truth["frames"] / 25 * RATE)
        assert len(said) == wanted
        assert wanted <= len(heard) < wanted + 1200
        lags = [float(np.dot(said[2000:-2000], heard[2000 + lag : wanted - 2000 + lag])) for lag in range(-40, 41)]
        assert int(np.argmax(lags)) == 40
        first = next(p for p in truth["phonemes"] if p["name"] != "_")["start"]
        assert np.abs(said[: round((first - 0.02) * RATE)]).max() < 0.2 * np.abs(said).max()


def test_truth_tells_the_rule(data, rows):
    truth = read_truth(data / rows[0]["file"])
    said = [Phoneme(**phoneme) for phoneme in truth["phonemes"]]
    assert truth["opening"] == pytest.approx(rule.lip_rule(said, truth["frames"], 25.0), abs=5e-3)
    assert truth["beats"] == pytest.approx(rule.beats(said), abs=1e-4)
    keypoints = np.load((data / rows[0]["file"]).with_suffix(".pose.npz"))["keypoints"]
    assert rule.recovered(keypoints, said, 25.0)["lip_variance"] > 0.98


def test_mouth_is_dark_or_toothed_when_open_and_lip_coloured_when_shut():
    who = speaker(0)
    said = [Phoneme("a", 0.2, 0.6, 2), Phoneme("m", 0.6, 1.0)]
    person = figure(who, motion(who, said, 30, 25.0, 1))
    frames = list(render(person, 512))
    open_at, shut_at = round(0.45 * 25), round(0.8 * 25)
    inside = [person.keypoints[t, [layout.INNER_LIP_TOP, layout.INNER_LIP_BOTTOM]] for t in (open_at, shut_at)]
    assert inside[0][1, 1] - inside[0][0, 1] > 0.03
    assert inside[1][1, 1] - inside[1][0, 1] < 0.002
    skin = np.array(who.look.skin)
    between = colour(frames[open_at], 0.45 * inside[0][0] + 0.55 * inside[0][1])
    assert between[1] < 0.6 * skin[1]
    for point in person.keypoints[shut_at, [24 + 51, 24 + 57]]:
        assert np.abs(colour(frames[shut_at], point) - skin).max() > 15


@pytest.mark.parametrize("number", range(6))
def test_key_points_lie_on_the_drawn_parts(number):
    who = speaker(number)
    image, pose = portrait(who, 512)
    skin, cloth = np.array(who.look.skin, float), np.array(who.look.cloth, float)

    def nearer_to_skin(point):
        seen = colour(image, point)
        return np.abs(seen - skin).sum() < np.abs(seen - cloth).sum()

    assert all(nearer_to_skin(pose[92 + joint, :2]) and nearer_to_skin(pose[113 + joint, :2]) for joint in range(5, 21))
    assert nearer_to_skin(pose[24 + 28, :2])
    assert not nearer_to_skin(pose[layout.RIGHT_ELBOW, :2])
    assert not nearer_to_skin(pose[layout.LEFT_SHOULDER, :2])
    eye = colour(image, pose[14, :2], 1)
    assert np.abs(eye - skin).max() > 20
    assert pose[layout.RIGHT_WRIST, 0] < 0.5 < pose[layout.LEFT_WRIST, 0]


def test_blinks_close_the_lids():
    who = speaker(0)
    person = figure(who, motion(who, [], 200, 25.0, 4))
    height = person.keypoints[:, 24 + 41, 1] - person.keypoints[:, 24 + 37, 1]
    assert len(person.motion.blinks) >= 2
    for blink in person.motion.blinks:
        assert height[round(blink * 25)] < 0.4 * np.median(height)


@pytest.mark.parametrize("size", [256, 512])
def test_pictures_have_the_size_asked_for_and_agree(size):
    image, pose = portrait(2, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert pose.shape == (134, 3)
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    other = cv2.resize(portrait(2, 768 - size)[0], (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(small - other).mean() < 3
    with pytest.raises(ValueError, match="32"):
        portrait(2, 32)


@pytest.mark.slow
def test_other_processes_and_restarts_give_the_same_bytes(data, tmp_path, slow_clock, capsys):
    names = sorted(path.name for path in data.iterdir())
    generate(tmp_path, **SMALL, workers=2)
    assert "videos made  5/6  ETA " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_bytes() == (data / name).read_bytes() for name in names)
    kept, broken = tmp_path / "s00_000.mp4", tmp_path / "s00_001.truth.json"
    os.utime(kept, (1, 1))
    broken.write_bytes(broken.read_bytes()[:100])
    (tmp_path / "s01_002.mp4").unlink()
    generate(tmp_path, **SMALL)
    assert kept.stat().st_mtime == 1
    assert all((tmp_path / name).read_bytes() == (data / name).read_bytes() for name in names)


def test_other_options_are_not_taken_for_the_same(data, tmp_path):
    options = SMALL | {"speakers": 1, "unseen_speakers": 0, "clips_per_speaker": 1}
    generate(tmp_path, **options)
    before = (tmp_path / "s00_000.mp4").read_bytes()
    generate(tmp_path, **(options | {"seed": 5}))
    assert (tmp_path / "s00_000.mp4").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 31}, "size"), ({"seconds": (9, 3)}, "seconds"), ({"fps": 0}, "fps"),
        ({"clips_per_speaker": 0}, "clips"), ({"workers": 0}, "workers"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_named_before_anything_is_written(options, word, tmp_path):
    with pytest.raises(ConfigError, match=word):
        generate(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path):
    start = [sys.executable, "-m", "preprocessing.synthetic"]
    words = ["speakers=1", "clips_per_speaker=1", "unseen_speakers=0", "seconds=[4,6]", "size=64"]
    done = subprocess.run([*start, f"output={tmp_path}", *words], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).read_text().count("\n") == 1
    wrong = subprocess.run([*start, f"output={tmp_path}", "speeker=2"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "speaker" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    wrong = subprocess.run([*start, f"output={tmp_path}", "size=33"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "size" in wrong.stderr
    assert "Traceback" not in wrong.stderr
