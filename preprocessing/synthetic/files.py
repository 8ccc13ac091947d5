"""Sets of synthetic videos on disk: every file whole or not at all, what is there is kept, a manifest at the end."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch

from datamodules.clip import encode
from datamodules.media.files import write_video
from preprocessing.synthetic.speech import RATE
from settings import ConfigError, build, command
from settings.output import OutputError, faults_of
from settings.progress import follow

LICENCE: Final = "CC0-1.0 (synthetic)"


class Made(Protocol):
    """All that one video is made from: a dataclass."""

    @property
    def name(self) -> str:
        """Of its files."""
        ...

    @property
    def fps(self) -> float:
        """Frames a second."""
        ...


def run_generator(
    target: Callable[..., Any],
    argv: Sequence[str] | None,
    prog: str,
    tell: Callable[[str, Any], str] = lambda output, made: str(made),
) -> None:
    """The command line of what makes such a set; ends the process with status 2, 1 or 130 where it cannot.

    Args:
        target: makes the set.
        argv: words of the command line.
        prog: name of the command.
        tell: what is said at the end, of the folder and of what the target returns.
    """
    values = command(target, argv, prog=prog)
    try:
        with faults_of(Path(values["output"])):
            made = build(values, target)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped; start it again", file=sys.stderr)
        raise SystemExit(130) from None
    print(tell(values["output"], made))


def check_set(speakers: int, unseen: int, clips: int, size: int, fps: float, workers: int, test: int | None) -> None:
    """Raises ConfigError for numbers that no such set can have."""
    if speakers + unseen < 1 or speakers < 0 or unseen < 0 or clips < 1:
        raise ConfigError("speakers, unseen_speakers and clips_per_speaker: at least one video is needed")
    if size < 64 or size % 2:
        raise ConfigError(f"size {size}: needs an even number of pixels from 64 on")
    if not 5 <= fps <= 120:
        raise ConfigError(f"fps {fps:g}: needs 5 to 120")
    if test is not None and "train" not in splits(clips, test):
        raise ConfigError(f"test_clips {test}: of {clips} videos of each person none is left to train on")
    if workers < 1:
        raise ConfigError(f"workers {workers}: needs at least 1")


def splits(clips: int, test: int | None = None) -> list[str]:
    """The split of each of a seen speaker's videos, in order; `test` of them go to test, about a sixth where None."""
    if test is None:
        test = max(1, round(clips / 6)) if clips >= 2 else 0
    val = max(1, round(clips / 10)) if clips >= 3 else 0
    return ["train"] * (clips - test - val) + ["val"] * val + ["test"] * test


def numbered(speakers: int, unseen: int, clips: int, test: int | None) -> Iterator[tuple[int, int, str]]:
    """Person, clip and split of every video."""
    for number in range(speakers + unseen):
        parts = splits(clips, test) if number < speakers else ["test_unseen"] * clips
        for clip, split in enumerate(parts):
            yield number, clip, split


def make_set(
    output: Path, recipes: Sequence[Made], make: Callable[[tuple[str, Any]], dict[str, Any]], workers: int
) -> Path:
    """Make all videos, and the manifest; gives its path.

    Args:
        output: folder to write into.
        recipes: of the videos.
        make: writes the video of a folder and a recipe, and gives its row of the manifest.
        workers: processes that work side by side.
    """
    output.mkdir(parents=True, exist_ok=True)
    jobs = [(str(output), recipe) for recipe in recipes]
    if workers == 1:
        rows = [make(job) for job in follow(jobs, "videos made")]
    else:
        # A fork would share espeak-ng's and OpenCV's threads with the parent; a fresh process does not.
        with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            rows = list(follow(pool.map(make, jobs), "videos made", len(jobs)))
    manifest = output / "manifest.jsonl"
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    write_whole(manifest, ("\n".join(lines) + "\n").encode())
    return manifest


def kept_row(folder: Path, recipe: Any, also: Sequence[str] = ()) -> dict[str, Any] | None:
    """The row of a video that is there whole, made from the same recipe; else None, and its truth is taken away.

    Args:
        folder: of the set.
        recipe: of the video.
        also: endings of further files that it has.
    """
    cv2.setNumThreads(1)
    there = all((folder / f"{recipe.name}{ending}").is_file() for ending in (".truth.json", ".pose.npz", ".mp4", *also))
    if there:
        try:
            truth = read_truth(folder / f"{recipe.name}.mp4")
            if truth.get("recipe") == asdict(recipe):
                row: dict[str, Any] = truth["row"]
                return row
        except ValueError:
            pass  # cut off: it is made again
    # From here on the truth beside the video does not hold.
    (folder / f"{recipe.name}.truth.json").unlink(missing_ok=True)
    return None


def save_video(
    folder: Path, recipe: Any, person: Any, frames: Iterator[np.ndarray], audio: np.ndarray, by: str, truth: dict
) -> None:
    """Write a video, its key points and what is known of it.

    Args:
        folder: of the set.
        recipe: of the video.
        person: with `keypoints` and `scores`.
        frames: (H, W, 3) uint8 RGB in turn.
        audio: (N,) float32 in [-1, 1].
        by: the command that makes it.
        truth: what is known, its row of the manifest among it.
    """
    poses = {"keypoints": person.keypoints, "scores": person.scores}
    write_whole(folder / f"{recipe.name}.pose.npz", encode("pose.npz", poses))
    about = {"generated": True, "by": f"cospeech {by}", "licence": LICENCE}
    write_video(folder / f"{recipe.name}.mp4", frames, recipe.fps, audio, RATE, about)
    # Last of all: where the truth stands, the rest is whole.
    whole = {"recipe": asdict(recipe), **truth}
    write_whole(folder / f"{recipe.name}.truth.json", json.dumps(whole, sort_keys=True).encode())


def read_truth(video: str | Path) -> dict[str, Any]:
    """What is known about a video of a set (the contents of NAME.truth.json)."""
    truth: dict[str, Any] = json.loads(Path(video).with_suffix(".truth.json").read_text())
    return truth


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
