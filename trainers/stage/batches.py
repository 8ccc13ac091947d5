"""How the windows of one optimiser step are split over ranks and accumulated batches."""

from collections.abc import Mapping
from typing import Any, Final

from settings import ConfigError

USUAL: Final = 8
"""Windows of a batch on each rank where nobody says anything."""


def per_rank(data: Mapping[str, Any], ranks: int, accumulate: int = 1) -> int:
    """Windows of a batch on each rank.

    Args:
        data: the config's data section: `global_batch`, windows of an optimiser step of all ranks together, and
            `batch_size`, windows of a batch on each rank; either may be missing.
        ranks: how many there are.
        accumulate: batches of an optimiser step (`trainer.accumulate_grad_batches`).

    Raises:
        ConfigError: the global batch does not divide, or both are given and do not agree.
    """
    whole, size = data.get("global_batch"), data.get("batch_size")
    if whole is None:
        return USUAL if size is None else int(size)
    shares = ranks * accumulate
    split = f"{_count(ranks, 'rank')} x {_count(accumulate, 'accumulated batch', 'es')}"
    if size is not None and size * shares != whole:
        raise ConfigError(
            f"data.global_batch is {whole}, but data.batch_size={size} x {split} is {size * shares}: leave one of them "
            f"out (data.batch_size=null or data.global_batch=null){_fitting(whole, ranks, size)}"
        )
    if whole % shares:
        near = sorted({whole // shares * shares or shares, (whole // shares + 1) * shares})
        raise ConfigError(
            f"data.global_batch={whole} does not divide by {split} = {shares} ({whole / shares:.2f} windows each); set "
            f"data.global_batch={' or '.join(map(str, near))}, another number of ranks, or "
            "trainer.accumulate_grad_batches"
        )
    return whole // shares


def _fitting(whole: int, ranks: int, size: int) -> str:
    """The accumulation with which both hold."""
    if whole % (ranks * size):
        return ""
    return f", or set trainer.accumulate_grad_batches={whole // (ranks * size)}"


def _count(number: int, name: str, plural: str = "s") -> str:
    return f"{number} {name}{'' if number == 1 else plural}"
