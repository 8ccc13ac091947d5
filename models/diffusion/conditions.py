"""Conditions of a network: tensors, and whatever holds them, handled together."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

C = TypeVar("C")


def stacked(conditions: C, times: int) -> C:
    """The conditions of a batch, so many times one behind another.

    Args:
        conditions: a tensor (B, ...), or a tuple, named tuple, mapping or dataclass of such; all else stays as it is.
        times: how often.

    Returns:
        The same with tensors (times B, ...).
    """
    return conditions if times == 1 else _stacked(conditions, times)


def _stacked(value: Any, times: int) -> Any:
    if isinstance(value, Tensor):
        return value.repeat(times, *[1] * (value.ndim - 1))
    if isinstance(value, tuple):
        parts = [_stacked(part, times) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, Mapping):
        return {name: _stacked(part, times) for name, part in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _stacked(getattr(value, field.name), times) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value
