"""Demos whose networks see squares: synthetic speakers, or one's own videos and picture cut around the face."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainers.demos.steps import DemoError, run_step, speech_and_person

FACE: Final = 0.35  # height of the face, brows to chin, as a share of the square's: head and shoulders


@dataclass(frozen=True)
class Drawn:
    """People who are drawn where nobody gives videos of people.

    Attributes:
        title: for people.
        generator: the command that draws them.
        side: of their square videos and of the shards, in pixels.
        kept: further options of preprocessing.
    """

    title: str
    generator: str
    side: int
    kept: tuple[str, ...] = ()


SPEAKERS: Final = Drawn("Making synthetic speakers", "preprocessing.synthetic", 128)


def square_shards(
    output: Path,
    videos: str | None,
    speakers: int,
    clips_per_speaker: int,
    workers: int,
    more: Sequence[str] = (),
    drawn: Drawn = SPEAKERS,
) -> Path:
    """Shards of square videos in a demo's folder.

    Args:
        output: the demo's folder.
        videos: one's own; None draws people.
        speakers, clips_per_speaker: how many of them.
        workers: processes that make them.
        more: further options of what draws them.
        drawn: who is drawn.
    """
    shards = output / "shards"
    source, options = _square_videos(output, videos, speakers, clips_per_speaker, workers, more, drawn)
    run_step(
        "Videos to square shards", "preprocessing.run",
        [f"input={source}", f"output={shards}", f"workers={workers}", *options],
    )  # fmt: skip
    return shards


def square_person(
    shards: Path, clip: tuple[str, str], output: Path, image: Path | None
) -> tuple[Path, Path, list[str]]:
    """The speech of a clip, a picture for it, and the word that says where its person is, where nobody is looked for.

    Args:
        shards: of the clip.
        clip: split and id.
        output: where files are written.
        image: one's own picture, which is cut square; None takes the clip's first frame.

    Raises:
        DemoError: the clip has no video, and no picture is given.
    """
    speech, pose, first = speech_and_person(shards, clip, output)
    if image is not None:
        from trainers.demos.videos import cut_portrait

        return speech, cut_portrait(image, FACE, output / "portrait.png"), []
    if first is None:
        raise DemoError(f"the clips of {shards} have no video")
    return speech, first, [f"pose={pose}"]


def _square_videos(
    output: Path,
    videos: str | None,
    speakers: int,
    clips_per_speaker: int,
    workers: int,
    more: Sequence[str],
    drawn: Drawn,
) -> tuple[str, list[str]]:
    """Where the videos are, and how they are preprocessed; people are drawn where there are none."""
    if videos is not None:
        from trainers.demos.videos import choose_size

        chosen = choose_size(videos, shortest=True)
        print(f"Your videos: {chosen.reason}; they are cut square, with the face {FACE:.0%} of the height", flush=True)
        return videos, [f"size={chosen.side}", f"crop={{name: square, face: {FACE}}}"]
    folder = output / "videos"
    run_step(
        drawn.title, drawn.generator,
        [f"output={folder}", f"speakers={speakers}", f"clips_per_speaker={clips_per_speaker}", f"size={drawn.side}"]
        + [f"workers={workers}", *more],
    )  # fmt: skip
    # Drawn people: their key points are known exactly, and they fill their square already.
    return str(folder / "manifest.jsonl"), [f"size={drawn.side}", "pose=sidecar", "face=keypoints", *drawn.kept]
