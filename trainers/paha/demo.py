"""A picture and speech to a video by UniVDM, guided by classifiers that learnt from its own mistakes, in one command.

`python -m trainers.demo_paha` makes its own synthetic speakers; `videos=FOLDER image=ME.png audio=SPEECH.wav` takes
yours. Nothing is downloaded.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from settings.ranges import Count, Whole
from trainers.demos.latents import latent_frames
from trainers.demos.square import square_person
from trainers.demos.steps import check_files, held_out, run_step, show_in_report, start, train
from trainers.evaluation.comparison import FEWEST

STEPS: Final = 6  # of denoising, where clips are made to be measured, or to learn from
SHOWN: Final = 12  # of denoising, for the videos that are shown
FRAMES: Final = 18  # of a pair
ROUNDS: Final = 3  # pairs of a clip
SECONDS: Final = 1.6  # of a clip that is measured
REGIONS: Final = ("face", "nonface")


def demo_paha(
    *,
    output: Path = Path("demo-paha"),
    videos: str | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    workers: Whole = 2,
    autoencoder_steps: Count = 500,
    univdm_steps: Count = 600,
    classifier_steps: Count = 400,
) -> Path:
    """Go the whole way; what is finished already is not done again.

    An autoencoder of the frames, their latents, UniVDM, pairs of filmed clips and of what it makes of other clips'
    speech, a classifier of the face and one of the rest, then one picture and speech to a video, with their guidance
    and without. The networks are the tiny ones, 64 x 64 pixels.

    Args:
        output: folder for everything.
        videos: folder, glob or manifest of your own videos; none makes synthetic speakers.
        image: picture that is to speak; none takes the first frame of a clip that training does not see.
        audio: speech; none takes that clip's own.
        speakers: synthetic speakers to make.
        clips_per_speaker: videos of each.
        workers: processes for rendering and preprocessing, threads for training.
        autoencoder_steps: training steps of the autoencoder.
        univdm_steps: of UniVDM.
        classifier_steps: of each classifier.

    Returns:
        The guided mp4.
    """
    started = time.monotonic()
    check_files(image=image, audio=audio)
    output.mkdir(parents=True, exist_ok=True)
    univdm, pairs = output / "univdm", output / "pairs"
    judges = {region: output / f"pce_{region}" for region in REGIONS}
    found = latent_frames(output, videos, speakers, clips_per_speaker, workers, autoencoder_steps)
    clip = held_out(found.shards)
    known = [f"stage.autoencoder={found.autoencoder}"]
    known_people = ["where={split: [train, val, test]}"] if clip[0] == "test" else []
    train(
        "Training UniVDM, picture and speech to video",
        "paha/univdm",
        univdm,
        found.latents,
        univdm_steps,
        workers,
        *known,
    )
    run_step(
        "Pairs of filmed and generated clips", "preprocessing.negatives",
        [f"run={univdm}", f"input={found.latents}", f"output={pairs}", f"steps={STEPS}"]
        + [f"lengths=[{FRAMES}]", f"pairs_per_clip={ROUNDS}", *known_people],
        threads=workers,
    )  # fmt: skip
    for region, run in judges.items():
        train(
            f"Training the classifier: {region}", f"paha/pce_{region}", run, pairs, classifier_steps, workers,
            f"stage.univdm={univdm}",
        )  # fmt: skip
    speech, picture, where = square_person(found.shards, clip, output, image)
    guiding = [f"pce_{region}={run}" for region, run in judges.items()]
    words = [f"run={univdm}", f"image={picture}", f"audio={audio or speech}", f"steps={SHOWN}", *where]
    plain, result = output / "plain.mp4", output / "guided.mp4"
    run_step("A picture and speech to a video", "trainers.animate", [*words, f"out={plain}"], threads=workers)
    run_step(
        "The same, guided by both classifiers", "trainers.animate",
        [*words, f"out={result}", "guide=dg", *guiding],
        threads=workers,
    )  # fmt: skip
    split = ["splits=[test]"] if clip[0] == "test" else []
    for region, run in judges.items():
        run_step(
            f"Measuring the classifier: {region}", "trainers.evaluate",
            [f"run={run}", f"data={pairs}", "seeds=[0]", *split],
            threads=workers,
        )  # fmt: skip
    run_step(
        "Measuring UniVDM, with guidance and without", "trainers.evaluate",
        [f"run={univdm}", f"data={found.latents}", f"clips={FEWEST}", f"seconds={SECONDS}", f"steps={STEPS}"]
        + ["seeds=[0]", "guides=[none,sg,dg]", *guiding, *split],
        threads=workers,
    )  # fmt: skip
    for video in (plain, result):
        show_in_report(univdm, video)
    for run in (found.autoencoder, univdm, *judges.values()):
        run_step(f"Writing the report of {run.name}", "trainers.report", [str(run)])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {found.shards}  Pairs: {pairs}  Networks: "
        f"{found.autoencoder / 'export'}, {univdm / 'export'}, {judges['face'] / 'export'}, "
        f"{judges['nonface'] / 'export'}  Videos: {plain}, {result}  Report: {univdm / 'report.html'}"
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    start(demo_paha, argv, "python -m trainers.demo_paha")
