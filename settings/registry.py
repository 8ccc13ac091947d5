"""Registered names in place of import paths: opening somebody's YAML runs nobody's code."""

import difflib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


class ConfigError(ValueError):
    """A config that cannot be used; the message says which file, which key, and what was meant."""


def nearest(word: str, known: list[str], elsewhere: Mapping[str, str] = {}) -> str:
    """A hint for a word that is not known: the nearest one, or all of them.

    Args:
        word: what was written.
        known: what could have been.
        elsewhere: words that would be right in another place, with that place.
    """
    close = difflib.get_close_matches(word, [*known, *elsewhere], 1, cutoff=0.5)
    return (
        f"did you mean '{elsewhere.get(close[0], close[0])}'?"
        if close
        else f"known: {', '.join(sorted(known)) or 'none'}"
    )


def imported(place: str) -> Any:
    """What stands at "package.module:attribute"."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Names:
    """Names of one kind of part, each imported only when it is asked for.

    Args:
        kind: what the parts are, for messages ("optimizer").
        parts: name to "package.module:attribute".
    """

    def __init__(self, kind: str, parts: Mapping[str, str]):
        self.kind = kind
        self._parts: dict[str, Any] = dict(parts)

    def names(self) -> list[str]:
        """All registered names, in order of registration."""
        return list(self._parts)

    def add(self, name: str, part: Any) -> None:
        """Register a class or function, or its "package.module:attribute"; a taken name is an error."""
        if name in self._parts:
            raise ConfigError(f"{self.kind} '{name}' is registered already")
        self._parts[name] = part

    def get(self, name: str) -> Any:
        """The class or function of a name. Raises ConfigError with the nearest name."""
        if name not in self._parts:
            raise ConfigError(f"unknown {self.kind} '{name}'; {nearest(name, self.names())}")
        part = self._parts[name]
        if isinstance(part, str):
            part = self._parts[name] = imported(part)
        return part


@dataclass(frozen=True)
class Choice:
    """Marks a parameter as "one part of a registry, with its own options": `Annotated[dict, Choice(OPTIMIZERS)]`."""

    registry: Names


class Section:
    """Marks a parameter as "a section with the keys of that signature": `Annotated[dict, Section(SMGA)] = DEFAULTS`.

    Args:
        target: class or function whose keyword-only parameters are the keys.
        given: those that the code gives: no keys of the config.
        defaults: where the config's differ from the signature's.
    """

    def __init__(self, target: Callable[..., Any], *, given: tuple[str, ...] = (), **defaults: Any):
        self.target, self.given, self.defaults = target, given, defaults
        self._same = (target, given, tuple(defaults.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Section) and self._same == other._same

    def __hash__(self) -> int:
        return hash(self._same)


DEFAULTS: Final[Any] = MappingProxyType({})
"""A section of which nothing is set."""
