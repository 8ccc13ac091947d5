"""A model beside its baselines: what a figure is, its spread over clips and seeds, who wins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from trainers.evaluation.per_clip import OverClips, interval

FEWEST: Final = 10
"""Clips below which nobody is said to win or lose: with fewer the interval itself is a guess."""
METHOD: Final = (
    "Intervals: 95 %, over clips (Student's t with the jackknife's error, which for a mean is the t interval), of the "
    "mean over seeds. Verdicts: of the difference on the same clips, clip by clip; a win or a loss only where the "
    f"interval of the difference leaves out zero, and none from fewer than {FEWEST} clips."
)


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


def spread(values: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Each figure over seeds and clips.

    Returns:
        For each figure `mean`, `std` (sample standard deviation over seeds, None for one seed), `values` of the seeds,
        `low` and `high` (of the 95 % interval over clips of the mean over seeds, None where there is none), and
        `over_clips`, what `difference` needs (None where the figure does not know its clips).
    """
    result = {}
    for name in values[0]:
        numbers = [one[name] for one in values]
        plain = [float(number) for number in numbers]
        deviation = float(np.std(plain, ddof=1)) if len(plain) > 1 else None
        if len(set(plain)) == 1 and deviation is not None:
            deviation = 0.0  # np.std leaves rounding
        over_clips = _mean([number for number in numbers if isinstance(number, OverClips)], len(numbers))
        limits = interval(over_clips, over_clips.without, over_clips.shown) if over_clips is not None else None
        result[name] = {
            "mean": float(np.mean(plain)),
            "std": deviation,
            "values": plain,
            "low": limits[0] if limits else None,
            "high": limits[1] if limits else None,
            "over_clips": over_clips,
        }
    return result


@dataclass(frozen=True)
class Difference:
    """How far one system is ahead of another in a figure, on the same clips.

    Attributes:
        ahead: by how much; negative is behind.
        low, high: of its 95 % interval over clips.
        outcome: "better", "worse", or "open" where the interval holds zero.
    """

    ahead: float
    low: float
    high: float
    outcome: Literal["better", "worse", "open"]


def difference(one: Mapping[str, Any], other: Mapping[str, Any], sign: int) -> Difference | None:
    """The first system's lead in a figure, clip by clip; None where it has no interval.

    Args:
        one, other: what `spread` gives of the same figure over the same clips.
        sign: 1 where higher is better, -1 where lower is.
    """
    a, b = one.get("over_clips"), other.get("over_clips")
    if a is None or b is None or len(a.without) != len(b.without):
        return None
    ahead = sign * (float(a) - float(b))
    limits = interval(ahead, sign * (a.without - b.without), a.shown | b.shown)
    if limits is None:
        return None
    # What differs by nothing but rounding differs by nothing.
    rounding = 1e-9 * max(abs(float(a)), abs(float(b)))
    low, high = limits
    return Difference(ahead, low, high, "better" if low > rounding else "worse" if high < -rounding else "open")


def verdict(
    systems: Mapping[str, Any], name: str, figure: Figure, labels: Mapping[str, str], clips: int
) -> dict[str, Any]:
    """Whether the model is better than its baselines in a figure, each by itself, and how sure that is.

    Args:
        systems: name to figures as `spread` gives them; "model" is judged, "truth" is no rival.
        name: of the figure.
        figure: what it is.
        labels: names of the systems to read.
        clips: how many clips were measured.

    Returns:
        `outcome`: "win" (better than every baseline), "loss" (worse than one at least), "open", "too few clips", "no
        interval" or "not shown"; `beats_all` (None where there is no verdict); `best_baseline`; `rivals` with the
        lead over each; `text`.
    """
    sign = 1 if figure.better == "higher" else -1
    rivals = {
        rival: figures[name]
        for rival, figures in systems.items()
        if rival not in ("model", "truth") and name in figures and not math.isnan(figures[name]["mean"])
    }
    mine = systems["model"][name]
    if math.isnan(mine["mean"]) or not rivals:
        return _answer("not shown", None, {}, "no clip shows it" if math.isnan(mine["mean"]) else "nothing beside it")
    best = max(rivals, key=lambda rival: sign * rivals[rival]["mean"])
    beside = f"this one {_short(mine['mean'])}, best baseline {labels[best]} {_short(rivals[best]['mean'])}"
    if clips < FEWEST:
        text = f"too few clips for a verdict ({clips}; {FEWEST} or more are needed): {beside}"
        return _answer("too few clips", best, {}, text)
    leads = {rival: difference(mine, other, sign) for rival, other in rivals.items()}
    known = {rival: lead for rival, lead in leads.items() if lead is not None}
    if len(known) < len(leads):
        return _answer("no interval", best, known, f"no interval over clips, so no verdict: {beside}")
    worse, still, better = (
        [rival for rival, lead in known.items() if lead.outcome == outcome] for outcome in ("worse", "open", "better")
    )
    outcome = "loss" if worse else "open" if still else "win"
    parts = [
        f"{phrase} {_all_or(some, known, labels, rivals, every)}"
        for phrase, some, every in (
            ("WORSE than", worse, True),
            ("not told apart from", still, False),
            ("better than", better, True),
        )
        if some
    ]
    return _answer(outcome, best, known, f"{'; '.join(parts)} (this one {_short(mine['mean'])})")


def best_of(systems: Mapping[str, Any], name: str, figure: Mapping[str, Any], bounds: Sequence[str]) -> str | None:
    """The system with the best mean in a figure; None where "near" ranks nothing, or all are alike.

    Args:
        systems: name to figures.
        name: of the figure.
        figure: `better` tells which way.
        bounds: systems that are no rivals, such as the truth.
    """
    if figure["better"] == "near":
        return None
    sign = 1 if figure["better"] == "higher" else -1
    means = {
        system: sign * figures[name]["mean"]
        for system, figures in systems.items()
        if system not in bounds and name in figures and _finite(figures[name]["mean"])
    }
    if len(means) < 2 or len({_short(mean) for mean in means.values()}) == 1:
        return None
    return max(means, key=lambda system: means[system])


def without_clips(splits: Mapping[str, Any]) -> dict[str, Any]:
    """The same splits without `over_clips`, as they are stored."""
    stored = {}
    for split, part in splits.items():
        systems = {
            system: {
                name: {key: value for key, value in figure.items() if key != "over_clips"}
                for name, figure in figures.items()
            }
            for system, figures in part["systems"].items()
        }
        stored[split] = {**part, "systems": systems}
    return stored


def _mean(figures: Sequence[OverClips], wanted: int) -> OverClips | None:
    if len(figures) < wanted or len({len(figure.without) for figure in figures}) != 1:
        return None
    return OverClips(
        float(np.mean([float(figure) for figure in figures])),
        np.mean([figure.without for figure in figures], axis=0),
        np.logical_or.reduce([figure.shown for figure in figures]),
    )


def _answer(outcome: str, best: str | None, leads: Mapping[str, Difference], text: str) -> dict[str, Any]:
    judged = outcome in ("win", "loss", "open")
    return {
        "outcome": outcome,
        "beats_all": outcome == "win" if judged else None,
        "best_baseline": best,
        "rivals": {rival: vars(lead) for rival, lead in leads.items()},
        "text": text,
    }


def _all_or(
    some: Sequence[str],
    leads: Mapping[str, Difference],
    labels: Mapping[str, str],
    rivals: Mapping[str, Any],
    every: bool,
) -> str:
    """Their names with figures; of all of them only the one that is nearest."""
    if every and len(some) == len(leads) > 1:
        nearest = min(some, key=lambda rival: abs(leads[rival].ahead))
        return f"every baseline, the closest of them {_lead(nearest, leads, labels, rivals)}"
    return ", ".join(_lead(rival, leads, labels, rivals) for rival in some)


def _lead(rival: str, leads: Mapping[str, Difference], labels: Mapping[str, str], rivals: Mapping[str, Any]) -> str:
    lead = leads[rival]
    by = f"{'behind' if lead.ahead < 0 else 'ahead'} by {_short(abs(lead.ahead))}"
    low, high = sorted((abs(lead.low), abs(lead.high))) if lead.outcome != "open" else (lead.low, lead.high)
    return f"{labels[rival]} {_short(rivals[rival]['mean'])} [{by}, {_short(low)} to {_short(high)}]"


def _finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _short(number: float) -> str:
    return "0" if abs(number) < 1e-9 else f"{number:.3g}"
