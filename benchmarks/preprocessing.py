"""Speed of preprocessing with the MediaPipe back end: by step, pose step over MediaPipe alone, whole pipeline.

    python -m benchmarks.preprocessing [--videos FOLDER] [--repeats 3] [--workers 2] [--quick]

Without --videos, those of the folder that COSPEECH_MEDIA names are taken. "MediaPipe alone" is mediapipe's own
Holistic class (model_complexity=1, refined face mesh, video mode) over frames that lie decoded in memory at the
step's size, its start not counted; the pose step starts it anew for every clip, decodes the frames from the clip's
mp4, counts people and maps the points. Either warms up, uncounted; then the two take turns on every video; the median
of the ratios of each pair counts (`ratio_median_with_start` counts MediaPipe's start on both sides). The pipeline is
the command itself, not warmed up, starting its worker processes included. Nothing is random. Writes
`benchmarks/results/preprocessing-DATE.json`.
"""

import os
import resource
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import Parser
from benchmarks.machine import describe, write_result
from preprocessing.options import Options
from preprocessing.pipeline import process_video
from preprocessing.pose.frames import shrink
from preprocessing.pose.graph import quiet
from preprocessing.pose.mediapipe import MediaPipePose
from preprocessing.run import preprocess
from preprocessing.step import Draft
from preprocessing.steps import POSE, off


def clips_of(videos: list[Path]) -> list[Draft]:
    """The clips of some videos as the pose step gets them."""
    if "off" not in POSE.names():
        POSE.add("off", off)
    drafts = []
    for video in videos:
        found = process_video(video, pose={"name": "off"}, face={"name": "off"}, speech=[], quality={"name": "off"})
        drafts += [draft for draft in found if isinstance(draft, Draft)]
    return drafts


def time_alone(frames: list[np.ndarray]) -> tuple[float, float]:
    """Seconds of MediaPipe's own class for frames in memory, and of starting it with one frame more."""
    begun = time.perf_counter()
    with quiet():
        from mediapipe.python.solutions.holistic import Holistic

        holistic = Holistic(model_complexity=1, refine_face_landmarks=True)
        holistic.process(frames[0])
    started = time.perf_counter()
    for frame in frames:
        holistic.process(frame)
    seconds = time.perf_counter() - started
    holistic.close()
    return seconds, started - begun


def time_step(step: MediaPipePose, draft: Draft) -> float:
    """Seconds of the pose step for a clip."""
    begun = time.perf_counter()
    step(draft)
    return time.perf_counter() - begun


def compare_pose(videos: list[Path], repeats: int, most: int) -> dict[str, Any]:
    """Pose step over MediaPipe alone, on every clip in turn."""
    step = MediaPipePose()
    time_alone([np.zeros((64, 64, 3), np.uint8)])  # imports, and reads the models from disk
    pairs: list[tuple[float, float]] = []
    with_start: list[float] = []
    rows = []
    for draft in clips_of(videos):
        frames = [shrink(frame, step.side) for frame in draft.frames()]
        if len(frames) > most:
            continue
        step(draft)
        mine = []
        for _ in range(repeats):
            (alone, start), whole = time_alone(frames), time_step(step, draft)
            mine.append((alone, whole))
            with_start.append((alone + start) / whole)
        pairs += mine
        count = len(frames)
        rows.append(
            {
                "clip": draft.info.source,
                "frames": count,
                "size": f"{draft.info.width} x {draft.info.height}",
                "alone_frames_per_second": round(count / statistics.median(a for a, _ in mine), 2),
                "step_frames_per_second": round(count / statistics.median(b for _, b in mine), 2),
                "ratio": round(statistics.median(a / b for a, b in mine), 3),
            }
        )
    ratios = sorted(a / b for a, b in pairs)
    return {
        "clips": rows,
        "pairs": len(pairs),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_least": round(ratios[0], 3),
        "ratio_most": round(ratios[-1], 3),
        "ratio_median_with_start": round(statistics.median(with_start), 3),
    }


def run_pipeline(folder: Path, workers: int) -> dict[str, Any]:
    """The whole command over a folder."""
    with tempfile.TemporaryDirectory() as output:
        begun, used = time.perf_counter(), _children_seconds()
        summary = preprocess(Options(input=str(folder), output=output, workers=workers, progress=False))
        seconds = time.perf_counter() - begun
    frames = summary["frames_per_step"].get("decode", 0)
    return {
        "workers": workers,
        "videos": summary["videos"],
        "clips": summary["clips"],
        "dropped": summary["dropped"],
        "frames": frames,
        "seconds": round(seconds, 2),
        "frames_per_second": round(frames / seconds, 2),
        "processor_seconds": round(_children_seconds() - used, 2),
        "frames_per_second_by_step_and_worker": summary["frames_per_second"],
    }


def _children_seconds() -> float:
    """Processor time of all worker processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, print, keep."""
    parser = Parser(description=__doc__)
    parser.add_argument("--videos", type=Path, default=Path(os.environ.get("COSPEECH_MEDIA", ".")) / "videos")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="short clips only, one repeat, nothing written")
    arguments = parser.parse_args()
    videos = sorted(arguments.videos.glob("*.mp4"))
    if not videos:
        parser.error(
            f"no mp4 in {arguments.videos}; give --videos, or set COSPEECH_MEDIA to a folder with videos/ in it"
        )
    pose = compare_pose(videos, 1 if arguments.quick else arguments.repeats, 160 if arguments.quick else 10**9)
    result = {
        "machine": describe() | {"mediapipe": version("mediapipe"), "av": version("av")},
        "settings": {"videos": len(videos), "repeats": arguments.repeats, "seed": None, "size": Options("", "").size},
        "pose_step_over_mediapipe_alone": pose,
        "pipeline": run_pipeline(arguments.videos, arguments.workers),
        "goals": {"pose_ratio": 0.9, "pipeline_frames_per_second": 20},
    }
    for row in pose["clips"]:
        print(
            f"{row['clip']:32} {row['alone_frames_per_second']:6.1f} alone {row['step_frames_per_second']:6.1f} step "
            f"frames/s, ratio {row['ratio']:.3f}"
        )
    pipeline = result["pipeline"]
    print(f"pose step over MediaPipe alone: {pose['ratio_median']:.3f} (median of {pose['pairs']} pairs; goal 0.9)")
    print(f"pipeline: {pipeline['frames_per_second']:.1f} frames/s with {pipeline['workers']} workers (goal 20)")
    if not arguments.quick:
        print(f"written to {write_result('preprocessing', result)}")


if __name__ == "__main__":
    main()
