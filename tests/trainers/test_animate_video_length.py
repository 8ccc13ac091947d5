"""Long videos of MMGT's second stage: memory does not grow with the length, sound and picture stay in step."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from datamodules.media.files import read_audio
from tests.trainers.test_animate_video import FPS, make, world  # noqa: F401  (a fixture)
from trainers.animation.files import write_poses

PEAK = """
import resource, sys
from trainers.animate import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
raise SystemExit(status)
"""


def drive(world, folder: Path, seconds: float) -> list[str]:  # noqa: F811
    """Poses and speech of a length, and the words of the command that follows them at little cost."""
    with np.load(world["driving"]) as poses:
        one = np.concatenate([poses["keypoints"], poses["scores"][..., None]], -1)
    frames = round(seconds * FPS)
    write_poses(folder / "driving.npz", one[np.arange(frames) % len(one)], (54, 34), FPS)
    times = np.arange(round(seconds * 16_000)) / 16_000
    soundfile.write(folder / "speech.wav", 0.4 * np.sin(2 * np.pi * 150 * times), 16_000)
    given = {
        "run": world["audio_run"], "image": world["image"], "pose": world["pose"], "size": 32, "steps": 1,
        "driving": folder / "driving.npz", "audio": folder / "speech.wav", "out": folder / "out.mp4",
    }  # fmt: skip
    weights = [f"guidance_{name}=1" for name in ("reference", "pose", "audio")]
    return [f"{key}={value}" for key, value in given.items()] + weights


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(world, tmp_path):  # noqa: F811
    peaks = []
    for seconds in (5.0, 35.0):
        folder = tmp_path / f"{seconds:g}"
        folder.mkdir()
        words = [sys.executable, "-c", PEAK, *drive(world, folder, seconds)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout.rsplit("peak ", 1)[1]))
        with av.open(str(folder / "out.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == round(seconds * FPS)
    # 900 frames more; the room is for what allocators do not give back.
    assert peaks[1] - peaks[0] < 40, peaks


def test_the_sound_is_heard_at_the_frame_that_it_belongs_to(world, tmp_path):  # noqa: F811
    """A click after 0.4 s is in the file's sound within half a frame of 0.4 s of its pictures' clock."""
    sound = np.zeros(8_000, np.float32)
    sound[6_400:6_432] = 0.9
    sound += 0.01 * np.sin(np.arange(8_000))
    soundfile.write(tmp_path / "click.wav", sound, 16_000)
    made = make(world, tmp_path / "out.mp4", driving=world["driving"], audio=tmp_path / "click.wav")
    heard = int(np.abs(read_audio(made.video)).argmax()) / 16_000
    with av.open(str(made.video)) as container:
        first = next(container.decode(video=0))
        start = float(first.pts * first.time_base)
    assert heard - start == pytest.approx(0.4, abs=0.5 / FPS)
