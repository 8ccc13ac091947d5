"""Sums and rows of all processes, where several train together; alone, what a process has itself."""

import torch
import torch.distributed as dist
from torch import Tensor


def together() -> int:
    """Number of processes that train together; 1 where there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same bits on each of them. Every process calls it."""
    if together() == 1:
        return values
    values = values.contiguous()
    dist.all_reduce(values)
    return values


def rows_of_ranks(rows: Tensor) -> Tensor:
    """Rows (n, ...) of all processes, one behind the other in the order of ranks; n is the same on every process."""
    if together() == 1:
        return rows
    found = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(together())]
    dist.all_gather(found, rows.contiguous())
    return torch.cat(found)
