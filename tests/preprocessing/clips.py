"""Small videos made on the spot, sound and broken ones included."""

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from unittest import mock

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
QUICK_RUN = Path(__file__).with_name("quick_run.py")


def write_clip(
    path: Path,
    times: Sequence[Fraction] | None = None,
    seconds: float = 1.0,
    fps: int = 25,
    height: int = 48,
    width: int = 64,
    picture: Callable[[int], np.ndarray] | None = None,
    audio: np.ndarray | None = None,
    rate: int = 48_000,
    audio_start: Fraction = Fraction(0),
    codec: str = "aac",
    seed: int = 0,
    faststart: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video: frame i, drawn by `picture(i)`, is shown from `times[i]` on; `audio` begins at `audio_start`."""
    if times is None:
        times = [Fraction(i, fps) for i in range(round(seconds * fps))]
    if picture is None:
        base = np.random.default_rng(seed).integers(60, 180, (height, width, 3))

        def picture(i: int) -> np.ndarray:
            return np.clip(base + 20 * np.sin(i / 5), 0, 255).astype(np.uint8)

    base_time = Fraction(1, 90_000)
    movflags = {"movflags": "faststart"} if faststart else {}
    x264 = {"crf": "10", "preset": "ultrafast", **(options or {})}
    with av.open(str(path), "w", options=movflags) as container:
        video = container.add_stream("libx264", rate=fps, width=width, height=height, options=x264)
        video.pix_fmt = "yuv420p" if not (width % 2 or height % 2) else "yuv444p"
        video.codec_context.time_base = base_time
        sound = container.add_stream(codec, rate=rate, layout="mono") if audio is not None else None
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts, frame.time_base = round(time / base_time), base_time
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            samples = np.asarray(audio, np.float32)[None]
            for start in range(0, samples.shape[1], 1024):
                piece = np.ascontiguousarray(samples[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(audio_start * rate)
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def tone(seconds: float, rate: int = 48_000, seed: int = 0) -> np.ndarray:
    """Some noise that is neither silent nor overdriven."""
    return (np.random.default_rng(seed).normal(size=round(seconds * rate)) * 0.05).astype(np.float32)


def quick_command(*words: str) -> list[str]:
    """The command line of a run with steps that take no time."""
    return [sys.executable, str(QUICK_RUN), *map(str, words)]


def quick_environment(**more: str) -> dict[str, str]:
    """Environment for it, without what a surrounding job array may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def quick_run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """Run it to its end: in this process where it starts none and wants no other environment."""
    if "workers=0" in words and not environment:
        return _run_here([str(word) for word in words])
    return subprocess.run(
        quick_command(*words), env=quick_environment(**environment), capture_output=True, text=True, timeout=240
    )


def start_quick_run(*words: str) -> subprocess.Popen:
    """Start it, in a group of its own."""
    return subprocess.Popen(
        quick_command(*words),
        env=quick_environment(),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # Where the tests themselves run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def kill_with_children(process: subprocess.Popen) -> list[int]:
    """Kill -9 a process alone, and wait until those that it had started have ended; gives those that have not."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
    own = [int(word) for word in listed.split()]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60  # they end at once, where the machine lets them
    while own and time.monotonic() < deadline:
        own = [child for child in own if os.path.exists(f"/proc/{child}/cwd")]
        time.sleep(0.02)
    return own


def _run_here(words: list[str]) -> subprocess.CompletedProcess:
    from preprocessing.run import main
    from tests.preprocessing.quick_run import QUICK

    out, err = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    # The project's own handler keeps the standard error that it found first.
    shown = logging.StreamHandler(err)
    logging.getLogger("cospeech").addHandler(shown)
    try:
        with (
            mock.patch.dict(os.environ, quick_environment(), clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = main([*QUICK, *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        logging.getLogger("cospeech").removeHandler(shown)
        signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def contents(output: Path) -> dict[str, bytes]:
    """What of an output folder must not depend on how the run went."""
    return {
        path.name: path.read_bytes()
        for path in sorted(output.iterdir())
        if path.suffix == ".tar" or path.name == "index.json"
    }
