"""The schema of a config is a typed signature: of a class, a function or a dataclass.

Keyword-only parameters are config keys; positional ones are given by the code (where a signature has no keyword-only
parameter at all, every parameter is a key). The docstring's `Args:` (or `Attributes:`) section says what each means.
"""

import dataclasses
import inspect
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import PurePath
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from settings.registry import Choice, ConfigError, Section, nearest

REQUIRED: Final = inspect.Parameter.empty
_LAX: Final = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True, allow_inf_nan=False)
Origins = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Key:
    """One config key: its type, its default (or REQUIRED) and what it means."""

    hint: Any
    default: Any
    meaning: str


class Joined:
    """Keys of several signatures as one: a command's own, and those of what it turns out to be for.

    Args:
        first: gives the name and the help; where two have a key of one name, the earlier one's counts.
        others: the other signatures.
        elsewhere: keys that are none here, and why.
    """

    def __init__(self, first: Callable[..., Any], *others: Any, elsewhere: Mapping[str, str] | None = None):
        self.parts, self.elsewhere = (first, *others), elsewhere or {}
        self.__name__, self.__doc__ = first.__name__, first.__doc__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Joined) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


Target = Callable[..., Any] | Section | Joined
"""What has config keys."""


@cache
def keys(target: Target) -> dict[str, Key]:
    """The config keys of a class, function, dataclass, section or several of them, in order."""
    if isinstance(target, Joined):
        found: dict[str, Key] = {}
        for part in target.parts:
            found |= {name: key for name, key in keys(part).items() if name not in found}
        return found
    if isinstance(target, Section):
        found = {name: key for name, key in keys(target.target).items() if name not in target.given}
        changed = {name: dataclasses.replace(found[name], default=value) for name, value in target.defaults.items()}
        return found | changed
    function = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY] or [
        p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    hints = _hints(target, {p.name: p.annotation for p in named if p.annotation is not p.empty})
    meanings = _meanings(target)
    factories = (
        {f.name: f.default_factory for f in dataclasses.fields(target)} if dataclasses.is_dataclass(target) else {}
    )
    found = {}
    for parameter in named:
        default = parameter.default
        factory = factories.get(parameter.name, dataclasses.MISSING)
        if factory is not dataclasses.MISSING:
            default = factory()
        found[parameter.name] = Key(hints.get(parameter.name, Any), default, meanings.get(parameter.name, ""))
    return found


def _hints(target: Callable[..., Any], annotations: dict[str, Any]) -> dict[str, Any]:
    """Resolve the annotations of keys alone: others may name what is imported for type checkers only."""
    holder = type("Annotations", (), {"__annotations__": annotations})
    return typing.get_type_hints(holder, vars(sys.modules[target.__module__]), include_extras=True)


def check(
    values: Mapping[str, Any],
    target: Target,
    source: str = "config",
    origins: Origins = {},
    missing: Any = REQUIRED,
) -> dict[str, Any]:
    """Check values against a signature and fill in every default.

    Args:
        values: nested plain values.
        target: the class, function, dataclass or section they are for.
        source: what to call the place they come from, where `origins` does not say.
        origins: dotted key to the file (or "command line") that set it.
        missing: stands for a required key that is not set; REQUIRED makes it an error.

    Returns:
        Plain nested values with all defaults, fit for YAML.

    Raises:
        ConfigError: an unknown key, a missing one or a wrong type; names file, key and the nearest valid key.
    """
    return _section(values, target, "", source, origins, missing)


def build(values: Mapping[str, Any], target: Callable[..., Any], **extra: Any) -> Any:
    """Call a target with checked values; nested dataclasses are built, a `Choice` stays a dict with its name."""
    rest = {k: v for k, v in values.items() if k not in extra}
    resolved = check(rest, Section(target, given=tuple(extra)))
    arguments = {}
    for name, key in keys(target).items():
        if name in extra:
            continue
        arguments[name] = _construct(resolved[name], key.hint)
    return target(**arguments, **extra)


def choice_of(hint: Any) -> Choice | None:
    """The `Choice` in a type, also where it is optional; None if there is none."""
    if typing.get_origin(hint) is typing.Annotated:
        return next((m for m in hint.__metadata__ if isinstance(m, Choice)), None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((c for c in map(choice_of, typing.get_args(hint)) if c), None)
    return None


def list_choice_of(hint: Any) -> Choice | None:
    """The `Choice` of a list's items; None if the type is no such list."""
    if typing.get_origin(hint) is list:
        return choice_of(typing.get_args(hint)[0])
    return None


def section_of(hint: Any) -> Any:
    """The dataclass or `Section` in a type, also where it is optional; None if there is none."""
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) is typing.Annotated:
        return next((mark for mark in hint.__metadata__ if isinstance(mark, Section)), None)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((a for a in typing.get_args(hint) if isinstance(a, type) and dataclasses.is_dataclass(a)), None)
    return None


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _section(
    values: Any, target: Any, where: str, source: str, origins: Origins, missing: Any = REQUIRED
) -> dict[str, Any]:
    known = keys(target)
    if not isinstance(values, Mapping):
        raise _error(source, origins, where, f"needs keys of its own ({', '.join(known) or 'none'}), got {values!r}")
    for key in values:
        if key not in known:
            sections = {name: s for name, each in known.items() if isinstance(s := section_of(each.hint), Section)}
            inside = {each: f"{name}.{each}" for name, section in sections.items() for each in keys(section)}
            if isinstance(target, Joined) and key in target.elsewhere:
                hint = target.elsewhere[key]
            elif moved := [f"{_join(where, inside[each])}={values[each]}" for each in values if each in inside]:
                hint = f"stands in a section now: write {' '.join(moved)}"
            else:
                hint = f"unknown key of {_title(target)}; {nearest(str(key), list(known), inside)}"
            raise _error(source, origins, _join(where, str(key)), hint)
    resolved = {}
    for name, key in known.items():
        path = _join(where, name)
        if name in values:
            value = values[name]
        elif key.default is REQUIRED:
            if section_of(key.hint):
                value = {}
            elif missing is not REQUIRED:
                resolved[name] = missing
                continue
            else:
                raise _error(source, origins, path, f"is required by {_title(target)} and not set; give {path}=...")
        else:
            value = key.default
        resolved[name] = _value(value, key, path, source, origins, missing)
    return resolved


def _value(value: Any, key: Key, path: str, source: str, origins: Origins, missing: Any) -> Any:
    hint = key.hint
    section = section_of(hint)
    if value is None and (_optional(hint) or key.default is None):
        return None
    if (choice := choice_of(hint)) is not None:
        return _chosen(value, choice, path, source, origins, missing)
    if (choice := list_choice_of(hint)) is not None:
        items = value if isinstance(value, (list, tuple)) else [value]
        return [_chosen(item, choice, f"{path}.{i}", source, origins, missing) for i, item in enumerate(items)]
    if section is not None:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        elif isinstance(value, Mapping) and dataclasses.is_dataclass(key.default) and not isinstance(key.default, type):
            value = {f.name: getattr(key.default, f.name) for f in dataclasses.fields(key.default)} | dict(value)
        return _section(value, section, path, source, origins, missing)
    return plain(_convert(_word(value, hint), hint, path, source, origins))


def _word(value: Any, hint: Any) -> Any:
    """A bare off or on, which YAML reads as false or true, where the hint has it as a word."""
    words = {False: "off", True: "on"}
    return words[value] if isinstance(value, bool) and words[value] in typing.get_args(hint) else value


def _chosen(value: Any, choice: Choice, path: str, source: str, origins: Origins, missing: Any) -> dict[str, Any]:
    registry = choice.registry
    if "off" in registry.names():
        # YAML reads a bare off as false.
        value = "off" if value is False else value
        value = {**value, "name": "off"} if isinstance(value, Mapping) and value.get("name") is False else value
    options = {"name": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise _error(
            source, origins, path, f"needs the name of a {registry.kind} ({', '.join(registry.names())}), got {value!r}"
        )
    try:
        part = registry.get(options["name"])
    except ConfigError as error:
        raise _error(source, origins, path, str(error)) from None
    rest = {k: v for k, v in options.items() if k != "name"}
    return {"name": options["name"], **_section(rest, part, path, source, origins, missing)}


def _convert(value: Any, hint: Any, path: str, source: str, origins: Origins) -> Any:
    if isinstance(value, bool) and not takes_bool(hint):
        raise _error(source, origins, path, f"should be {type_name(hint)}, got {str(value).lower()}")
    if not _finite(value):
        raise _error(source, origins, path, f"should be a finite number, got {value!r}")
    try:
        return TypeAdapter(hint, config=_LAX).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise _error(source, origins, path, f"{first['msg']}, got {value!r} (declared as {type_name(hint)})") from None
    except PydanticSchemaGenerationError:
        return value


def takes_bool(hint: Any) -> bool:
    """Whether true and false are values of a type."""
    if typing.get_origin(hint) is typing.Literal:
        return any(isinstance(option, bool) for option in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(takes_bool, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Annotated:
        return takes_bool(typing.get_args(hint)[0])
    return hint not in (int, float)


def _finite(value: Any) -> bool:
    """Whether no number in nested values is NaN or infinite."""
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _construct(value: Any, hint: Any) -> Any:
    section = section_of(hint)
    if isinstance(section, Section):
        return {name: _construct(value[name], key.hint) for name, key in keys(section).items()}
    if section is not None and isinstance(value, Mapping):
        return section(**{name: _construct(value[name], key.hint) for name, key in keys(section).items()})
    if choice_of(hint) is not None or list_choice_of(hint) is not None:
        return value
    return value if value is None else _convert(value, hint, "", "config", {})


def plain(value: Any) -> Any:
    """A value as YAML knows it: paths as text, tuples as lists."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return value


def type_name(hint: Any) -> str:
    """A type as a person would write it."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join("none" if a is type(None) else type_name(a) for a in typing.get_args(hint))
    if choice := choice_of(hint):
        return " | ".join(choice.registry.names())
    if choice := list_choice_of(hint):
        return f"list of {' | '.join(choice.registry.names())}"
    if typing.get_origin(hint) is typing.Annotated:
        return type_name(typing.get_args(hint)[0]) + "".join(f", {each}" for each in bounds_of(hint))
    if inside := typing.get_args(hint):
        names = ", ".join("..." if each is ... else type_name(each) for each in map(_unbounded, inside))
        return f"{typing.get_origin(hint).__name__.lower()}[{names}]"  # type: ignore[union-attr]
    return hint.__name__.lower() if isinstance(hint, type) else re.sub(r"[\w.]+\.", "", str(hint))


def _unbounded(hint: Any) -> Any:
    """A number's type without its bounds, which would be lost among the commas of a list."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def bounds_of(hint: Any) -> list[str]:
    """The bounds of an annotated number in words: "at least 0"."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    marks = [mark for field in getattr(hint, "__metadata__", ()) for mark in getattr(field, "metadata", ())]
    return [f"{word} {getattr(mark, name):g}" for mark in marks for name, word in words.items() if hasattr(mark, name)]


def _meanings(target: Callable[..., Any]) -> dict[str, str]:
    """The `Args:` and `Attributes:` entries of a docstring; a class may have them in its constructor's."""
    sources = [target.__init__, target] if inspect.isclass(target) else [target]  # type: ignore[misc]
    if inspect.isclass(target):
        sources = [*(base for base in reversed(target.__mro__[1:]) if base is not object), *sources]
    found: dict[str, str] = {}
    for source in sources:
        name, inside = None, False
        for line in ((source.__doc__ and inspect.getdoc(source)) or "").splitlines():
            if re.fullmatch(r"(Args|Attributes):", line):
                inside, name = True, None
            elif line and not line.startswith(" "):
                inside = False
            elif inside and (entry := re.match(r"    (\w+(?:, \w+)*)(?: \([^)]*\))?:\s*(.*)", line)):
                for name in entry[1].split(", "):
                    found[name] = entry[2]
            elif inside and name and line.strip():
                found[name] += " " + line.strip()
    return found


def _title(target: Any) -> str:
    return f"'{(target.target if isinstance(target, Section) else target).__name__}'"


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _error(source: str, origins: Origins, path: str, message: str) -> ConfigError:
    place = path
    while place and place not in origins:
        place = place.rpartition(".")[0]
    return ConfigError(f"{origins.get(place, source)}: '{path}' {message}" if path else f"{source}: {message}")
