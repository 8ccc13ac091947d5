"""The videos of demos whose networks see squares: synthetic speakers, or one's own cut around the face."""

from collections.abc import Sequence
from pathlib import Path

from trainers.demos.steps import run_step


def square_videos(
    output: Path,
    videos: str | None,
    speakers: int,
    clips_per_speaker: int,
    workers: int,
    face: float,
    more: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """Where the videos are, and how they are preprocessed; synthetic speakers are made.

    Args:
        output: the demo's folder.
        videos: one's own; None makes synthetic speakers.
        speakers, clips_per_speaker: how many of them.
        workers: processes that make them.
        more: further options of the synthetic speakers.
        face: height of the face, brows to chin, as a share of the square's, in one's own videos.
    """
    if videos is not None:
        from trainers.demos.videos import choose_size

        chosen = choose_size(videos, shortest=True)
        print(f"Your videos: {chosen.reason}; they are cut square, with the face {face:.0%} of the height", flush=True)
        return videos, [f"size={chosen.side}", f"crop={{name: square, face: {face}}}"]
    folder = output / "videos"
    run_step(
        "Making synthetic speakers", "preprocessing.synthetic",
        [f"output={folder}", f"speakers={speakers}", f"clips_per_speaker={clips_per_speaker}", "size=128"]
        + [f"workers={workers}", *more],
    )  # fmt: skip
    # Drawn people: their key points are known exactly, and they fill their square already.
    return str(folder / "manifest.jsonl"), ["size=128", "pose=sidecar", "face=keypoints"]
