"""A picture that speaks, in one command: videos to square shards to implicit motion's networks to an mp4, with figures.

`python -m trainers.demo_portrait` makes its own synthetic speakers; `videos=FOLDER image=ME.png audio=SPEECH.wav` takes
yours. Nothing is downloaded.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cospeech import shipped
from settings.ranges import Count, Whole
from trainers.demos.square import square_videos
from trainers.demos.steps import DemoError, held_out, run_step, show_in_report, speech_and_person, start

CONFIGS: Final = shipped.folder("configs") / "implicit_motion"
FACE: Final = 0.35  # height of the face, brows to chin, as a share of the square's: head and shoulders


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
    for name, file in (("image", image), ("audio", audio)):
        if file is not None and not file.is_file():
            raise DemoError(f"{name}={file}: no such file")
    output.mkdir(parents=True, exist_ok=True)
    shards, features, base, motion = (output / name for name in ("shards", "features", "base", "motion"))
    source, options = square_videos(output, videos, speakers, clips_per_speaker, workers, FACE)
    run_step(
        "Videos to square shards", "preprocessing.run",
        [f"input={source}", f"output={shards}", f"workers={workers}", *options],
    )  # fmt: skip
    clip = held_out(shards)

    def train(title: str, name: str, run: Path, data: Path, steps: int, *words: str) -> None:
        config = ["--config", str(CONFIGS / name / "tiny.yaml")]
        own = [f"data.shards={data}", f"run={run}", f"trainer.max_steps={steps}", *words]
        run_step(title, "trainers.fit", [*config, *own], threads=workers)

    train("Training the base network (frames)", "base", base, shards, base_steps)
    run_step(
        "Its motion features of every frame", "preprocessing.features",
        [f"input={shards}", f"output={features}", f"network={base}"], threads=workers,
    )  # fmt: skip
    train("Training speech to motion", "motion", motion, features, motion_steps, f"stage.base={base}")
    speech, pose, first = speech_and_person(shards, clip, output)
    if image is not None:
        from trainers.demos.videos import cut_portrait

        portrait, where = cut_portrait(image, FACE, output / "portrait.png"), ["crop=none"]
    elif first is not None:
        portrait, where = first, [f"pose={pose}", "crop=none"]
    else:
        raise DemoError(f"the clips of {shards} have no video")
    result = output / "generated.mp4"
    words = [f"run={motion}", f"image={portrait}", f"audio={audio or speech}", f"out={result}", "size=256", *where]
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
