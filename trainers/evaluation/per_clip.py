"""Figures over clips that know what they would be without each of them: what intervals are made of."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

GROUPS: Final = 64
"""Clips are left out one by one, or, where there are more of them, in so many groups."""
CONFIDENCE: Final = 0.95
_NOTES: Final = ("unseen", "missed", "short")  # states that count what a measure could not use
_LARGEST: Final = 600 * 600  # numbers of a state that is kept for each group; FID's 2,048 squared is not


class OverClips(float):
    """A figure, and what it is without each clip (or group of clips).

    Attributes:
        without: (G,) the figure when group g is left out.
        shown: (G,) bool: whether group g shows what is measured at all.
    """

    without: np.ndarray
    shown: np.ndarray

    def __new__(cls, value: float, without: np.ndarray, shown: np.ndarray) -> "OverClips":
        output = super().__new__(cls, value)
        output.without, output.shown = np.asarray(without, np.float64), np.asarray(shown, bool)
        return output


def mean_over_clips(values: Sequence[float], weights: Sequence[float] | None = None) -> OverClips:
    """The weighted mean of one value a clip; NaN is a clip that does not show it.

    Args:
        values: (n,), one for each clip.
        weights: (n,), what each counts, such as its frames; left out, all count the same.
    """
    x = np.asarray(values, np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, np.float64)
    w = np.where(np.isfinite(x), w, 0.0)
    x = np.where(w > 0, x, 0.0)
    groups = np.arange(len(x)) % GROUPS
    count = min(len(x), GROUPS)
    total, weight = (np.bincount(groups, each, count) for each in (w * x, w))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = total.sum() / weight.sum() if weight.sum() > 0 else math.nan
        without = (total.sum() - total) / (weight.sum() - weight)
    without[weight.sum() - weight <= 1e-12 * weight.sum()] = math.nan
    return OverClips(float(value), without, weight > 0)


def over_clips(function: Callable[[np.ndarray], float], count: int) -> OverClips:
    """Any figure of a set of clips, computed anew without each.

    Args:
        function: gives the figure of the clips with these numbers.
        count: of the clips.
    """
    numbers = np.arange(count)
    groups = [numbers[numbers % GROUPS != group] for group in range(min(count, GROUPS))]
    return OverClips(function(numbers), np.array([function(left) for left in groups]), np.ones(len(groups), bool))


def correlation(generated: np.ndarray, truth: np.ndarray) -> float:
    """Pearson's r where the truth is seen; 0 for what never changes, NaN where the truth is not seen or still."""
    there = np.isfinite(truth)
    generated, truth = generated[there], truth[there]
    if len(truth) < 8 or truth.std() < 1e-6:
        return float("nan")
    if generated.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(generated, truth)[0, 1])


def combine(function: Callable[..., Any], *figures: float) -> float:
    """A figure computed from others, such as their difference; an `OverClips` where all of them are."""
    value = float(function(*map(float, figures)))
    found = [figure for figure in figures if isinstance(figure, OverClips)]
    if len(found) < len(figures):
        return value
    shown = np.logical_or.reduce([figure.shown for figure in found])
    return OverClips(value, function(*(figure.without for figure in found)), shown)


class PerClip:
    """A torchmetrics measure that keeps what each clip adds to it, so that clips can be left out again.

    Call `update` for a clip as often as the measure wants it, then `end_clip`. States that are sums are subtracted,
    lists are joined without the clip's own. A measure whose states are too large to be kept (FID's) has no such parts.

    Args:
        metric: a fresh measure.
    """

    def __init__(self, metric: Metric):
        self.metric = metric
        self._metrics = [one for one in metric.modules() if isinstance(one, Metric)]
        self._clips = 0
        self._total = self._state()
        self._parts: list[list[dict[str, Any]]] | None = [] if self._small() else None

    def __getattr__(self, name: str) -> Any:
        """What the measure knows of itself: label, source, which way is better."""
        if name in ("metric", "_metrics"):
            raise AttributeError(name)
        return getattr(self.metric, name)

    def update(self, *values: Any, **options: Any) -> None:
        """Add something of the clip."""
        self.metric.update(*values, **options)

    def end_clip(self) -> None:
        """What comes next is another clip's."""
        state = self._state()
        self.metric.reset()
        self._total = _sum(self._total, state)
        if self._parts is not None:
            group = self._clips % GROUPS
            if group < len(self._parts):
                self._parts[group] = _sum(self._parts[group], state)
            else:
                self._parts.append(state)
        self._clips += 1

    def compute(self) -> float:
        """The figure: an `OverClips` where parts were kept."""
        value = self._value(self._total)
        if self._parts is None:
            return value
        without = [self._value(self._rest(group)) for group in range(len(self._parts))]
        return OverClips(value, np.array(without), np.array([_holds(part) for part in self._parts], bool))

    def _small(self) -> bool:
        values = [value for state in self._state() for value in state.values() if isinstance(value, Tensor)]
        return all(value.numel() <= _LARGEST for value in values)

    def _state(self) -> list[dict[str, Any]]:
        return [{name: _copy(getattr(one, name)) for name in one._defaults} for one in self._metrics]

    def _rest(self, group: int) -> list[dict[str, Any]]:
        """The states of all groups but one."""
        parts = self._parts or []
        rest = []
        for number, state in enumerate(self._total):
            left: dict[str, Any] = {}
            for name, value in state.items():
                own = parts[group][number][name]
                if isinstance(value, Tensor):
                    left[name] = value - own
                else:
                    left[name] = [one for i, part in enumerate(parts) if i != group for one in part[number][name]]
            rest.append(left)
        return rest

    def _value(self, states: list[dict[str, Any]]) -> float:
        for one, state in zip(self._metrics, states, strict=True):
            for name, value in state.items():
                setattr(one, name, _copy(value))
            one._computed, one._update_count = None, 1
        value = float(self.metric.compute())
        self.metric.reset()
        return value


def interval(value: float, without: np.ndarray, shown: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of a figure over clips; None where fewer than two show it, or where it cannot be told.

    The delete-one jackknife's standard error, sqrt((n - 1) / n sum (theta_i - mean theta)^2), times Student's t with
    n - 1 degrees of freedom (Efron and Stein 1981); for a mean over clips exactly the t interval.

    Args:
        value: the figure.
        without: (G,) the figure without each clip.
        shown: (G,) bool: which clips show it.
    """
    from scipy.stats import t

    left = without[shown]
    count = len(left)
    if count < 2 or not np.isfinite(left).all() or not math.isfinite(value):
        return None
    error = math.sqrt((count - 1) / count * float(np.square(left - left.mean()).sum()))
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * error
    return value - reach, value + reach


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else list(value)


def _sum(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: a[name] + b[name] for name in a} for a, b in zip(one, other, strict=True)]


def _holds(part: list[dict[str, Any]]) -> bool:
    """Whether a clip added anything but notes."""
    values = [value for state in part for name, value in state.items() if name not in _NOTES]
    return any(bool(torch.any(value != 0)) if isinstance(value, Tensor) else len(value) > 0 for value in values)
