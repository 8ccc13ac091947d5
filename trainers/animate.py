"""A picture and speech to a video: `python -m trainers.animate --run RUN --image IMAGE --audio AUDIO --out OUT.mp4`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datamodules.media.files import MediaError
from settings import ConfigError, build, check, command
from settings.device import device_of
from settings.output import OutputError, check_writable, faults_of
from settings.ranges import Fps
from trainers.record import keys_asked, keys_of, load_tool, tool_of
from trainers.stages import ANIMATORS

if TYPE_CHECKING:
    from trainers.animation.files import Animation

CAN: Final = "animate can use"


def animate(*, run: str, out: Path, fps: Fps | None = None, device: str = "auto", **options: Any) -> "Animation":
    """Turn a picture of a person and a speech file into a video with sound.

    What comes out depends on the network: `mmgt.smga` makes a pose video (MMGT-1, MMGT-22: audio only), with the motion
    masks (OUT.face_hands.mp4, OUT.lips.mp4, OUT.background.mp4) and the poses (OUT.npz) beside it;
    `implicit_motion.motion` moves the picture itself; `implicit_motion.base` moves it as a driving video does;
    `mmgt.video_pose` and `mmgt.video_audio` make it speak and gesture, by the poses of SMGA or others;
    `versa.text_motion` and `versa.audio_motion` make a pose video of the whole body from text and speech, and
    `versa.pose_video` and `versa.audio_video` a video of the person in the picture who speaks and does so. So do the
    further options: `--run RUN --help` shows those of a run. The same inputs and seed give the same files on the same
    machine. The videos say in their metadata that they are AI-generated, by which model and from which files.

    Args:
        run: a run folder, a saved network (export/), or a hub name like owner/name.
        out: the video to write, ending in .mp4.
        fps: of a re-enacted video, 25 where left out; for the other networks only to make sure: an error unless the
            network was trained at so many frames a second.
        device: cpu, cuda, or auto.
        options: those of the network's stage, in `trainers/<system>/system.py`.

    Returns:
        The files' names, how long the video is, and its metadata.

    Raises:
        ConfigError: no such network, or values that make no sense.
        MediaError: a file that cannot be read or used.
    """
    from trainers.run.exports import check_steps, find_export

    export = find_export(run)
    tool = tool_of(ANIMATORS, export.stage, export.name, CAN)
    check({**options, "run": run, "out": out}, keys_of(animate, ANIMATORS, export.stage))
    asked = build(options, tool.options, out=Path(out))
    check_steps(export, options.get("steps"))
    device_of(device)
    check_writable(asked.out)
    return load_tool(tool)(export, fps=fps, device=device).animate(asked)


OPTIONS: Final = keys_of(animate, ANIMATORS)
"""The keys of all stages together."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `animate`; 0, or 2 with one line of explanation."""
    try:
        values = command(keys_asked(argv, OPTIONS, animate, ANIMATORS), argv, prog="python -m trainers.animate")
        with faults_of(Path(values["out"])):
            output = animate(**values)
    except (ConfigError, MediaError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{output.video}  {output.frames / output.fps:.1f} s, {output.frames} frames")
    for path in output.beside:
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
