"""A model beside its baselines: what a figure is, its spread over seeds, who wins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Figure:
    """One column of the table.

    Attributes:
        title: heading.
        better: which way is better; "near" is near the truth's own value.
        meaning: definition and unit in one sentence.
    """

    title: str
    better: Literal["lower", "higher", "near"]
    meaning: str


def spread(values: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean and sample standard deviation of each figure over seeds; one seed has no deviation (None)."""
    result = {}
    for name in values[0]:
        numbers = [one[name] for one in values]
        deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
        if len(set(numbers)) == 1 and deviation is not None:
            deviation = 0.0  # np.std leaves rounding
        result[name] = {"mean": float(np.mean(numbers)), "std": deviation, "values": numbers}
    return result


def verdict(systems: Mapping[str, Any], name: str, figure: Figure, labels: Mapping[str, str]) -> dict[str, Any]:
    """Whether the model beats every baseline in a figure: in the mean, and in each seed.

    Args:
        systems: name to figures as `spread` gives them; "model" is judged, "truth" is no rival.
        name: of the figure.
        figure: what it is.
        labels: names of the systems to read.
    """
    sign = 1 if figure.better == "higher" else -1
    rivals = {
        rival: figures[name]
        for rival, figures in systems.items()
        if rival not in ("model", "truth") and name in figures
    }
    mine = systems["model"][name]
    if np.isnan(mine["mean"]):
        return {"beats_all": None, "beats_all_in_each_seed": None, "best_baseline": None, "text": "no clip shows it"}
    best = max(rivals, key=lambda rival: sign * rivals[rival]["mean"])
    in_mean = bool(sign * mine["mean"] > sign * rivals[best]["mean"])
    each = all(
        sign * a > sign * b for rival in rivals.values() for a, b in zip(mine["values"], rival["values"], strict=True)
    )
    text = f"{'beats' if in_mean else 'does not beat'} every baseline; the best of them: {labels[best]}"
    return {"beats_all": in_mean, "beats_all_in_each_seed": bool(each), "best_baseline": best, "text": text}
