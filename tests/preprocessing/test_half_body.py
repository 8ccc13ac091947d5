"""The half-body preset (PH-19): each reason by a clip that has just that fault, and a run from videos to shards."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.clip import decode
from datamodules.shards.index import Index
from models.human.keypoints import CHIN, FACE, HANDS, INNER_LIP_BOTTOM
from preprocessing.options import Options
from preprocessing.quality import Quality
from preprocessing.run import main
from preprocessing.runs.writer import read_members
from preprocessing.speech.activity import signal_to_noise
from preprocessing.step import REASONS, Draft, Drop
from preprocessing.steps import CROP, QUALITY
from settings import build, command
from tests.preprocessing.clips import write_clip
from tests.preprocessing.half_bodies import FRAMES, RATE, SIZE, clip, pose, sound

ROOT = Path(__file__).resolve().parents[2]
PRESET = ROOT / "configs" / "preprocessing" / "half_body.yaml"


def resolved(preset: Path = PRESET) -> Options:
    """A preset as the command reads it."""
    words = ["--config", str(preset), "input=VIDEOS", "output=SHARDS"]
    return build(command(Options, words, prog="python -m preprocessing.run"), Options)


def verdict(draft: Draft, quality: Quality | None = None) -> str | None:
    try:
        (quality or QUALITY.build(resolved().quality))(draft)
    except Drop as drop:
        return drop.reason if drop.detail else "the figure that decided is not named"
    return None


@pytest.mark.paper("PH-19")
def test_the_preset_asks_for_clips_as_cnas_has_them():
    options = resolved()
    assert (options.fps, options.min_clip_seconds, options.max_clip_seconds) == (25, 125 / 25, 125 / 25)
    assert (options.crop["name"], options.crop["width"], options.crop["height"]) == ("frame", 512, 896)
    assert options.size == 896
    assert (options.scenes["name"], options.when_cut) == ("content", "drop")
    quality = QUALITY.build(options.quality)
    assert quality.require == "waist_up"
    assert quality.require_audio
    assert quality.require_speech
    kept = clip()
    assert verdict(kept, quality) is None
    assert kept.figures["frontal"] == kept.figures["face_whole"] == kept.figures["body"] == 1
    assert kept.figures["legs"] == kept.figures["body_jumps"] == 0
    assert kept.figures["yaw"] < 1
    assert kept.figures["shoulders"] == pytest.approx(2, abs=0.3)


def edit(draft: Draft, points: slice | list[int], frames: slice = slice(None), by: tuple = (0, 0)) -> Draft:
    """Move some points by fractions of the picture, or take them away where `by` is empty."""
    found = draft.arrays["pose.npz"]
    if by:
        found["keypoints"][frames, points] += np.array(by, np.float32)
    else:
        found["keypoints"][frames, points], found["scores"][frames, points] = -1, 0
    return draft


def several(draft: Draft) -> Draft:
    draft.extras["people"][[3, 7]] = 2
    return draft


def heard(draft: Draft, change: Callable[[np.ndarray], np.ndarray | None]) -> Draft:
    assert draft.audio is not None
    audio = change(draft.audio)
    draft.audio = None if audio is None else np.asarray(audio, np.float32)
    return draft


def cut_face(draft: Draft) -> Draft:
    draft.arrays["face.npz"]["boxes"][:20, 2] = 1.02
    return draft


def faceless(draft: Draft) -> Draft:
    draft.arrays["face.npz"]["scores"][::10] = 0
    return draft


def small(draft: Draft) -> Draft:
    draft.arrays["face.npz"]["boxes"][:, 3] = draft.arrays["face.npz"]["boxes"][:, 1] + 0.05
    return draft


def standing(draft: Draft) -> Draft:
    found = draft.arrays["pose.npz"]
    found["keypoints"][:30, [9, 12]], found["scores"][:30, [9, 12]] = (0.5, 0.97), 0.9
    return draft


def trembling(draft: Draft) -> Draft:
    found = draft.arrays["pose.npz"]
    found["keypoints"][:, :8] += np.random.default_rng(0).normal(0, 0.01, (FRAMES, 8, 2)).astype(np.float32)
    return draft


def mute(draft: Draft) -> Draft:
    found = draft.arrays["pose.npz"]["keypoints"]
    found[:, INNER_LIP_BOTTOM] = found[:1, INNER_LIP_BOTTOM]
    return draft


def noisy(audio: np.ndarray, decibel: float = 0.0) -> np.ndarray:
    """The sound under noise that is so much weaker."""
    noise = np.random.default_rng(1).standard_normal(len(audio))
    return audio + noise * np.sqrt((audio**2).mean()) * 10 ** (-decibel / 20)


FAULTS: dict[str, tuple[str, Callable[[], Draft]]] = {
    "two people": ("more_than_one_person", lambda: several(clip())),
    "face undetected": ("no_face", lambda: faceless(clip())),
    "face small": ("no_face", lambda: small(clip())),
    "face beyond the edge": ("partial_face", lambda: cut_face(clip())),
    "chin hidden": ("partial_face", lambda: edit(clip(), [CHIN], slice(0, 20), ())),
    "elbow hidden": ("partial_body", lambda: edit(clip(), [3], slice(0, 20), ())),
    "elbow beyond the edge": ("partial_body", lambda: edit(clip(), [6], slice(0, 20), (0.9, 0))),
    "legs": ("legs_seen", lambda: standing(clip())),
    "head turned": ("not_facing", lambda: clip(yaw=40)),
    "head turned the other way": ("not_facing", lambda: clip(yaw=-40)),
    "shoulders turned": ("not_facing", lambda: edit(edit(clip(), [2], by=(0.15, 0)), [5], by=(-0.15, 0))),
    "no hands": ("hands_unseen", lambda: edit(clip(), HANDS, slice(0, 80), ())),
    "elbow jumps": ("unstable_detection", lambda: edit(clip(), [6], slice(0, None, 20), (0, -0.2))),
    "shoulder flickers": ("unstable_detection", lambda: edit(clip(), [2], slice(0, None, 20), ())),
    "trembling": ("unstable_detection", lambda: trembling(clip())),
    "no sound": ("no_audio", lambda: heard(clip(), lambda audio: None)),
    "silence": ("silence", lambda: heard(clip(), lambda audio: audio * 0.01)),
    "overdriven": ("clipping", lambda: heard(clip(), lambda audio: (audio * 20).clip(-1, 1))),
    "noise": ("noise", lambda: heard(clip(), noisy)),
    "mouth shut": ("no_speech", lambda: mute(clip())),
}


@pytest.mark.paper("PH-19")
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_reason_and_all_figures(fault: str):
    reason, make = FAULTS[fault]
    draft = make()
    assert verdict(draft) == reason
    assert {"frontal", "face_whole", "legs", "body_jumps", "jitter"} <= set(draft.figures)
    assert all(np.isfinite(value) for value in draft.figures.values())


def test_seen_from_behind_is_not_facing_whatever_the_face_step_says():
    draft = clip()
    found = draft.arrays["pose.npz"]["keypoints"]
    found[:, [2, 5]] = found[:, [5, 2]]
    assert verdict(draft) == "not_facing"
    assert draft.figures["shoulders"] < -1


@pytest.mark.parametrize(
    "fault", ["face beyond the edge", "chin hidden", "legs", "head turned", "shoulders turned", "trembling", "noise"]
)
def test_without_the_preset_new_limits_drop_nothing(fault: str):
    assert verdict(FAULTS[fault][1](), Quality()) is None


def test_yaw_and_trembling_are_measured_in_their_units():
    draft = clip(yaw=25)
    assert verdict(draft, Quality(require="head")) is None
    assert draft.figures["yaw"] == pytest.approx(25, abs=1)
    trembles = clip()
    found = trembles.arrays["pose.npz"]["keypoints"]
    tall = np.ptp(found[:, FACE, 1], axis=1)[0]
    noise = np.random.default_rng(0).normal(0, 0.03 * tall, (FRAMES, 8, 2))
    found[:, :8] += (noise * (SIZE[1] / SIZE[0], 1)).astype(np.float32)  # in widths and heights of the picture
    verdict(trembles, Quality())
    assert trembles.figures["jitter"] == pytest.approx(0.03, rel=0.1)


def test_the_signal_to_noise_ratio_falls_with_the_noise():
    audio = sound()[0]
    found = [signal_to_noise(noisy(audio, decibel)) for decibel in (30, 20, 10, 0)]
    assert found == sorted(found, reverse=True)
    np.testing.assert_allclose(-np.diff(found), 10, atol=2.5)
    assert signal_to_noise(audio) > 40
    assert signal_to_noise(np.random.default_rng(0).standard_normal(5 * RATE)) < 0
    assert signal_to_noise(np.zeros(100, np.float32)) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Videos through the command with the preset; key points stand beside them."""
    folder = tmp_path_factory.mktemp("half_body")
    audio, loud = sound()

    def write(name: str, picture: Callable[[int], np.ndarray] | None = None, frames: int = FRAMES, **found) -> None:
        heard = found.pop("audio", audio)
        video = folder / "videos" / f"{name}.mp4"
        size = {"width": SIZE[0], "height": SIZE[1]}
        write_clip(video, seconds=frames / 25, audio=heard, rate=RATE, picture=picture, seed=len(name), **size)
        values = pose(**{"loud": loud, **found})
        np.savez(video.with_suffix(".pose.npz"), **{key: value[:frames] for key, value in values.items()})

    (folder / "videos").mkdir()
    one, two = (np.random.default_rng(seed).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8) for seed in (1, 2))
    write("good")
    write("cut", lambda frame: one if frame < 60 else two)
    write("noisy", audio=noisy(audio, 0))
    write("short", frames=100)
    write("turned", yaw=45.0)
    output = folder / "shards"
    words = [f"input={folder / 'videos'}", f"output={output}", "pose=sidecar", "face=keypoints", "speech=[]"]
    assert main(["--config", str(PRESET), *words, "workers=0", "progress=false"]) == 0
    return output, json.loads((output / "summary.json").read_text())


@pytest.mark.paper("PH-19")
def test_every_dropped_clip_has_one_reason_that_is_counted_and_reported(run: tuple[Path, dict]):
    output, summary = run
    assert summary["errors"] == []
    # Of the video with a cut both sides go.
    assert {(drop["file"], drop["reason"]) for drop in summary["drops"]} == {
        ("cut.mp4", "scene_cut"), ("noisy.mp4", "noise"), ("short.mp4", "too_short"), ("turned.mp4", "not_facing"),
    }  # fmt: skip
    assert summary["dropped"] == {"not_facing": 1, "scene_cut": 2, "too_short": 1, "noise": 1}
    assert len(summary["drops"]) == sum(summary["dropped"].values()) == 5
    page = (output / "report.html").read_text(encoding="utf-8")
    for drop in summary["drops"]:
        assert drop["reason"] in page
        assert REASONS[drop["reason"]] in page
        assert drop["detail"]


@pytest.mark.paper("PH-19")
def test_kept_clips_have_125_frames_of_the_shape(run: tuple[Path, dict]):
    output, _ = run
    ((shard, sample),) = [(shard, sample) for shard in Index.load(output).shards for sample in shard.samples]
    data = (output / shard.name).read_bytes()[sample.offset : sample.offset + sample.size]
    found = {name.partition(".")[2]: value for name, value in read_members(data)}
    info = decode("clip.json", found["clip.json"], sample.id)
    assert (info.source, info.frames, info.fps) == ("good.mp4", 125, 25)
    assert info.width / info.height == 512 / 896
    assert info.samples == 5 * 16_000
    assert info.extra["quality"]["inside"] == 1


@pytest.mark.paper("PH-19")
def test_pats_is_taken_in_longer_pieces_and_split_nine_to_one(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--config", "preprocessing/pats", "--print-config"])
    said = yaml.safe_load(capsys.readouterr().out)
    assert (said["min_clip_seconds"], said["max_clip_seconds"], said["fps"]) == (4, 15, 25)
    assert said["splits"] == {"train": 0.9, "test": 0.1}
    assert (said["size"], said["crop"]["name"], said["when_cut"]) == (512, "square", "drop")
    assert said["quality"]["require"] == "waist_up"
    CROP.build(said["crop"])
