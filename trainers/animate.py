"""A picture and speech to a video: `python -m trainers.animate --run RUN --image IMAGE --audio AUDIO --out OUT.mp4`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datamodules.media.files import MediaError
from settings import ConfigError, command
from settings.device import device_of
from settings.output import OutputError, check_writable, faults_of
from settings.ranges import Count, Fps, NonNegative, Number, Pixels, Positive, Seed
from trainers.stages import ANIMATORS

if TYPE_CHECKING:
    from trainers.animation.files import Animation


def animate(
    *,
    run: str,
    out: Path,
    image: Path | None = None,
    audio: Path | None = None,
    video: Path | None = None,
    pose: Path | None = None,
    base: str | None = None,
    crop: Literal["person", "centre", "none"] | None = None,
    beta: Number | None = None,
    relative: bool | None = None,
    batch: Count | None = None,
    half: bool | None = None,
    seed: Seed = 0,
    steps: Count | None = None,
    guidance: NonNegative | None = None,
    text: list[str] | None = None,
    seconds: Positive | None = None,
    tokenizer: str | None = None,
    bank: str | None = None,
    speech: str | None = None,
    size: Pixels | None = None,
    fps: Fps | None = None,
    device: str = "auto",
) -> "Animation":
    """Turn a picture of a person and a speech file into a video with sound.

    What comes out depends on the network: `mmgt.smga` makes a pose video (MMGT-1, MMGT-22: audio only), with the motion
    masks (OUT.face_hands.mp4, OUT.lips.mp4, OUT.background.mp4) and the poses (OUT.npz) beside it;
    `implicit_motion.motion` moves the picture itself; `implicit_motion.base` moves it as a driving video does;
    `versa.text_motion` and `versa.audio_motion` make a pose video of the whole body from text and speech. The same
    inputs and seed give the same files on the same machine. The videos say in their metadata that they are
    AI-generated, by which model and from which files.

    Args:
        run: a run folder, a saved network (export/), or a hub name like owner/name.
        out: the video to write, ending in .mp4.
        image: a picture that shows one person from the front.
        audio: speech of any length, in any format and rate; mixed to mono. With a driving video it takes the place of
            that one's sound.
        video: a driving video whose movement the picture takes over (implicit_motion.base).
        pose: where the person in the picture is, instead of looking for them: npz of a clip's pose.npz or of DWPose;
            its first frame with a person counts. For mmgt.smga it is the first pose, and no picture is needed; the
            video has the shape that an array `size` (height, width) in the file tells, or the clip.json or the video of
            the same name beside it; else it is square, which is said.
        base: the base network that a network of implicit_motion.motion was trained on; left out, as its run says.
        crop: how a picture is cut square: around the person, from the centre, or not at all (it is square already);
            left out, around the person.
        beta: articulation, the factor of negative features (IM-9); left out, the network's own.
        relative: take over how the driving video departs from its own first frame, not its poses themselves.
        batch: frames rendered at once; left out, 16.
        half: half precision (float16 on a GPU, bfloat16 on a CPU).
        seed: of the noise; another seed gives another performance.
        steps: denoising steps; left out, the network's own (50 unless its config says otherwise).
        guidance: weight of classifier-free guidance, 1 is none; left out, the network's own.
        text: what the person does, as "0-2 s: waves the right hand" for a span or without one for all of the time; may
            be given several times (versa.text_motion, versa.audio_motion).
        seconds: length of the motion; left out, that of the audio, or the end of the last span of text.
        tokenizer: the motion tokenizer that a network of versa was trained on; left out, as its run says.
        bank: a token2pose bank (`python -m preprocessing.bank`), for real poses with faces and hands; left out, the
            motion's joints are projected, and face and hands are the picture's own.
        speech: folder or hub name of the pretrained speech network that a network listens to the layers of: the one
            that preprocessing was told (mmgt.smga, versa.audio_motion); networks of hand-crafted features need none.
        size: longer side of the video in pixels; left out, that of the picture or of the pose file's frames for poses
            (at most 1024, or 512 where neither is known), and the network's own for pictures.
        fps: of a re-enacted video, 25 where left out; for the other networks only to make sure: an error unless the
            network was trained at so many frames a second.
        device: cpu, cuda, or auto.

    Returns:
        The files' names, how long the video is, and its metadata.

    Raises:
        ConfigError: no such network, or values that make no sense.
        MediaError: a file that cannot be read or used.
    """
    from trainers.animation.wanted import Wanted
    from trainers.run.exports import check_steps, find_export

    export = find_export(run)
    if export.stage not in ANIMATORS.names():
        raise ConfigError(
            f"{export.name} is a network of {export.stage}; animate can use: {', '.join(ANIMATORS.names())}"
        )
    wanted = Wanted(
        out=Path(out),
        seed=seed,
        size=size,
        image=_path(image),
        audio=_path(audio),
        pose=_path(pose),
        video=_path(video),
        base=base,
        crop=crop,
        beta=beta,
        relative=relative,
        batch=batch,
        half=half,
        steps=steps,
        guidance=guidance,
        text=text,
        seconds=seconds,
        tokenizer=tokenizer,
        bank=bank,
        speech=speech,
    )
    kind = ANIMATORS.get(export.stage)
    wanted.check(kind.takes, export.stage)
    check_steps(export, steps)
    device_of(device)
    check_writable(wanted.out)
    return kind(export, fps=fps, device=device).animate(wanted)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `animate`; 0, or 2 with one line of explanation."""
    values = command(animate, argv, prog="python -m trainers.animate")
    try:
        with faults_of(Path(values["out"])):
            made = animate(**values)
    except (ConfigError, MediaError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{made.video}  {made.frames / made.fps:.1f} s, {made.frames} frames")
    for path in made.beside:
        print(path)
    return 0


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)


if __name__ == "__main__":
    raise SystemExit(main())
