"""Adan in one pass over lists of tensors (MMGT-12)."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

CACHED: Final = 1 << 17
"""Elements handled together on a CPU: their six tensors stay in the cache from the first operation to the last."""
BOUNDED: Final = 1 << 26
"""Elements handled together elsewhere: few calls, and what is made on the way stays below 256 MiB."""

STATE: Final = ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad")


class Adan(torch.optim.Optimizer):
    """Adaptive Nesterov momentum with decoupled weight decay in the proximal form (Xie et al. 2022, Algorithm 1).

    The same numbers, and the same state under the same names, as `pytorch_optimizer.Adan`, so checkpoints go both ways.
    What differs is the order of work: all operations on a few tensors before any on the next, so that on a CPU every
    number is fetched from memory once a step, and a GPU is called some fifteen times, not fifteen times a tensor.
    Sharded tensors (FSDP) are stepped where they lie, as each element's step depends on no other. Gradients are only
    read.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: decay of the gradient, of the gradient difference and of the squared Nesterov gradient.
        eps: added to the denominator.
        weight_decay: parameters are divided by 1 + lr * weight_decay after the step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        # weight_decouple=False is that package's name for the proximal form; it reads the key from a checkpoint.
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "weight_decouple": False}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            stepped = [p for p in group["params"] if p.grad is not None]
            if not stepped:
                continue
            group["step"] = group.get("step", 0) + 1
            tensors = [self._tensors(p) for p in stepped]
            for device in {each[0].device for each in tensors}:
                own = [each for each in tensors if each[0].device == device]
                for lists in _together(own, CACHED if device.type == "cpu" else BOUNDED):
                    _update(*lists, group=group)
        return loss

    def _tensors(self, p: Tensor) -> list[Tensor]:
        """The parameter, its gradient and its state, the last in the order of `STATE`; of sharded ones the own part."""
        state = self.state[p]
        if not state:
            for name in STATE[:3]:
                state[name] = torch.zeros_like(p)
            state["previous_grad"] = -p.grad  # type: ignore[operator]
        every = [p, p.grad, *(state[name] for name in STATE)]
        return [each.to_local() if isinstance(each, DTensor) else each for each in every]


def _together(tensors: list[list[Tensor]], count: int) -> Iterator[list[list[Tensor]]]:
    """The tensors in lists of some `count` elements, larger ones in pieces: [parameters, gradients, ...] each time."""
    pieces: list[list[Tensor]] = []
    held = 0
    for each in tensors:
        parts: Iterable[Iterable[Tensor]] = [each]
        if each[0].numel() > count and all(tensor.is_contiguous() for tensor in each):
            parts = zip(*(tensor.view(-1).split(count) for tensor in each), strict=True)
        for part in map(list, parts):
            size = part[0].numel()
            if pieces and held + size > count:
                yield [list(same) for same in zip(*pieces, strict=True)]
                pieces, held = [], 0
            if size:
                pieces.append(part)
                held += size
    if pieces:
        yield [list(same) for same in zip(*pieces, strict=True)]


def _update(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_diffs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    negated: list[Tensor],
    *,
    group: dict[str, Any],
) -> None:
    """One step in place; `negated` holds the gradients of the step before with their signs turned."""
    beta1, beta2, beta3 = group["betas"]
    lr, step, decay = group["lr"], group["step"], group["weight_decay"]
    difference = negated
    torch._foreach_add_(difference, grads)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    torch._foreach_lerp_(exp_avg_diffs, difference, 1 - beta2)
    torch._foreach_mul_(difference, beta2)
    torch._foreach_add_(difference, grads)
    torch._foreach_mul_(exp_avg_sqs, beta3)
    torch._foreach_addcmul_(exp_avg_sqs, difference, difference, 1 - beta3)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, math.sqrt(1 - beta3**step))
    torch._foreach_add_(denominators, group["eps"])
    torch._foreach_addcdiv_(params, exp_avgs, denominators, -lr / (1 - beta1**step))
    torch._foreach_addcdiv_(params, exp_avg_diffs, denominators, -lr * beta2 / (1 - beta2**step))
    if decay:
        torch._foreach_div_(params, 1 + lr * decay)
    torch._foreach_copy_(negated, grads)
    torch._foreach_neg_(negated)
