"""How an energy is brought down: L-BFGS with all frames of a clip in one batch, the same to the bit every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def minimise(energy: Callable[[], Tensor], variables: list[Tensor], iterations: int, tolerance: float = 1e-4) -> float:
    """Bring an energy down by L-BFGS with a strong Wolfe line search.

    Args:
        energy: of the variables as they are.
        variables: leaf tensors, changed in place.
        iterations: at most.
        tolerance: ends where a step gains less than this.

    Returns:
        The energy at the end.
    """
    optimizer = torch.optim.LBFGS(
        variables,
        max_iter=iterations,
        history_size=12,
        tolerance_grad=1e-7,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = energy()
        value.backward()
        return value.detach()  # type: ignore[return-value]

    optimizer.step(closure)
    with torch.no_grad():
        return float(energy())


def robust(square: Tensor, width: float) -> Tensor:
    """Geman and McClure's error: a squared error as it is while small, never more than `width` squared."""
    return width**2 - width**4 / (width**2 + square)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: sums that several share out come out different with their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
