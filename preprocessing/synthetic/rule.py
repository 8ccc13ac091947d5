"""The rule by which synthetic speakers move, and how much of it a set of key points shows.

Plain functions of the phonemes alone, so that what a model learnt from sound can be held against what there was to
learn. `docs/synthetic.md` tells the rule in words.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from models.human import keypoints as layout
from preprocessing.synthetic.phonemes import VISEMES, Phoneme, visemes

_STEP: Final = 0.005
_COARTICULATION: Final = 0.028
_RAMP: Final = 0.05
_STRESS: Final = (0.8, 0.9, 1.0)
BEAT_REACH: Final = 0.4
"""Seconds to either side within which a beat's vowel must be the longest stressed one."""


def lip_rule(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """How far the mouth is open at each frame: (frames,) in [0, 1].

    Every sound pulls towards its viseme's opening, vowels less when unstressed; neighbours blend over some 30 ms
    (coarticulation); p, b, m and pauses close the lips fully.

    Args:
        phonemes: in order; times in seconds from frame 0.
        frames: how many; frame i is at i / fps seconds.
        fps: frames per second.
    """
    targets = _targets(phonemes, frames, fps, 0)
    openings = gaussian_filter1d(targets, _COARTICULATION / _STEP, mode="nearest")
    times = np.arange(len(openings)) * _STEP
    for phoneme in phonemes:
        if phoneme.closes:
            start, end = closure(phoneme)
            away = np.maximum(np.maximum(start - times, times - end), 0)
            openings *= np.where(away < _RAMP, 0.5 - 0.5 * np.cos(np.pi * np.minimum(away / _RAMP, 1)), 1)
    return _at_frames(openings, frames, fps)


def width_rule(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """How the mouth's width departs from rest at each frame: (frames,) from -1 rounded to 1 spread."""
    targets = _targets(phonemes, frames, fps, 1)
    return _at_frames(gaussian_filter1d(targets, 1.6 * _COARTICULATION / _STEP, mode="nearest"), frames, fps)


def closure(phoneme: Phoneme) -> tuple[float, float]:
    """From when to when the lips touch for p, b or m, in seconds: a stop is closed before it is heard."""
    if phoneme.name.startswith("m"):
        return phoneme.start, max(phoneme.end - 0.01, phoneme.start + 0.05)
    return phoneme.start - 0.05, max(phoneme.end - 0.035, phoneme.start + 0.015)


def beats(phonemes: Sequence[Phoneme]) -> np.ndarray:
    """Times of the stress beats in seconds, ascending: the onset of each vowel with primary stress that is the longest
    such vowel within 0.4 s to either side (the earlier one of two that are equal)."""
    candidates = [phoneme for phoneme in phonemes if phoneme.stress == 2 and phoneme.vowel]
    chosen = []
    for one in candidates:
        near = [other for other in candidates if other is not one and abs(other.start - one.start) <= BEAT_REACH]
        length = one.end - one.start
        if all((other.end - other.start, -other.start) < (length, -one.start) for other in near):
            chosen.append(one.start)
    return np.array(chosen, dtype=np.float64)


def gesture(beat_times: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """The stroke that hands and head make on beats: (frames,), 1 raised, -0.4 struck, 0 at rest.

    It rises until 0.16 s before a beat, falls, and stands still from the beat until 0.1 s after it; 0.5 s after, it is
    back at rest when no other beat follows.
    """
    duration = frames / fps
    knots: list[tuple[float, float]] = [(-1.0, 0.0)]
    for index, beat in enumerate(beat_times):
        before = beat - (beat_times[index - 1] if index else -10.0)
        after = (beat_times[index + 1] if index + 1 < len(beat_times) else beat + 10.0) - beat
        if before > 1.0:
            knots.append((beat - 0.4, 0.0))
        knots.append((beat - 0.16, min(1.0, before / 0.7)))
        knots += [(beat, -0.4), (beat + 0.1, -0.38)]
        if after > 1.0:
            knots.append((beat + 0.5, 0.0))
    knots.append((max(duration, knots[-1][0]) + 1.0, 0.0))
    times, values = zip(*knots)
    return PchipInterpolator(times, values)(np.arange(frames) / fps)


def speaking(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """1 while somebody speaks, 0 in silence, with slopes of some 0.3 s: (frames,); hands are lifted by it."""
    grid = np.zeros(round(frames / fps / _STEP) + 1)
    for phoneme in phonemes:
        if not phoneme.pause:
            grid[round(phoneme.start / _STEP) : round(phoneme.end / _STEP) + 1] = 1
    return _at_frames(gaussian_filter1d(grid, 0.15 / _STEP, mode="nearest"), frames, fps)


def recovered(keypoints: np.ndarray, phonemes: Sequence[Phoneme], fps: float) -> dict[str, float]:
    """How much of the rule a sequence of key points shows.

    Args:
        keypoints: (T, 134, 2 or more) fractions of the frame.
        phonemes: what is being said, times in seconds from frame 0.
        fps: frames per second.

    Returns:
        `lip_variance`: share of the rule's lip opening that the best straight line of the key points' opening explains,
            0 to 1 (0 too where a line of negative slope would be needed).
        `lip_correlation`: Pearson, -1 to 1.
        `beats_hit`: share of the beats with a stroke within 0.12 s.
        `beats_precision`: share of the strokes that stand at a beat.
        `beat_error_ms`: mean distance from a beat to the nearest stroke, at most 500.
    """
    frames = len(keypoints)
    rule, shown = lip_rule(phonemes, frames, fps), layout.lip_opening(keypoints)
    spread = rule.std() * shown.std()
    correlation = float(((rule - rule.mean()) * (shown - shown.mean())).mean() / spread) if spread > 1e-9 else 0.0
    truth = beats(phonemes)
    truth = truth[truth < frames / fps]
    found = strokes(keypoints, fps)
    to_found = _distances(truth, found)
    hits, precise = to_found <= 0.12, _distances(found, truth) <= 0.12
    return {
        "lip_variance": max(correlation, 0.0) ** 2,
        "lip_correlation": correlation,
        "beats_hit": float(hits.mean()) if len(truth) else 0.0,
        "beats_precision": float(precise.mean()) if len(found) else 0.0,
        "beat_error_ms": 1000 * float(to_found.mean()) if len(truth) else 500.0,
    }


def strokes(keypoints: np.ndarray, fps: float) -> np.ndarray:
    """Times in seconds at which a downward movement of the hands comes to a stop, in (T, 134, 2 or more) key points.

    A movement counts from a third of the sequence's fastest ones on.
    """
    wrists = keypoints[:, [layout.RIGHT_WRIST, layout.LEFT_WRIST], 1]
    y = wrists @ (wrists.std(0) / max(wrists.std(0).sum(), 1e-9))
    if len(y) < 4:
        return np.zeros(0)
    speed = np.diff(y) * fps
    limit = np.quantile(np.maximum(speed, 0), 0.97) / 3
    found: list[float] = []
    for i in range(1, len(speed) - 1):
        if speed[i] > max(limit, 1e-4) and speed[i] >= speed[i - 1] and speed[i] > speed[i + 1]:
            stop = i
            while stop < len(speed) and speed[stop] > 0.25 * speed[i]:
                stop += 1
            if not found or stop / fps - found[-1] > 0.1:
                found.append(stop / fps)
    return np.array(found)


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    if not len(others):
        return np.full(len(points), 0.5)
    return np.minimum(np.abs(points[:, None] - others[None]).min(1), 0.5) if len(points) else np.zeros(0)


def _targets(phonemes: Sequence[Phoneme], frames: int, fps: float, axis: int) -> np.ndarray:
    grid = np.zeros(round(frames / fps / _STEP) + 1)
    for phoneme in phonemes:
        names = visemes(phoneme.name)
        edges = np.linspace(phoneme.start, phoneme.end, len(names) + 1)
        weight = _STRESS[phoneme.stress] if phoneme.vowel and axis == 0 else 1.0
        for name, start, end in zip(names, edges[:-1], edges[1:]):
            value = VISEMES[name].opening if axis == 0 else VISEMES[name].width
            grid[round(start / _STEP) : round(end / _STEP)] = weight * value
    return grid


def _at_frames(grid: np.ndarray, frames: int, fps: float) -> np.ndarray:
    return np.interp(np.arange(frames) / fps, np.arange(len(grid)) * _STEP, grid)
