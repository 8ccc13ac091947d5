"""The steps of a demo: commands as a user would start them, one after the other."""

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cospeech import shipped
from datamodules.shards.index import Index
from settings import build, command
from trainers.evaluation.comparison import FEWEST
from trainers.run.folder import RunFolder


class DemoError(RuntimeError):
    """A step of the demo failed; what it said stands above."""


def start(demo: Callable[..., Any], argv: Sequence[str] | None, prog: str) -> None:
    """The command line of a demo; ends the process with status 1 where a step failed."""
    values: dict[str, Any] = command(demo, argv, prog=prog)
    try:
        build(values, demo)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def run_step(title: str, module: str, words: Sequence[str], threads: int = 1) -> None:
    """Run one command as a user would, in a process of its own.

    Raises:
        DemoError: it failed.
    """
    print(f"\n== {title}\n   python -m {module} {' '.join(words)}", flush=True)
    started = time.monotonic()
    environment = shipped.environment() | {"OMP_NUM_THREADS": str(threads)}
    status = subprocess.run([sys.executable, "-m", module, *words], check=False, env=environment).returncode
    if status:
        raise DemoError(
            f"`python -m {module}` ended with status {status}; the demo goes on from here when it is run again"
        )
    print(f"   {time.monotonic() - started:.0f} s", flush=True)


def train(title: str, config: str, run: Path, data: Path, steps: int, workers: int, *words: str) -> None:
    """Train a tiny network.

    Args:
        title: for people.
        config: folder of its config.
        run: the run folder.
        data: shards.
        steps: of training.
        workers: threads.
        words: further ones.
    """
    own = [f"data.shards={data}", f"run={run}", f"trainer.max_steps={steps}", *words]
    config_file = shipped.folder("configs") / config / "tiny.yaml"
    run_step(title, "trainers.fit", ["--config", str(config_file), *own], threads=workers)


def check_files(**files: Path | None) -> None:
    """Raises DemoError for a file that is given, by its option, and is not there."""
    for name, file in files.items():
        if file is not None and not file.is_file():
            raise DemoError(f"{name}={file}: no such file")


def enough_to_judge(speakers: int, clips: int) -> list[str]:
    """So many test videos of each person that a verdict can be given, where that leaves three quarters of them."""
    wanted = math.ceil(FEWEST / speakers)
    return [f"test_clips={wanted}"] if wanted <= clips // 4 else []


def held_out(shards: Path, scale: str | None = None) -> tuple[str, str]:
    """Split and id of the clip whose speech drives the video: one that training never hears, if there is any.

    Args:
        shards: of the clips.
        scale: how much of the person it shows, where clips say so (`extra.scale`); None does not ask.

    Raises:
        DemoError: there is no such clip.
    """
    samples = [sample for shard in Index.load(shards).shards for sample in shard.samples if "audio.flac" in sample.keys]
    if scale is not None:
        from datamodules.clips import read_clips

        fit = {info.id for info, _ in read_clips(shards, (), where={"extra.scale": scale})}
        samples = [sample for sample in samples if sample.id in fit]
    for split in ("test", "test_unseen", "val", "train"):
        found = [sample.id for sample in samples if sample.split == split]
        if found:
            if split == "train":
                print("   Too few videos to hold one back: the video will be made for speech that training hears.")
            return split, found[0]
    raise DemoError(f"no clip was kept: {shards / 'report.html'} tells why")


def speech_and_person(shards: Path, clip: tuple[str, str], output: Path) -> tuple[Path, Path, Path | None]:
    """Write the speech of a clip, its first pose and its first frame; a clip of poses alone has no frame."""
    import numpy as np
    import soundfile
    from PIL import Image

    from datamodules.clips import read_clips
    from datamodules.media.files import SAMPLE_RATE, read_frames

    split, wanted = clip
    there = next(s.keys for shard in Index.load(shards).shards for s in shard.samples if s.id == wanted)
    keys = tuple(key for key in ("audio.flac", "pose.npz", "video.mp4") if key in there)
    for info, arrays in read_clips(shards, keys, where={"split": split, "id": wanted}):
        speech, pose, picture = output / "speech.wav", output / "first_pose.npz", output / "person.png"
        soundfile.write(speech, arrays["audio.flac"], SAMPLE_RATE)
        shape: dict[str, Any] = {"size": np.array([info.height, info.width])} if info.height and info.width else {}
        first: dict[str, Any] = {name: array[:1] for name, array in arrays["pose.npz"].items()}
        np.savez(pose, **first, **shape)
        (output / "speech.json").write_text(json.dumps(info.model_dump(), indent=1, ensure_ascii=False))
        if "video.mp4" not in arrays:
            return speech, pose, None
        Image.fromarray(next(iter(read_frames(arrays["video.mp4"])))).save(picture)
        return speech, pose, picture
    raise DemoError(f"clip {wanted} cannot be read; `python -m preprocessing.verify {shards}` tells why")


def show_in_report(run: Path, video: Path) -> None:
    """Put what a demo made where the run's report looks for it."""
    folder = RunFolder(run).animations
    folder.mkdir(exist_ok=True)
    shutil.copyfile(video, folder / video.name)
