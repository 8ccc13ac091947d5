"""What scores of pairs say: accuracy, and areas under ROC curves, each for its own question."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from trainers.evaluation.comparison import FEWEST, Figure
from trainers.evaluation.per_clip import GROUPS, OverClips, over_clips
from trainers.paha.evaluation.pair_scores import OTHER, Scores, shift_name

CHANCE: Final = 0.5
CONTROLS: Final = ("auc_plain", "auc_compression")


def figures_about(shifts: Sequence[float]) -> dict[str, Figure]:
    """Title and meaning of each figure."""
    area = "area under the ROC curve, 0.5 is chance"
    found = {
        "accuracy": Figure(
            "Accuracy", "higher", "share of filmed clips that score above 0 and of generated ones that do not"
        ),
        "auc_generated": Figure(
            "AUC, filmed or generated", "higher", f"filmed against generated clips, each with its own sound; {area}"
        ),
        "auc_sound": Figure(
            "AUC, right or wrong sound",
            "higher",
            f"filmed clips with their own against other sound of any kind; {area}",
        ),
        "chosen_sound": Figure(
            "Right sound chosen",
            "higher",
            "share of the times that a filmed clip scores higher with its own than with other sound, at the same noise",
        ),
    }
    for seconds in shifts:
        found[f"auc_{shift_name(seconds)}"] = Figure(
            f"AUC, sound off by {seconds:g} s",
            "higher",
            f"filmed clips with their own sound against the same {seconds:g} s earlier or later; {area}",
        )
    found[f"auc_{OTHER}"] = Figure("AUC, another's sound", "higher", f"likewise against another clip's sound; {area}")
    found["auc_plain"] = Figure(
        "AUC, filmed (uncompressed) or generated",
        "near",
        "control: as the first area, of filmed clips whose latents have not passed decoder and video encoder, which "
        "generated ones have; what it is above that area compression alone gives away",
    )
    found["auc_compression"] = Figure(
        "AUC, uncompressed or compressed",
        "near",
        "control: the same filmed clips with the same sound, with and without decoder and video encoder between; 0.5 "
        "is a classifier that compression tells nothing",
    )
    return found


def area(above: np.ndarray, below: np.ndarray) -> float:
    """How often a number of the first is larger than one of the second, equal ones half; NaN where there are none."""
    from scipy.stats import rankdata

    above, below = (each[np.isfinite(each)] for each in (above, below))
    if not len(above) or not len(below):
        return float("nan")
    ranks = rankdata(np.concatenate([above, below]))[: len(above)]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(above) * len(below)))


def figures_of(scores: Scores, clips: Sequence[str], bands: Sequence[int]) -> dict[str, OverClips]:
    """Figures of some bands of noise, each with what it is without each clip.

    Args:
        scores: of all pairs.
        clips: whose picture each pair has: pairs of one clip are left out together.
        bands: which of the bands.
    """
    rows = [np.flatnonzero(np.array(clips) == clip) for clip in dict.fromkeys(clips)]

    def of(function: Callable[[np.ndarray], float], there: np.ndarray | None = None) -> OverClips:
        """Over clips; `there` (P, ...) has numbers where a pair shows it at all."""

        def some(numbers: np.ndarray) -> float:
            return function(np.concatenate([rows[n] for n in numbers])) if len(numbers) else float("nan")

        found = over_clips(some, len(rows))
        if there is None:
            return found
        shows = np.array([bool(np.isfinite(there[at]).any()) for at in rows])
        shown = np.array([shows[group::GROUPS].any() for group in range(len(found.shown))])
        return OverClips(float(found), found.without, shown)

    real, made, plain = (each[:, bands] for each in (scores.real, scores.made, scores.plain))
    wrong = {name: each[:, bands] for name, each in scores.wrong.items()}

    def sounds(names: Sequence[str], at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores with the right and with wrong sound, where there was room for it."""
        false = np.concatenate([wrong[name][at].ravel() for name in names])
        right = np.tile(real[at].ravel(), len(names))
        return right[np.isfinite(false)], false[np.isfinite(false)]

    def chosen(at: np.ndarray) -> float:
        right, false = sounds(list(wrong), at)
        return float(((right > false) + 0.5 * (right == false)).mean()) if len(right) else float("nan")

    found = {
        "accuracy": of(lambda at: float(np.mean([(real[at] > 0).mean(), (made[at] <= 0).mean()]))),
        "auc_generated": of(lambda at: area(real[at], made[at])),
        "auc_sound": of(lambda at: area(*sounds(list(wrong), at)), np.stack(list(wrong.values()), 1)),
        "chosen_sound": of(chosen, np.stack(list(wrong.values()), 1)),
        **{f"auc_{name}": of(_each(sounds, name), each) for name, each in wrong.items()},
        "auc_plain": of(lambda at: area(plain[at], made[at]), plain),
        "auc_compression": of(lambda at: area(plain[at], real[at]), plain),
    }
    return {name: value for name, value in found.items() if value == value}


def _each(sounds: Callable[..., tuple[np.ndarray, np.ndarray]], name: str) -> Callable[[np.ndarray], float]:
    return lambda at: area(*sounds([name], at))


def told_apart(figure: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Whether a figure is told from chance.

    Args:
        figure: as `trainers.evaluation.comparison.spread` gives it.
        name: of the figure.
        where: at which noise, to read.
    """
    mean, low, high, clips = figure["mean"], figure["low"], figure["high"], int(figure["over_clips"].shown.sum())
    beside = f"{mean:.3g} {where}"
    if clips < FEWEST:
        return _said("too few clips", f"too few clips for a verdict ({clips}; {FEWEST} or more are needed): {beside}")
    if low is None:
        return _said("no interval", f"no interval over clips, so no verdict: {beside}")
    beside = f"{beside}, {low:.3g} to {high:.3g}; chance is {CHANCE:g}"
    apart = low > CHANCE or high < CHANCE
    if name in CONTROLS:
        text = "a control: compression gives clips away" if apart else "a control: compression tells it nothing"
        if name == "auc_plain":
            text = "a control, to be read beside the same area of compressed clips"
        return _said("loss" if apart and name == "auc_compression" else "open", f"{text} ({beside})")
    if not apart:
        return _said("open", f"not told apart ({beside})")
    right = low > CHANCE
    return _said("win" if right else "loss", f"{'told apart' if right else 'told apart the WRONG way'} ({beside})")


def _said(outcome: str, text: str) -> dict[str, Any]:
    judged = outcome in ("win", "loss", "open")
    return {
        "outcome": outcome,
        "beats_all": outcome == "win" if judged else None,
        "best_baseline": None,
        "rivals": {},
        "text": text,
    }
