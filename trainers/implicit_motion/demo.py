"""A picture that speaks, in one command: videos to square shards to implicit motion's networks to an mp4, with figures.

`python -m trainers.demo_portrait` makes its own synthetic speakers; `videos=FOLDER image=ME.png audio=SPEECH.wav` takes
yours. Nothing is downloaded.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from settings.ranges import Count, Whole
from trainers.demos.square import square_person, square_shards
from trainers.demos.steps import check_files, held_out, run_step, show_in_report, start, train


def demo_portrait(
    *,
    output: Path = Path("demo-portrait"),
    videos: str | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    workers: Whole = 2,
    base_steps: Count = 2000,
    motion_steps: Count = 1500,
) -> Path:
    """Go the whole way; what is finished already is not done again. About 25 minutes on two cores.

    The networks are the tiny ones: 64 x 64 pixels, which is enough to see whether lips and head follow the speech. The
    picture should show a person of the videos: from a few people nobody learns what others look like.

    Args:
        output: folder for everything.
        videos: folder, glob or manifest of your own videos; none makes synthetic speakers.
        image: picture that is to speak; none takes the first frame of a clip that training does not see.
        audio: speech; none takes that clip's own.
        speakers: synthetic speakers to make.
        clips_per_speaker: videos of each.
        workers: processes for rendering and preprocessing, threads for training.
        base_steps: training steps of the base network, of both of its optimisers together.
        motion_steps: training steps of the motion diffusion.

    Returns:
        The generated mp4.
    """
    started = time.monotonic()
    check_files(image=image, audio=audio)
    output.mkdir(parents=True, exist_ok=True)
    features, base, motion = (output / name for name in ("features", "base", "motion"))
    shards = square_shards(output, videos, speakers, clips_per_speaker, workers)
    clip = held_out(shards)

    train("Training the base network (frames)", "implicit_motion/base", base, shards, base_steps, workers)
    run_step(
        "Its motion features of every frame", "preprocessing.features",
        [f"input={shards}", f"output={features}", f"network={base}"], threads=workers,
    )  # fmt: skip
    known = f"stage.base={base}"
    train("Training speech to motion", "implicit_motion/motion", motion, features, motion_steps, workers, known)
    speech, portrait, where = square_person(shards, clip, output, image)
    result = output / "generated.mp4"
    words = [f"run={motion}", f"image={portrait}", f"audio={audio or speech}", f"out={result}", "size=256"]
    words += ["crop=none", *where]
    run_step("Making the picture speak", "trainers.animate", words, threads=workers)
    for run in (base, motion):
        more = [f"data={shards}", "clips=4"] if run == base else ["clips=8"]
        run_step(f"Measuring {run.name}", "trainers.evaluate", [f"run={run}", *more], threads=workers)
    show_in_report(motion, result)
    for run in (base, motion):
        run_step(f"Writing the report of {run.name}", "trainers.report", [str(run)])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {shards}  Networks: {base / 'export'}, "
        f"{motion / 'export'}  Video: {result}  Reports: {shards / 'report.html'}, {base / 'report.html'}, "
        f"{motion / 'report.html'}"
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    start(demo_portrait, argv, "python -m trainers.demo_portrait")
