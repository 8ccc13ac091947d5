"""A picture that speaks, in one command: videos to square shards to implicit motion's networks to an mp4, with figures.

`python -m trainers.demo_portrait` makes its own synthetic speakers; `videos=FOLDER image=ME.png audio=SPEECH.wav` takes
yours. Nothing is downloaded.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cospeech import shipped
from settings import build, command
from settings.ranges import Count, Whole
from trainers.demos.steps import DemoError, held_out, run_step, show_in_report, speech_and_person

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
    source, options = _videos(output, videos, speakers, clips_per_speaker, workers)
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


def _videos(
    output: Path, videos: str | None, speakers: int, clips_per_speaker: int, workers: int
) -> tuple[str, list[str]]:
    """Where the videos are, and how they are preprocessed."""
    crop = f"crop={{name: square, face: {FACE}}}"
    if videos is not None:
        from trainers.demos.videos import choose_size

        chosen = choose_size(videos, shortest=True)
        print(f"Your videos: {chosen.said}; they are cut square, with the face {FACE:.0%} of the height", flush=True)
        return videos, [f"size={chosen.side}", crop]
    folder = output / "videos"
    run_step(
        "Making synthetic speakers", "preprocessing.synthetic",
        [f"output={folder}", f"speakers={speakers}", f"clips_per_speaker={clips_per_speaker}", "size=128"]
        + [f"workers={workers}"],
    )  # fmt: skip
    # Drawn people: their key points are known exactly, and they fill their square already.
    return str(folder / "manifest.jsonl"), ["size=128", "pose=sidecar", "face=keypoints"]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    values: dict[str, Any] = command(demo_portrait, argv, prog="python -m trainers.demo_portrait")
    try:
        build(values, demo_portrait)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        raise SystemExit(1) from None
