"""Writes a data set of synthetic speakers: videos with sound, exact key points, the truth behind them, a manifest."""

import json
import os
import wave
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from datamodules.clip import encode
from datamodules.media.files import write_video
from preprocessing.synthetic import rule
from preprocessing.synthetic.draw import render
from preprocessing.synthetic.figure import figure
from preprocessing.synthetic.motion import motion
from preprocessing.synthetic.speakers import speaker
from preprocessing.synthetic.speech import RATE
from preprocessing.synthetic.utterance import utterance
from settings import ConfigError, get_logger
from settings.progress import follow
from settings.ranges import Count, Fps, Pixels, Positive, Seed, Whole

VERSION: Final = 1
LICENCE: Final = "CC0-1.0 (synthetic)"
logger = get_logger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All that one video is made from; the same recipe gives the same files, byte for byte."""

    name: str
    number: int
    clip: int
    split: str
    seed: int
    least: float
    most: float
    size: int
    fps: float
    wav: bool
    version: int = VERSION


def generate(
    output: Path,
    speakers: Count = 4,
    clips_per_speaker: Count = 8,
    unseen_speakers: Whole = 1,
    seconds: tuple[Positive, Positive] = (6.0, 12.0),
    size: Pixels = 256,
    fps: Fps = 25.0,
    seed: Seed = 0,
    wav: bool = False,
    workers: Whole = 1,
    test_clips: Count | None = None,
) -> Path:
    """Make talking-person videos whose movement is known, with no download; returns the path of `manifest.jsonl`.

    Every video NAME.mp4 has NAME.pose.npz (134 exact key points) and NAME.truth.json (sounds, stress beats, mouth
    opening) beside it. Files that are whole already are kept, so an interrupted run goes on where it stopped.

    Args:
        output: folder to write into.
        speakers: how many people speak in the splits train, val and test.
        clips_per_speaker: videos of each person; about a sixth go to test and a tenth to val, from 3 on one each.
        unseen_speakers: further people, all of whose videos are in split test_unseen.
        seconds: shortest and longest video.
        size: of the square picture in pixels, even.
        fps: frames a second.
        seed: other seeds give other people, sentences and movements.
        wav: write the sound before its compression too, as NAME.wav.
        workers: processes that work side by side.
        test_clips: videos of each person that go to test; left out, about a sixth.

    Raises:
        ConfigError: a number out of range.
    """
    _check(speakers, clips_per_speaker, unseen_speakers, seconds, size, fps, workers, test_clips)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    recipes = list(_recipes(speakers, clips_per_speaker, unseen_speakers, seconds, size, fps, seed, wav, test_clips))
    jobs = [(str(output), recipe) for recipe in recipes]
    if workers == 1:
        rows = [_make(job) for job in follow(jobs, "videos made")]
    else:
        # A fork would share espeak-ng's and OpenCV's threads with the parent; a fresh process does not.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            rows = list(follow(pool.map(_make, jobs), "videos made", len(jobs)))
    manifest = output / "manifest.jsonl"
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    _write(manifest, ("\n".join(lines) + "\n").encode())
    logger.info("%d videos of %d speakers in %s", len(rows), speakers + unseen_speakers, manifest)
    return manifest


def read_truth(video: str | Path) -> dict[str, Any]:
    """What `generate` knows about one of its videos (the contents of NAME.truth.json)."""
    return json.loads(Path(video).with_suffix(".truth.json").read_text())


def splits(clips: int, test: int | None = None) -> list[str]:
    """The split of each of a seen speaker's videos, in order; `test` of them go to test, about a sixth where None."""
    if test is None:
        test = max(1, round(clips / 6)) if clips >= 2 else 0
    val = max(1, round(clips / 10)) if clips >= 3 else 0
    return ["train"] * (clips - test - val) + ["val"] * val + ["test"] * test


def _check(
    speakers: int,
    clips: int,
    unseen: int,
    seconds: tuple[float, float],
    size: int,
    fps: float,
    workers: int,
    test: int | None,
) -> None:
    least, most = seconds
    if speakers + unseen < 1 or speakers < 0 or unseen < 0 or clips < 1:
        raise ConfigError("speakers, unseen_speakers and clips_per_speaker: at least one video is needed")
    if not 2.0 <= least <= most:
        raise ConfigError(
            f"seconds [{least}, {most}]: needs a shortest of at least 2 and a longest that is not shorter"
        )
    if most - least < 2.0 and most < 6.0:
        raise ConfigError(f"seconds [{least}, {most}]: too narrow for a whole sentence; let the longest be 6 or more")
    if size < 64 or size % 2:
        raise ConfigError(f"size {size}: needs an even number of pixels from 64 on")
    if not 5 <= fps <= 120:
        raise ConfigError(f"fps {fps}: needs 5 to 120")
    if test is not None and "train" not in splits(clips, test):
        raise ConfigError(f"test_clips {test}: of {clips} videos of each person none is left to train on")
    if workers < 1:
        raise ConfigError(f"workers {workers}: needs at least 1")


def _recipes(
    speakers: int,
    clips: int,
    unseen: int,
    seconds: tuple[float, float],
    size: int,
    fps: float,
    seed: int,
    wav: bool,
    test: int | None,
) -> Iterator[Recipe]:
    least, most = (float(value) for value in seconds)
    for number in range(speakers + unseen):
        parts = splits(clips, test) if number < speakers else ["test_unseen"] * clips
        for clip, split in enumerate(parts):
            name = f"s{number:02d}_{clip:03d}"
            yield Recipe(name, number, clip, split, seed, least, most, size, float(fps), wav)


def _make(job: tuple[str, Recipe]) -> dict[str, Any]:
    """Write one video and what belongs to it, unless it is there; returns its row of the manifest."""
    folder, recipe = Path(job[0]), job[1]
    kept = _kept(folder, recipe)
    if kept is not None:
        return kept
    # From here on the truth beside the video does not hold.
    (folder / f"{recipe.name}.truth.json").unlink(missing_ok=True)
    cv2.setNumThreads(1)
    who = speaker(recipe.number, recipe.seed)
    part = "test" if recipe.split.startswith("test") else recipe.split
    generator = np.random.default_rng([recipe.seed, recipe.number, recipe.clip])
    spoken = utterance(who, part, (recipe.least, recipe.most), recipe.fps, generator)
    moves = motion(who, spoken.phonemes, spoken.frames, recipe.fps, int(generator.integers(2**31)))
    person = figure(who, moves)
    phonemes = [{**p.to_dict(), "start": round(p.start, 5), "end": round(p.end, 5)} for p in spoken.phonemes]
    beats = [{"start": round(float(beat), 5), "end": round(float(beat), 5)} for beat in moves.beats]
    row = {
        "file": f"{recipe.name}.mp4", "speaker": who.name, "language": "en", "captions": spoken.captions,
        "licence": LICENCE, "consent": "synthetic", "split": recipe.split,
        "extra": {"synthetic": True, "phonemes": phonemes, "beats": beats},
    }  # fmt: skip
    opening = rule.lip_rule(spoken.phonemes, spoken.frames, recipe.fps)
    truth = {
        "recipe": asdict(recipe), "row": row, "frames": spoken.frames, "phonemes": phonemes,
        "beats": [beat["start"] for beat in beats], "blinks": [round(float(t), 5) for t in moves.blinks],
        "opening": [round(float(value), 5) for value in opening],
        "habits": asdict(who.habits), "voice": asdict(who.voice), "look": asdict(who.look),
    }  # fmt: skip
    _write(
        folder / f"{recipe.name}.pose.npz", encode("pose.npz", {"keypoints": person.keypoints, "scores": person.scores})
    )
    if recipe.wav:
        _write_wav(folder / f"{recipe.name}.wav", spoken.audio)
    about = {"generated": True, "by": "cospeech preprocessing.synthetic", "licence": LICENCE}
    write_video(folder / f"{recipe.name}.mp4", render(person, recipe.size), recipe.fps, spoken.audio, RATE, about)
    # Last of all: where the truth stands, the rest is whole.
    _write(folder / f"{recipe.name}.truth.json", json.dumps(truth, sort_keys=True).encode())
    return row


def _kept(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    names = [".truth.json", ".pose.npz", ".mp4"] + [".wav"] * recipe.wav
    if not all((folder / f"{recipe.name}{ending}").is_file() for ending in names):
        return None
    try:
        truth = read_truth(folder / f"{recipe.name}.mp4")
    except ValueError:
        return None
    return truth["row"] if truth.get("recipe") == asdict(recipe) else None


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _write_wav(path: Path, audio: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    os.replace(temporary, path)
