"""Which share of a run this process does: a task of a SLURM job array, or all of it."""

from __future__ import annotations

import os

from settings import ConfigError


def task_of(index: int | None, count: int | None) -> tuple[int, int]:
    """(index, count) of this task, as given or from SLURM's job array; (0, 1) without either.

    Args:
        index: which task this is, from 0.
        count: how many there are.

    Raises:
        ConfigError: an index outside the count, or one given without the other.
    """
    if index is None and count is None and "SLURM_ARRAY_TASK_ID" in os.environ:
        first, step = (int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", d)) for name, d in (("MIN", 0), ("STEP", 1)))
        index = (int(os.environ["SLURM_ARRAY_TASK_ID"]) - first) // max(step, 1)
        count = int(os.environ.get("SLURM_ARRAY_TASK_COUNT", 1))
    if (index is None) != (count is None):
        raise ConfigError("'task_index' and 'task_count' are needed both, or neither")
    index, count = index or 0, 1 if count is None else count
    if not 0 <= index < count:
        raise ConfigError(f"'task_index' must be from 0 to task_count - 1, got {index} of {count}")
    return index, count
