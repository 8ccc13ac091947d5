"""YAML files that extend one another, and `key=value` on top; every key remembers where it was set."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cospeech.shipped import find, presets
from settings.registry import ConfigError
from settings.scalars import RepeatedKey, Scalar, read_yaml, settle
from settings.schema import Target, choice_of, keys, list_choice_of, section_of

COMMAND_LINE = "command line"
_NONE = ("none", "null", "")


def load(path: str | Path | None, overrides: Sequence[str], target: Target) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of a config file, its `extends:` chain and overrides, later ones winning.

    Where a later layer chooses another part by name (`optimizer: {name: adamw}`), the options of the earlier choice go,
    unless both are made by one constructor, to which they mean the same.

    Returns:
        Plain nested values, and for each dotted key the file (or "command line") that set it.
    """
    layers = _files(find(Path(path)), ()) if path is not None else []
    texts, others = _lists_of_text(overrides, target)
    # One layer each: `strategy=ddp strategy.static_graph=true` names a part and then sets its option.
    layers += [(COMMAND_LINE, _parse([item])) for item in _names_first(others)] + [(COMMAND_LINE, texts)]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, layer in layers:
        values = _merge(values, layer, target)
        for key in _paths(layer):
            origins[key] = source
    try:
        resolved = OmegaConf.to_container(OmegaConf.create(values), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path or COMMAND_LINE}: {str(error).splitlines()[0]}") from None
    return resolved, origins  # type: ignore[return-value]


def _files(path: Path, seen: tuple[Path, ...]) -> list[tuple[str, dict[str, Any]]]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: 'extends' goes round in a circle")
    try:
        content = read_yaml(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}, {_presets_like(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a config file") from None
    except RepeatedKey as error:
        raise ConfigError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path} does not hold keys and values")
    bases = settle(content.pop("extends", []), str | list[str])
    layers = []
    for base in [bases] if isinstance(bases, str) else bases:
        layers += _files(path.parent / base, (*seen, path.resolve()))
    return [*layers, (str(path), {str(key): value for key, value in content.items()})]


def _presets_like(path: Path) -> str:
    """What shipped presets there are beside a file that is not there."""
    close = difflib.get_close_matches(str(path.with_suffix("")).removeprefix("configs/"), presets(), 3, cutoff=0.5)
    return (
        f"and no preset of that name; did you mean {' or '.join(close)}?"
        if close
        else ("and no preset of that name (`cospeech configs` lists them)")
    )


def _parse(overrides: Sequence[str]) -> dict[str, Any]:
    for item in overrides:
        if "=" not in item or item.startswith("="):
            raise ConfigError(f"{COMMAND_LINE}: expected key=value, got '{item}'")
    values: dict[str, Any] = {}
    for item in overrides:
        name, _, text = item.partition("=")
        try:
            # A dash alone is standard input or output, not YAML's list of nothing.
            value = text if text == "-" else read_yaml(text)
        except RepeatedKey as error:
            raise ConfigError(f"{COMMAND_LINE}: '{name}' {error}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{COMMAND_LINE}: '{name}' {' '.join(str(error).split())}") from None
        *sections, last = name.split(".")
        inside = values
        for section in sections:
            inside = inside.setdefault(section, {})
        # An empty value is an empty text, or nothing.
        inside[last] = Scalar("", None) if value is None and not text.strip() else value
    return values


def _names_first(overrides: Sequence[str]) -> list[str]:
    """Words in their order, but the name of a part before its options: a name takes away those of another part."""
    ordered: list[str] = []
    for item in overrides:
        name, _, value = item.partition("=")
        options = [place for place, other in enumerate(ordered) if other.startswith(f"{name}.")]
        ordered.insert(options[0] if options and not value.startswith("{") else len(ordered), item)
    return ordered


def _lists_of_text(overrides: Sequence[str], target: Any) -> tuple[dict[str, Any], list[str]]:
    """Values of keys that hold a list of text, each word of the command line one entry as it stands; and the rest.

    `text="0-2 s: waves" text="2-4 s: bows"` gives two. A list in brackets is read as any other value.
    """
    known = keys(target) if target is not None else {}
    texts: dict[str, Any] = {}
    others = []
    for item in overrides:
        name, equals, value = item.partition("=")
        if equals and name in known and holds_texts(known[name].hint) and value[:1] != "[" and value not in _NONE:
            texts.setdefault(name, []).append(value)
        else:
            others.append(item)
    return texts, others


def holds_texts(hint: Any) -> bool:
    """Whether a key's type is a list of text, of which each word of the command line is one entry."""
    return any(part == list[str] for part in (hint, *get_args(hint)))


def _merge(base: Mapping[str, Any], layer: Mapping[str, Any], target: Any) -> dict[str, Any]:
    merged = dict(base)
    known = keys(target) if target is not None else {}
    for name, value in layer.items():
        before = merged.get(name)
        hint = known[name].hint if name in known else None
        if (choice := choice_of(hint)) is not None:
            merged[name] = _merge_choice(before, value, choice.registry, known[name].default)
        elif isinstance(value, Mapping) and (section := section_of(hint)) is not None:
            merged[name] = _merge(before if isinstance(before, Mapping) else {}, value, section)
        elif (each := list_choice_of(hint)) is not None and isinstance(value, list):
            merged[name] = [_merge_choice(None, item, each.registry, None) for item in value]
        else:
            value = settle(value, hint)
            inside = before if isinstance(before, Mapping) else {}
            merged[name] = _merge(inside, value, None) if isinstance(value, Mapping) else value
    return merged


def _merge_choice(before: Any, value: Any, registry: Any, default: Any) -> Any:
    if isinstance(value, Scalar):
        value = value.value if value.value is None else value.text
    elif isinstance(value, Mapping) and "name" in value:
        value = {**value, "name": settle(value["name"], str)}
    if isinstance(before, str) or (before is None and isinstance(default, str)):
        before = {"name": before or default}
    elif before is None and isinstance(default, Mapping):
        before = {"name": default.get("name")}
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        return value
    before = dict(before) if isinstance(before, Mapping) else {}
    if "name" in value and before.keys() - {"name"} and not _alike(registry, value["name"], before.get("name")):
        before = {}
    name = value.get("name", before.get("name"))
    part = registry.get(name) if name in registry.names() else None
    return _merge(before, value, part)


def _alike(registry: Any, one: str, other: Any) -> bool:
    """Whether two names choose parts of the same options: one and the same, or of one constructor."""
    if one == other:
        return True
    parts = [registry.get(name) for name in (one, other) if name in registry.names()]
    return len(parts) == 2 and all(map(inspect.isclass, parts)) and parts[0].__init__ is parts[1].__init__


def _paths(layer: Any, prefix: str = "") -> list[str]:
    if not isinstance(layer, Mapping):
        return []
    found = []
    for name, value in layer.items():
        path = f"{prefix}{name}"
        found += [path, *_paths(value, f"{path}.")]
    return found
