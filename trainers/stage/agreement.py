"""Keys that have to agree: what a stage expects of its data is compared with what the data are, before a run begins."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from datamodules.keys import KEYS
from datamodules.shards.samples import WHOLE
from pretrained.hashes import short
from settings import ConfigError

Facts = Mapping[str, Any]
"""What data are, by name (`ClipDataModule.facts`)."""


@dataclass(frozen=True)
class Expected:
    """One thing that a stage and its data have to agree on.

    Attributes:
        fact: name of the data's fact.
        value: what the stage wants it to be.
        setting: the key that says so, and its value, such as "stage.network.fps is 30".
        found: what the data are, in words, with {} for the fact.
        mend: what to change, with {} for the fact.
        fits: whether a fact will do, where it need not be the value itself.
    """

    fact: str
    value: Any
    setting: str
    found: str
    mend: str
    fits: Callable[[Any], bool] | None = None

    def met(self, fact: Any) -> bool:
        """Whether the data are as they should be."""
        return same(fact, self.value) if self.fits is None else self.fits(fact)


class Expecting(Protocol):
    """What `agree` needs to know of a stage."""

    needs: ClassVar[tuple[str, ...]]

    def expects(self) -> Iterable[Expected]: ...


def agree(stage: Expecting, facts: Facts) -> None:
    """Compare a stage with its data; a fact that the data do not tell is passed over.

    Raises:
        ConfigError: they do not agree; the message has both values, and what to change.
    """
    _same_keys(stage.needs, facts)
    for one in stage.expects():
        if one.fact not in facts or one.met(facts[one.fact]):
            continue
        found, mend = (text.format(shown(facts[one.fact])) for text in (one.found, one.mend))
        raise ConfigError(f"{one.setting}, but {found}: {mend}")


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same; numbers up to a thousandth, as frame rates are stored."""
    numbers = (int, float)
    if isinstance(one, numbers) and isinstance(other, numbers):
        return abs(one - other) <= 1e-3
    return bool(one == other)


def shown(value: Any) -> str:
    """A value as it is written on a command line; a hash by its beginning."""
    if isinstance(value, (tuple, list)):
        return "[" + ",".join(map(shown, value)) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return value[:16] if isinstance(value, str) else str(value)


def frame_rate(fps: float, key: str = "stage.network.fps") -> Expected:
    """The clips have to have so many frames a second."""
    return Expected(
        "fps",
        float(fps),
        f"{key} is {fps:g}",
        "the clips of data.shards have {} frames a second",
        f"set {key}={{}}, or make shards with `python -m preprocessing.run fps={fps:g}`",
    )


def window_length(frames: int, key: str = "stage.network.window") -> Expected:
    """The windows have to have so many frames."""
    return Expected(
        "window",
        frames,
        f"{key} is {frames}",
        "data.window (or data.window_seconds, data.windows) gives {} frames",
        f"set both to one number of frames, such as data.window={frames}",
    )


def window_at_least(frames: int, key: str = "stage.network.window") -> Expected:
    """The windows have to have so many frames or more."""
    return Expected(
        "window",
        frames,
        f"{key} is {frames}",
        "data.window (or data.window_seconds, data.windows) gives {} frames",
        f"set data.window={frames} or more",
        fits=lambda window: isinstance(window, int) and window >= frames,
    )


def whole_clips() -> Expected:
    """The windows have to be whole clips."""
    return Expected(
        "window",
        "clip",
        "this stage reads whole clips",
        "data.window (or data.window_seconds, data.windows) gives {} frames",
        "set data.windows=clip",
    )


def picture_size(size: int | tuple[int, int], setting: str) -> Expected:
    """The frames have to have so many pixels: those of a square's side, or height and width."""
    height, width = (size, size) if isinstance(size, int) else size
    return Expected(
        "picture",
        (height, width),
        setting,
        "the clips' frames (height, width) come as {}",
        f"set data.video_size=[{height},{width}] (data.video_fit says how those of another shape are fitted)",
    )


def channels(name: str, value: int, key: str) -> Expected:
    """What a network reads of the clips has to have so many channels.

    Args:
        name: of the network's option.
        value: of it.
        key: of the clips that has them.
    """
    return Expected(
        name,
        value,
        f"stage.network.{name} is {value}",
        f"{key} of data.shards has {{}} channels",
        f"set stage.network.{name}={{}}",
    )


def made_by(key: str, sha256: str, option: str) -> Expected:
    """What a network made of the clips has to come from that very network.

    Args:
        key: of the clips, such as "latents.npz".
        sha256: of the weights of the network that the stage uses.
        option: that names it.
    """
    return Expected(
        f"{KEYS[key].stem}.network",
        sha256,
        f"{option} is a network with the hash {short(sha256)}",
        f"{key} of data.shards was made by {{}}",
        "make it again with `python -m preprocessing.features`, or name the network that made it",
    )


def _same_keys(needs: Iterable[str], facts: Facts) -> None:
    held: Mapping[str, int] = facts.get("keys", {})
    in_place: Mapping[str, str] = facts.get("in_place", {})
    asked = [in_place.get(key, key.removeprefix(WHOLE)) for key in needs]
    missing = [key for key in asked if held and not held.get(key)]
    if missing:
        raise ConfigError(
            f"the stage reads {missing[0]}, but none of the clips of data.shards has it (they have "
            f"{', '.join(held)}); {KEYS[missing[0]].made_by}"
        )
