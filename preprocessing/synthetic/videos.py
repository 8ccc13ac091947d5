"""Writes a data set of synthetic speakers: videos with sound, exact key points, the truth behind them, a manifest."""

import os
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from preprocessing.synthetic import rule
from preprocessing.synthetic.draw import render
from preprocessing.synthetic.figure import figure
from preprocessing.synthetic.files import LICENCE, check_set, kept_row, make_set, numbered, read_truth, save_video
from preprocessing.synthetic.motion import motion
from preprocessing.synthetic.speakers import speaker
from preprocessing.synthetic.speech import RATE
from preprocessing.synthetic.utterance import utterance
from settings import ConfigError, get_logger
from settings.ranges import Count, Fps, Pixels, Positive, Seed, Whole

VERSION: Final = 1
__all__ = ["generate", "read_truth"]
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
    check_set(speakers, unseen_speakers, clips_per_speaker, size, fps, workers, test_clips)
    least, most = (float(value) for value in seconds)
    if not 2.0 <= least <= most:
        raise ConfigError(
            f"seconds [{least}, {most}]: needs a shortest of at least 2 and a longest that is not shorter"
        )
    if most - least < 2.0 and most < 6.0:
        raise ConfigError(f"seconds [{least}, {most}]: too narrow for a whole sentence; let the longest be 6 or more")
    recipes = [
        Recipe(f"s{number:02d}_{clip:03d}", number, clip, split, seed, least, most, size, float(fps), wav)
        for number, clip, split in numbered(speakers, unseen_speakers, clips_per_speaker, test_clips)
    ]
    manifest = make_set(Path(output), recipes, _make, workers)
    logger.info("%d videos of %d speakers in %s", len(recipes), speakers + unseen_speakers, manifest)
    return manifest


def _make(job: tuple[str, Recipe]) -> dict[str, Any]:
    """Write one video and what belongs to it, unless it is there; returns its row of the manifest."""
    folder, recipe = Path(job[0]), job[1]
    kept = kept_row(folder, recipe, [".wav"] if recipe.wav else [])
    if kept is not None:
        return kept
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
        "row": row, "frames": spoken.frames, "phonemes": phonemes,
        "beats": [beat["start"] for beat in beats], "blinks": [round(float(t), 5) for t in moves.blinks],
        "opening": [round(float(value), 5) for value in opening],
        "habits": asdict(who.habits), "voice": asdict(who.voice), "look": asdict(who.look),
    }  # fmt: skip
    if recipe.wav:
        _write_wav(folder / f"{recipe.name}.wav", spoken.audio)
    frames = render(person, recipe.size)
    save_video(folder, recipe, person, frames, spoken.audio, "preprocessing.synthetic", truth)
    return row


def _write_wav(path: Path, audio: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    os.replace(temporary, path)
