"""A picture and speech to a video: `python -m trainers.animate --run RUN --image IMAGE --audio AUDIO --out OUT.mp4`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.media import MediaError
from settings import ConfigError, command
from trainers.stages import ANIMATORS

if TYPE_CHECKING:
    from trainers.animation.files import Animation


def animate(
    *,
    run: str,
    audio: Path,
    out: Path,
    image: Path | None = None,
    pose: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    size: int | None = None,
    fps: float | None = None,
    device: str = "auto",
) -> "Animation":
    """Turn a picture of a person and a speech file into a pose video with sound (MMGT-1, MMGT-22: audio only).

    Beside OUT.mp4 it writes the motion masks (OUT.face_hands.mp4, OUT.lips.mp4, OUT.background.mp4) and the poses
    (OUT.npz). The same inputs and seed give the same files on the same machine. The videos say in their metadata that
    they are AI-generated, by which model and from which files.

    Args:
        run: a run folder, a saved network (export/), or a hub name like owner/name.
        audio: speech of any length, in any format and rate; mixed to mono.
        out: the video to write, ending in .mp4.
        image: a picture that shows one person from the front; the first pose is found in it.
        pose: the first pose instead: npz of a clip's pose.npz or of DWPose; its first frame with a person counts.
        seed: of the noise; another seed gives another performance.
        steps: denoising steps; left out, the network's own (50 unless its config says otherwise).
        guidance: weight of classifier-free guidance, 1 is none; left out, the network's own (2).
        size: longer side of the video in pixels; left out, the picture's own (at most 1024), or 512 without one.
        fps: only to make sure: an error unless the network was trained at so many frames a second.
        device: cpu, cuda, or auto.

    Returns:
        The files' names, the poses (T, 134, 3) and the metadata.

    Raises:
        ConfigError: no such network, or values that make no sense.
        MediaError: a file that cannot be read or used.
    """
    from trainers.animation.request import read_request
    from trainers.exports import find_export

    export = find_export(run)
    if export.stage not in ANIMATORS.names():
        raise ConfigError(
            f"{export.name} is a network of {export.stage}; animate can use: {', '.join(ANIMATORS.names())}"
        )
    request = read_request(
        image=_path(image),
        audio=Path(audio),
        pose=_path(pose),
        out=Path(out),
        size=size,
        seed=seed,
        steps=steps,
        guidance=guidance,
    )
    animator = ANIMATORS.get(export.stage)(export, fps=fps, device=device)
    return animator.animate(request)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `animate`; 0, or 2 with one line of explanation."""
    values = command(animate, argv, prog="python -m trainers.animate")
    try:
        made = animate(**values)
    except (ConfigError, MediaError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = len(made.poses) / made.fps
    print(f"{made.video}  {seconds:.1f} s, {len(made.poses)} frames, with sound")
    for path in (*made.masks.values(), made.pose_file):
        print(path)
    return 0


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)


if __name__ == "__main__":
    raise SystemExit(main())
