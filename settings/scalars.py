"""YAML whose words keep their spelling until the schema says what they are: `007` is a name where a name is wanted."""

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import yaml
from omegaconf._yaml import get_yaml_loader

from settings.registry import Choice

_NONE: Final = ("none", "None")
# What YAML 1.2 and a reader's eye agree on; YAML 1.1 makes numbers of 007, 1_000, 12:30:45 and truth of yes and off.
_PLAIN: Final = re.compile(
    r"true|false|True|False|null|Null|~|[-+]?(0|[1-9]\d*)|[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|"
    r"[-+]?\.(inf|nan|NaN|Inf)|"
)


@dataclass(frozen=True)
class Scalar:
    """A word of a YAML text that is not in quotes and means something else than itself.

    Attributes:
        text: as it is written.
        value: what YAML makes of it.
    """

    text: str
    value: Any


class RepeatedKey(yaml.YAMLError):
    """A key is given twice in one mapping."""


class _Loader(get_yaml_loader()):  # type: ignore[misc]
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        return Scalar(node.value, value) if plain and (not isinstance(value, str) or value in _NONE) else value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise RepeatedKey(f"'{key.value}' is given twice, in lines {lines[key.value]} and {line}; keep one")
            lines[key.value] = line
        output = super().construct_mapping(node, deep)
        return {key.text if isinstance(key, Scalar) else key: value for key, value in output.items()}


def read_yaml(text: str | bytes) -> Any:
    """Nested values with a `Scalar` wherever a word without quotes is no plain text. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - made of OmegaConf's, a SafeLoader


def settle(value: Any, hint: Any) -> Any:
    """Nested values as a type wants them: a text stays as it is written, a choice is its word.

    Args:
        value: with `Scalar`s.
        hint: the type, None where it is not known.
    """
    if isinstance(value, Scalar):
        return _settled(value, hint)
    if isinstance(value, Mapping):
        inner = _of_values(hint)
        return {key: settle(item, inner) for key, item in value.items()}
    if isinstance(value, list):
        items = _of_items(hint, len(value))
        return [settle(item, item_hint) for item, item_hint in zip(value, items, strict=True)]
    return value


def _settled(word: Scalar, hint: Any) -> Any:
    members = _members(hint)
    literals = [option for member in members for option in _options(member)]
    if word.text in [option for option in literals if isinstance(option, str)]:
        return word.text
    if type(None) in members and (word.value is None or word.text in _NONE):
        return None
    if any(_is_choice(member) for member in members):
        return word.value if word.value is None else word.text
    kinds = [_bare(member) for member in members]
    for kind in kinds:
        number = isinstance(word.value, (int, float)) and not isinstance(word.value, bool)
        if (kind in (int, float) and number) or (kind is bool and isinstance(word.value, bool)):
            return word.value
    texts = [kind for kind in kinds if kind is str or (isinstance(kind, type) and issubclass(kind, PurePath))]
    texts += [k for k in kinds if typing.get_origin(k) is list and str in map(_bare, _members(typing.get_args(k)[0]))]
    if texts and word.value is not None:
        return word.text
    if literals and str in {type(option) for option in literals} and word.value is not None:
        return word.value if word.value in literals else word.text
    if hint in (None, Any) and not _PLAIN.fullmatch(word.text):
        return word.text
    return word.value


def _members(hint: Any) -> list[Any]:
    """The types of a union, also of one within; a type that is none is its own only member."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [inner for member in typing.get_args(hint) for inner in _members(member)]
    if typing.get_origin(hint) is typing.Annotated and not _is_choice(hint):
        return _members(typing.get_args(hint)[0])
    return [hint]


def _options(member: Any) -> tuple[Any, ...]:
    return typing.get_args(member) if typing.get_origin(member) is typing.Literal else ()


def _is_choice(member: Any) -> bool:
    return typing.get_origin(member) is typing.Annotated and any(isinstance(m, Choice) for m in member.__metadata__)


def _bare(member: Any) -> Any:
    return typing.get_args(member)[0] if typing.get_origin(member) is typing.Annotated else member


def _of_values(hint: Any) -> Any:
    """The type of a dictionary's values, None where it is not known."""
    found = [typing.get_args(member) for member in _members(hint) if typing.get_origin(member) is dict]
    return found[0][1] if found and len(found[0]) == 2 else None


def _of_items(hint: Any, count: int) -> list[Any]:
    """The types of a list's items."""
    for member in _members(hint):
        arguments = typing.get_args(member)
        if typing.get_origin(member) is list and arguments:
            return [arguments[0]] * count
        if typing.get_origin(member) is tuple and len(arguments) == count:
            return list(arguments)
    return [None] * count
