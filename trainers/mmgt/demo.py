"""The whole way in one command: videos to shards to a trained SMGA to an mp4, with figures.

`python -m trainers.demo` makes its own synthetic speakers; `videos=FOLDER` takes yours.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from cospeech import shipped
from settings.ranges import Count, Pixels, Whole
from trainers.demos.steps import (
    check_files,
    enough_to_judge,
    held_out,
    run_step,
    show_in_report,
    speech_and_person,
    start,
)
from trainers.evaluation.comparison import FEWEST

CONFIG = shipped.folder("configs") / "mmgt" / "smga" / "tiny.yaml"
MEASURED = FEWEST  # clips of each split: as few as give a verdict


def demo(
    *,
    output: Path = Path("demo"),
    videos: str | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    config: Path = CONFIG,
    size: Pixels | None = None,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    workers: Whole = 2,
    steps: Count = 1600,
) -> Path:
    """Go the whole way; what is finished already is not done again.

    Args:
        output: folder for everything.
        videos: folder, glob or manifest of your own videos; none makes synthetic speakers.
        image: picture of the person that is animated; none takes a clip's own first pose.
        audio: speech to move to; none takes that of a clip that training does not hear.
        config: of the training.
        size: longest side of the videos, in pixels; none takes 256 for synthetic speakers, and for your own as many as
            their faces need.
        speakers: synthetic speakers to make.
        clips_per_speaker: videos of each.
        workers: processes for rendering and preprocessing, threads for training.
        steps: training steps; more make better motion.

    Returns:
        The generated mp4.
    """
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    shards, run = output / "shards", output / "run"

    check_files(image=image, audio=audio)
    source, options = videos, []
    if videos is not None:
        from trainers.demos.videos import choose_size

        chosen = choose_size(videos) if size is None else None
        size = chosen.side if chosen else size
        if chosen:
            print(f"Your videos: {chosen.reason} (size={size}; their shape stays as it is)", flush=True)
    else:
        size = 256 if size is None else size
        folder = output / "videos"
        run_step(
            "Making synthetic speakers",
            "preprocessing.synthetic",
            [f"output={folder}", f"speakers={speakers}", f"clips_per_speaker={clips_per_speaker}", f"size={size}"]
            + [f"workers={workers}", *enough_to_judge(speakers, clips_per_speaker)],
        )
        source = str(folder / "manifest.jsonl")
        # Drawn people: their key points are known exactly, and no detector is asked about them.
        options += ["pose=sidecar", "face=keypoints"]
    options.append(f"size={size}")
    run_step(
        "Videos to shards", "preprocessing.run", [f"input={source}", f"output={shards}", f"workers={workers}", *options]
    )
    clip = held_out(shards)
    training = [f"data.shards={shards}", f"run={run}", f"trainer.max_steps={steps}"]
    run_step("Training SMGA", "trainers.fit", ["--config", str(config), *training], threads=workers)
    if not _newer(run / "evaluation" / "figures.json", run / "export" / "model.safetensors"):
        run_step(
            "Measuring it beside the baselines",
            "trainers.evaluate",
            [f"run={run}", f"clips={MEASURED}"],
            threads=workers,
        )
    speech, pose, picture = speech_and_person(shards, clip, output)
    result = output / "generated.mp4"
    # The picture says what shape the video has; a pose alone is drawn on a square.
    person = [f"image={image}"] if image else [f"pose={pose}", *([f"image={picture}"] if picture else [])]
    words = [f"run={run}", *person, f"audio={audio or speech}", f"out={result}"]
    run_step("Speech to a pose video", "trainers.animate", words, threads=workers)
    show_in_report(run, result)
    run_step("Writing the report", "trainers.report", [str(run)])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {shards}  Network: {run / 'export'}  "
        f"Video: {result}  Reports: {shards / 'report.html'}, {run / 'report.html'}"
    )
    return result


def _newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime > than.stat().st_mtime


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    start(demo, argv, "python -m trainers.demo")
