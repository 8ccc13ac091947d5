"""What has to hold of the options of a command that makes clips."""

from collections.abc import Iterable
from typing import Any, Protocol

from settings import ConfigError

Rule = tuple[str, bool, str]
"""An option, whether it is good, and what it has to be, in words."""


class Clips(Protocol):
    """Options of clips and of their splits."""

    @property
    def min_clip_seconds(self) -> float: ...

    @property
    def max_clip_seconds(self) -> float: ...

    @property
    def splits(self) -> dict[str, float]: ...


def clip_rules(options: Clips) -> list[Rule]:
    """Lengths of clips, and shares of the splits."""
    least, most, splits = options.min_clip_seconds, options.max_clip_seconds, options.splits
    return [
        ("max_clip_seconds", 0 < most <= 30, "above 0, at most 30, the longest clip there is"),
        ("min_clip_seconds", 0 < least <= most, "above 0, at most max_clip_seconds"),
        ("splits", bool(splits) and min(splits.values()) >= 0, "shares of 0 or more"),
        ("splits", abs(sum(splits.values()) - 1) < 1e-6, "shares that add up to 1 (set all of them)"),
    ]


def check_rules(options: Any, rules: Iterable[Rule]) -> None:
    """Raises ConfigError for the first option that is not as it has to be."""
    for name, good, wanted in rules:
        if not good:
            raise ConfigError(f"'{name}' must be {wanted}, got {getattr(options, name)!r}")
