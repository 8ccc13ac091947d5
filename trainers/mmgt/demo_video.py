"""A picture and speech to a video by latent diffusion, in one command: all of MMGT's networks, from videos on.

`python -m trainers.demo_video` makes its own synthetic speakers; `videos=FOLDER image=ME.png audio=SPEECH.wav` takes
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

STEPS: Final = 5  # of denoising, where clips are measured: frames take time
SHOWN: Final = 10  # of denoising, for the video that is shown


def demo_video(
    *,
    output: Path = Path("demo-video"),
    videos: str | None = None,
    image: Path | None = None,
    audio: Path | None = None,
    speakers: Count = 4,
    clips_per_speaker: Count = 12,
    workers: Whole = 2,
    autoencoder_steps: Count = 500,
    smga_steps: Count = 700,
    pose_steps: Count = 500,
    audio_steps: Count = 450,
) -> Path:
    """Go the whole way; what is finished already is not done again. Some 22 minutes on two cores.

    An autoencoder of the frames, their latents, SMGA (speech to poses and masks), `mmgt.video_pose` and
    `mmgt.video_audio`, then one picture and speech to a video. The networks are the tiny ones, 64 x 64 pixels.

    Args:
        output: folder for everything.
        videos: folder, glob or manifest of your own videos; none makes synthetic speakers.
        image: picture that is to speak; none takes the first frame of a clip that training does not see.
        audio: speech; none takes that clip's own.
        speakers: synthetic speakers to make.
        clips_per_speaker: videos of each.
        workers: processes for rendering and preprocessing, threads for training.
        autoencoder_steps: training steps of the autoencoder.
        smga_steps: of speech to poses.
        pose_steps: of the video network's first stage.
        audio_steps: of its second.

    Returns:
        The generated mp4.
    """
    started = time.monotonic()
    check_files(image=image, audio=audio)
    output.mkdir(parents=True, exist_ok=True)
    smga, pose, speaking = (output / name for name in ("smga", "video_pose", "video_audio"))
    found = latent_frames(output, videos, speakers, clips_per_speaker, workers, autoencoder_steps)
    shards, latents, autoencoder = found.shards, found.latents, found.autoencoder
    clip = held_out(shards)
    train("Training SMGA, speech to poses", "mmgt/smga", smga, shards, smga_steps, workers)
    known = [f"stage.autoencoder={autoencoder}"]
    train("Training poses to video", "mmgt/video_pose", pose, latents, pose_steps, workers, *known)
    known.append(f"stage.base={pose}")
    train("Training speech into the video", "mmgt/video_audio", speaking, latents, audio_steps, workers, *known)
    speech, picture, where = square_person(shards, clip, output, image)
    result = output / "generated.mp4"
    words = [f"run={speaking}", f"smga={smga}", f"image={picture}", f"audio={audio or speech}", f"out={result}"]
    words += [f"steps={SHOWN}", *where]
    run_step("A picture and speech to a video", "trainers.animate", words, threads=workers)
    split = ["splits=[test]"] if clip[0] == "test" else []  # of people that training saw
    # By true poses, then by speech alone: with moving masks or poses the lips would be told.
    for run, seconds, more in ((pose, 1.2, []), (speaking, 1.6, ["drive=speech_only"])):
        asked = [f"run={run}", f"data={shards}", f"clips={FEWEST}", f"seconds={seconds}", f"steps={STEPS}", "seeds=[0]"]
        run_step(f"Measuring {run.name}", "trainers.evaluate", [*asked, *split, *more], threads=workers)
    show_in_report(speaking, result)
    for run in (autoencoder, smga, pose, speaking):
        run_step(f"Writing the report of {run.name}", "trainers.report", [str(run)])
    print(
        f"\nDone in {(time.monotonic() - started) / 60:.1f} min. Shards: {shards}  Networks: {autoencoder / 'export'}, "
        f"{smga / 'export'}, {pose / 'export'}, {speaking / 'export'}  Video: {result}  Reports: "
        f"{shards / 'report.html'}, {speaking / 'report.html'}"
    )
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the demo."""
    start(demo_video, argv, "python -m trainers.demo_video")
