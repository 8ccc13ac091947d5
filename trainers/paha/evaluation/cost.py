"""What a segment costs: network evaluations, gradients, seconds (PH-18)."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from trainers.evaluation.comparison import Figure

FIGURES: Final = {
    "segment_seconds": Figure(
        "Seconds a segment",
        "lower",
        "sampling and decoding of a whole segment; of the machine that measured, with whatever else ran there",
    ),
    "sampling_seconds": Figure("of it sampling", "lower", "without decoding"),
    "evaluations": Figure(
        "Evaluations", "near", "of the network in a segment; twice with classifier-free guidance, which asks it twice"
    ),
    "gradients": Figure("Gradients", "near", "of classifiers in a segment"),
}


@dataclass(frozen=True)
class Cost:
    """Of one segment, by the names of `FIGURES`."""

    segment_seconds: float
    sampling_seconds: float
    evaluations: float
    gradients: float


@dataclass
class Counts:
    """Calls so far: samples that the network was asked about, and classifiers with a gradient to follow."""

    evaluations: int = 0
    gradients: int = 0


@contextmanager
def counted(network: nn.Module, classifiers: Iterable[nn.Module]) -> Iterator[Counts]:
    """Count what is asked of a network and of classifiers."""
    counts = Counts()

    def asked(module: nn.Module, args: tuple[Any, ...]) -> None:
        counts.evaluations += len(args[0])

    def judged(module: nn.Module, args: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled() and args[0].requires_grad:
            counts.gradients += len(args[0])

    hooks = [network.register_forward_pre_hook(asked)]
    hooks += [classifier.register_forward_pre_hook(judged) for classifier in classifiers]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def now(device: torch.device) -> float:
    """Seconds, when all that the device was told is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def whole(costs: Sequence[Cost], spans: Sequence[tuple[int, int]]) -> dict[str, float]:
    """The mean of the whole segments among those of a video; of all where it is one that is shorter.

    Args:
        costs: of each segment.
        spans: frames from .. to of each.
    """
    longest = max(end - begin for begin, end in spans)
    some = [cost for cost, (begin, end) in zip(costs, spans, strict=True) if end - begin == longest]
    return {name: sum(getattr(cost, name) for cost in some) / len(some) for name in FIGURES}
