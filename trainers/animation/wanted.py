"""What `trainers.animate` was asked for, as it was given."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal

from settings import ConfigError

Crop = Literal["person", "centre", "none"]
ALWAYS: Final = frozenset({"out", "seed", "size"})


@dataclass(frozen=True)
class Wanted:
    """The arguments of `animate` that an animator may use; what was left out is None."""

    out: Path
    seed: int = 0
    size: int | None = None
    image: Path | None = None
    audio: Path | None = None
    pose: Path | None = None
    video: Path | None = None
    base: str | None = None
    crop: Crop | None = None
    beta: float | None = None
    relative: bool | None = None
    batch: int | None = None
    half: bool | None = None
    steps: int | None = None
    guidance: float | None = None
    text: list[str] | None = None
    seconds: float | None = None
    tokenizer: str | None = None
    bank: str | None = None
    speech: str | None = None

    def check(self, takes: frozenset[str], stage: str) -> None:
        """Raises ConfigError for what a stage's animator does not take, or values that make no sense anywhere."""
        given = [one.name for one in fields(self) if getattr(self, one.name) is not None]
        foreign = [name for name in given if name not in takes | ALWAYS]
        if foreign:
            raise ConfigError(
                f"{foreign[0]}={getattr(self, foreign[0])} means nothing to a network of {stage}; it takes "
                f"{', '.join(one.name for one in fields(self) if one.name in takes | ALWAYS)}"
            )
        if self.out.suffix.lower() != ".mp4":
            raise ConfigError(f"out={self.out}: has to end in .mp4")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps={self.steps}: at least 1 denoising step is needed")
        if self.size is not None and not 32 <= self.size <= 8192:
            raise ConfigError(f"size={self.size}: the longer side of the video is from 32 to 8192 pixels")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ConfigError(f"seconds={self.seconds:g}: the motion has to be longer than nothing")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch={self.batch}: at least 1 frame has to be made at once")
