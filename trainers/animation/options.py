"""Options that animators share: each stage's own are made of these."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from settings import ConfigError
from settings.ranges import Count, NonNegative, Number, Seed

Crop = Literal["person", "centre", "none"]
Side = Annotated[int, Field(ge=32, le=8192)]


@dataclass(frozen=True, kw_only=True)
class AnimateOptions:
    """What every animator takes.

    Args:
        out: the video to write, ending in .mp4.
        seed: of the noise; another seed gives another performance.
        size: longer side of the video in pixels; left out, that of the picture or of the pose file's frames for poses
            (at most 1024, or 512 where neither is known), and the network's own for pictures.
    """

    out: Path
    seed: Seed = 0
    size: Side | None = None

    def __post_init__(self) -> None:
        if self.out.suffix.lower() != ".mp4":
            raise ConfigError(f"out={self.out}: has to end in .mp4")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who is to move.

    Args:
        image: a picture that shows one person from the front.
        pose: where the person in the picture is, instead of looking for them: npz of a clip's pose.npz or of DWPose;
            its first frame with a person counts. Where poses are made it is the first of them, and no picture is
            needed; the video has the shape that an array `size` (height, width) in the file tells, or the clip.json or
            the video of the same name beside it; else it is square, which is said.
    """

    image: Path | None = None
    pose: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Speech:
    """What is said.

    Args:
        audio: speech of any length, in any format and rate; mixed to mono. With a driving video it takes the place of
            that one's sound.
    """

    audio: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The network that speech is heard with.

    Args:
        speech: folder or hub name of the pretrained speech network that a network listens to the layers of: the one
            that preprocessing was told; networks of hand-crafted features need none.
    """

    speech: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How is sampled.

    Args:
        steps: denoising steps; left out, the network's own (50 unless its config says otherwise).
        guidance: weight of classifier-free guidance, 1 is none; left out, the network's own.
    """

    steps: Count | None = None
    guidance: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class Frames:
    """How pictures are cut and frames are rendered.

    Args:
        crop: how a picture is cut square: around the person, from the centre, or not at all (it is square already).
        beta: articulation, the factor of negative features (IM-9); left out, the network's own.
        batch: frames rendered at once.
        half: half precision (float16 on a GPU, bfloat16 on a CPU).
    """

    crop: Crop = "person"
    beta: Number | None = None
    batch: Count = 16
    half: bool = False
