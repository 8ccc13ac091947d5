"""A picture, speech and texts to a video whose person speaks and acts as told, in one command: all of VersaAnimator.

`python -m trainers.demo_versa_video` makes its own actors; `videos=FOLDER image=ME.png audio=SPEECH.wav` takes yours.
Nothing is downloaded.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datamodules.media.files import SAMPLE_RATE, read_audio
from settings.ranges import Count, Whole
from trainers.demos.latents import latent_frames
from trainers.demos.square import Drawn, square_person
from trainers.demos.steps import check_files, held_out, run_step, show_in_report, start, train
from trainers.evaluation.comparison import FEWEST
from trainers.versa.demo import TEXTS, demo_versa, speech_and_person

SIDE: Final = 96  # pixels of the square frames that the tiny networks make: the eyes of a head are four high
ACTORS: Final = Drawn(
    "Making synthetic actors", "preprocessing.synthetic_actors", SIDE,
    ("quality.min_loudness=-90", "quality.require_speech=false"),  # some act and do not speak
)  # fmt: skip
PICTURES: Final = ("stage.crop=48", "stage.region_weight=2", "data.batch_size=8")
"""Options of the autoencoder: of parts of frames it learns the colours of clothes, too."""
SCALE: Final = "half"  # of the actor whose first frame is the picture
STEPS: Final = 6  # of denoising, where clips are made to be measured
SHOWN: Final = 12  # of denoising, for the video that is shown


def demo_versa_video(
    *,
    output: Path = Path("demo-versa-video"),
    videos: str | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    motion: Path | None = None,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    workers: Whole = 2,
    autoencoder_steps: Count = 1200,
    pose_steps: Count = 700,
    audio_steps: Count = 600,
) -> Path:
    """Go the whole way; what is finished already is not done again.

    The motion half first (`trainers.demo_versa`), then an autoencoder of the frames, their latents and faces, poses to
    video, speech and the face into the video, and one picture, speech and texts to a video. The networks are the tiny
    ones, 96 x 96 pixels.

    Args:
        output: folder for everything.
        videos: folder, glob or manifest of your own videos; none makes actors who speak and act, as heads, half bodies
            and whole bodies.
        image: picture that is to speak; none takes the first frame of a clip that training does not see.
        audio: speech; none takes eight seconds that training does not hear.
        motion: folder of a finished `trainers.demo_versa`; none makes it, in `OUTPUT/motion`.
        speakers: actors to make.
        clips_per_speaker: videos of each.
        workers: processes for rendering and preprocessing, threads for training.
        autoencoder_steps: training steps of the autoencoder.
        pose_steps: of poses to video.
        audio_steps: of speech and the face into it.

    Returns:
        The mp4.
    """
    started = time.monotonic()
    check_files(image=image, audio=audio)
    output.mkdir(parents=True, exist_ok=True)
    if motion is None:
        motion = output / "motion"
        demo_versa(output=motion, workers=workers)
    pose, speaking, faces = (output / name for name in ("pose_video", "audio_video", "faces"))
    found = latent_frames(
        output, videos, speakers, clips_per_speaker, workers, autoencoder_steps, ACTORS, SIDE, PICTURES
    )
    shards, latents, autoencoder = found.shards, found.latents, found.autoencoder
    clip = held_out(shards, None if videos else SCALE)
    run_step(
        "Whose face every frame shows", "preprocessing.features",
        [f"input={latents}", f"output={faces}", "writer=identity", "network=colours"],
        threads=workers,
    )  # fmt: skip
    known = [f"stage.autoencoder={autoencoder}"]
    train("Training poses to video", "versa/pose_video", pose, faces, pose_steps, workers, *known)
    known.append(f"stage.base={pose}")
    train("Training speech and face into the video", "versa/audio_video", speaking, faces, audio_steps, workers, *known)
    _, picture, where = square_person(shards, clip, output, image)
    speech = audio or speech_and_person(motion / "shards", motion)[0]
    result = output / "generated.mp4"
    told = [word for text in texts_within(len(read_audio(speech)) / SAMPLE_RATE) for word in ("--text", text)]
    words = [f"run={speaking}", f"motion={motion / 'audio_motion'}", f"bank={motion / 'bank'}", f"image={picture}"]
    words += [f"audio={speech}", f"out={result}", f"steps={SHOWN}", *where, *told]
    run_step("A picture, speech and texts to a video", "trainers.animate", words, threads=workers)
    split = ["splits=[test]"] if clip[0] == "test" else []  # of people that training saw
    for run in (pose, speaking):
        asked = [f"run={run}", f"data={faces}", f"clips={FEWEST}", "seconds=1.2", f"steps={STEPS}", "seeds=[0]"]
        run_step(f"Measuring {run.name}", "trainers.evaluate", [*asked, *split], threads=workers)
    show_in_report(speaking, result)
    for run in (autoencoder, pose, speaking):
        run_step(f"Writing the report of {run.name}", "trainers.report", [str(run)])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {faces}  Networks: {autoencoder / 'export'}, "
        f"{pose / 'export'}, {speaking / 'export'}, {motion}/*/export  Video: {result}  Report: "
        f"{speaking / 'report.html'}"
    )
    return result


def texts_within(seconds: float) -> list[str]:
    """Those of the demo's texts that end before speech of a length does; a text reaching beyond it would be refused."""
    return [text for text in TEXTS if float(text.partition(" s:")[0].partition("-")[2]) <= seconds]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    start(demo_versa_video, argv, "python -m trainers.demo_versa_video")
