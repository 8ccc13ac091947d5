"""Writes a data set of synthetic actors: videos with sound, exact key points, the truth behind them, a manifest."""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import cv2
import torch

from datamodules.clip import encode
from datamodules.media.files import write_video
from preprocessing.synthetic.speech import RATE
from preprocessing.synthetic.videos import LICENCE, read_truth, splits
from preprocessing.synthetic_actors.clips import KINDS, Recipe, make_clip
from preprocessing.synthetic_actors.figure import Scale
from settings import ConfigError, get_logger
from settings.progress import follow
from settings.ranges import Count, Fps, Pixels, Positive, Seed, Whole

SCALES: Final[tuple[Scale, ...]] = ("head", "half", "whole")
logger = get_logger(__name__)


def generate(
    output: Path,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    unseen_speakers: Whole = 1,
    scales: Sequence[Scale] = SCALES,
    seconds: tuple[Positive, Positive] = (3.0, 8.0),
    size: Pixels = 96,
    fps: Fps = 25.0,
    seed: Seed = 0,
    workers: Whole = 1,
    test_clips: Count | None = None,
) -> Path:
    """Make videos of people who act as told and speak, whose movement is known; returns the path of `manifest.jsonl`.

    At head scale they speak, at half-body and whole-body scale they speak, act, or do both at once; each clip has one
    expression. Every video NAME.mp4 has NAME.pose.npz (134 exact key points) and NAME.truth.json (sounds, beats, mouth
    opening, blink of each frame, expression, actions) beside it. Files that are whole already are kept.

    Args:
        output: folder to write into.
        speakers: how many people are in the splits train, val and test.
        clips_per_speaker: videos of each person; about a sixth go to test and a tenth to val, from 3 on one each.
        unseen_speakers: further people, all of whose videos are in split test_unseen.
        scales: how much of a person is seen, in turn: head, half, whole.
        seconds: shortest and longest video.
        size: of the square picture in pixels, even; at 96 the eyes of a head are 4 pixels high.
        fps: frames a second.
        seed: other seeds give other people, sentences, actions and movements.
        workers: processes that work side by side.
        test_clips: videos of each person that go to test; left out, about a sixth.

    Raises:
        ConfigError: a number out of range.
    """
    _check(speakers, unseen_speakers, clips_per_speaker, scales, seconds, size, fps, workers, test_clips)
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    least, most = seconds
    recipes = [
        Recipe(name, number, clip, scale, KINDS[scale][turn % len(KINDS[scale])], split, seed, least, most, size, fps)
        for name, number, clip, scale, turn, split in _places(
            speakers, unseen_speakers, clips_per_speaker, scales, test_clips
        )
    ]
    jobs = [(str(output), recipe) for recipe in recipes]
    if workers == 1:
        rows = [_make(job) for job in follow(jobs, "videos made")]
    else:
        # A fork would share espeak-ng's and OpenCV's threads with the parent; a fresh process does not.
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            rows = list(follow(pool.map(_make, jobs), "videos made", len(jobs)))
    manifest = output / "manifest.jsonl"
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    _write(manifest, ("\n".join(lines) + "\n").encode())
    logger.info("%d videos of %d actors in %s", len(rows), speakers + unseen_speakers, manifest)
    return manifest


def _places(
    speakers: int, unseen: int, clips: int, scales: Sequence[Scale], test: int | None
) -> Iterator[tuple[str, int, int, Scale, int, str]]:
    """Name, person, clip, scale, its turn among the kinds of that scale, and split of each video.

    Splits run from one end of a person's clips to the other; scales and kinds take turns, so that each split has all.
    """
    for number in range(speakers + unseen):
        parts = splits(clips, test) if number < speakers else ["test_unseen"] * clips
        for clip, split in enumerate(parts):
            scale = scales[(clip + number) % len(scales)]
            yield f"a{number:02d}_{clip:03d}", number, clip, scale, (clip + number) // len(scales), split


def _check(
    speakers: int,
    unseen: int,
    clips: int,
    scales: Sequence[str],
    seconds: tuple[float, float],
    size: int,
    fps: float,
    workers: int,
    test: int | None,
) -> None:
    least, most = seconds
    odd = [scale for scale in scales if scale not in SCALES]
    if odd or not scales:
        raise ConfigError(f"scales: {odd[0] if odd else 'none'} is no scale; there are {', '.join(SCALES)}")
    if not 2.0 <= least <= most or most < 6.0:
        raise ConfigError(
            f"seconds [{least:g}, {most:g}]: needs a shortest of at least 2 and a longest of 6 or more, which is not "
            "shorter: a slow action done three times, or a whole sentence, takes that long"
        )
    if size < 64 or size % 2:
        raise ConfigError(f"size {size}: needs an even number of pixels from 64 on")
    if not 5 <= fps <= 120:
        raise ConfigError(f"fps {fps:g}: needs 5 to 120")
    if test is not None and "train" not in splits(clips, test):
        raise ConfigError(f"test_clips {test}: of {clips} videos of each person none is left to train on")
    if workers < 1:
        raise ConfigError(f"workers {workers}: needs at least 1")


def _make(job: tuple[str, Recipe]) -> dict[str, Any]:
    """Write one video and what belongs to it, unless it is there; returns its row of the manifest."""
    folder, recipe = Path(job[0]), job[1]
    kept = _kept(folder, recipe)
    if kept is not None:
        return kept
    # From here on the truth beside the video does not hold.
    (folder / f"{recipe.name}.truth.json").unlink(missing_ok=True)
    cv2.setNumThreads(1)
    clip = make_clip(recipe)
    truth = clip.truth
    told = ("phonemes", "actions", "expression", "scale", "kind")
    row = {
        "file": f"{recipe.name}.mp4", "speaker": clip.person.speaker.name, "language": "en",
        "captions": clip.captions, "licence": LICENCE, "consent": "synthetic", "split": recipe.split,
        "extra": {
            "synthetic": True, **{name: truth[name] for name in told},
            "beats": [{"start": beat, "end": beat} for beat in truth["beats"]],
        },
    }  # fmt: skip
    poses = {"keypoints": clip.person.keypoints, "scores": clip.person.scores}
    _write(folder / f"{recipe.name}.pose.npz", encode("pose.npz", poses))
    about = {"generated": True, "by": "cospeech preprocessing.synthetic_actors", "licence": LICENCE}
    write_video(folder / f"{recipe.name}.mp4", clip.frames(), recipe.fps, clip.audio, RATE, about)
    whole = {"recipe": asdict(recipe), "row": row, "frames": clip.person.frames, **truth}
    # Last of all: where the truth stands, the rest is whole.
    _write(folder / f"{recipe.name}.truth.json", json.dumps(whole, sort_keys=True).encode())
    return row


def _kept(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    if not all((folder / f"{recipe.name}{ending}").is_file() for ending in (".truth.json", ".pose.npz", ".mp4")):
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
