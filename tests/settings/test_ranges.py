"""Every number that a person can set has a range."""

import importlib
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from settings import ConfigError, Section, check
from settings.schema import REQUIRED, bounds_of, choice_of, keys, list_choice_of, section_of

ROOT = Path(__file__).resolve().parents[2]
WITHOUT: dict[str, str] = {}
"""Numbers without a range, as module:function.key, and why."""
STARTS = re.compile(r"(?<!def )\b(?:(?:run_)?command|start|run_generator)\(\s*(\w+)\s*,")


def targets() -> list[Any]:
    """What every `command(...)` and every demo's `start(...)` of the tree reads its options against, and every stage,
    part and datamodule below."""
    found = []
    for room in ("trainers", "pretrained", "preprocessing", "metrics", "benchmarks"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for name in STARTS.findall(path.read_text()):
                if (path.stem, name) == ("steps", "demo"):  # every demo's own, which is found where it starts
                    continue
                if name in ("options", "target"):  # what they hand on
                    name = {"trainers": "OPTIONS"}.get(room, "")  # of all stages together
                if name:
                    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                    found.append(getattr(importlib.import_module(module), name))
    return found


def numbers(hint: Any, ranged: bool = False) -> Iterator[bool]:
    """For each number in a type whether it has a range."""
    ranged = ranged or bool(bounds_of(hint))
    if hint in (int, float):
        yield ranged
    elif typing.get_origin(hint) is not typing.Literal and choice_of(hint) is None:
        for inner in typing.get_args(hint):
            if isinstance(inner, type) or typing.get_origin(inner) is not None:
                yield from numbers(inner, ranged)


def walk(target: Any, seen: set[Any]) -> Iterator[tuple[Any, str, Any]]:
    if target in seen:
        return
    seen.add(target)
    for name, key in keys(target).items():
        section, choice = section_of(key.hint), choice_of(key.hint) or list_choice_of(key.hint)
        if section is not None:
            yield from walk(section, seen)
        elif choice is not None:
            for part in map(choice.registry.get, choice.registry.names()):
                if not part.__module__.startswith("tests."):
                    yield from walk(part, seen)
        else:
            yield target, name, key


def test_every_number_of_every_command_stage_and_part_has_a_range() -> None:
    seen: set[Any] = set()
    found = [each for target in targets() for each in walk(target, seen)]
    with_numbers = [(t, name, key) for t, name, key in found if any(True for _ in numbers(key.hint))]
    assert len(with_numbers) > 250
    missing = {f"{getattr(t, 'target', t)}.{name}" for t, name, key in with_numbers if not all(numbers(key.hint))}
    assert missing == set(WITHOUT)


def test_every_default_is_within_its_range() -> None:
    seen: set[Any] = set()
    for target in targets():
        for owner, name, key in walk(target, seen):
            if key.default is not REQUIRED:
                signature = getattr(owner, "target", owner)
                others = tuple(other for other in keys(signature) if other != name)
                check({name: key.default}, Section(signature, given=others))


def sample(*, steps: int = 1, rate: float = 0.5, more: dict[str, Any] = {}, several: list[float] = []) -> None:
    """A part."""


@pytest.mark.parametrize(
    "values",
    [
        {"rate": float("nan")}, {"rate": "nan"}, {"rate": float("-inf")}, {"several": [0.1, float("nan")]},
        {"more": {"a": [float("inf")]}}, {"steps": True}, {"rate": False}, {"steps": float("nan")},
    ],
)  # fmt: skip
def test_what_is_no_finite_number_is_refused_everywhere(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        check(values, sample)
