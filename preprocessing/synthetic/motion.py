"""From speech to movement: the rule's curves with a speaker's habits, and the randomness of a living person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocessing.synthetic import rule
from preprocessing.synthetic.phonemes import Phoneme
from preprocessing.synthetic.speakers import Speaker


@dataclass(frozen=True)
class Motion:
    """What moves, per frame; T frames, hands in the order right, left.

    Args:
        opening: (T,) of the mouth, 0 to some 1.1.
        width: (T,) of the mouth, -1 rounded to 1 spread.
        blink: (T,) 0 open to 1 shut.
        gaze: (T, 2) of the irises, right and down, -1 to 1.
        brows: (T,) 0 at rest to 1 raised.
        head: (T, 3) yaw, pitch, roll in degrees: to the viewer's right, down, clockwise for the viewer.
        trunk: (T, 2) shift of the upper body in fractions of the frame.
        breath: (T,) shift of the shoulders, fractions of the frame, downward.
        wrists: (T, 2, 2) in fractions of the frame.
        turn: (T, 2) degrees that each hand is turned upward from its rest direction.
        curl: (T, 2, 5) of the fingers from thumb to little, 0 straight to 1.
        spread: (T, 2) of the fingers, 0 to 1.
        beats: (K,) seconds.
        blinks: (N,) seconds.
    """

    opening: np.ndarray
    width: np.ndarray
    blink: np.ndarray
    gaze: np.ndarray
    brows: np.ndarray
    head: np.ndarray
    trunk: np.ndarray
    breath: np.ndarray
    wrists: np.ndarray
    turn: np.ndarray
    curl: np.ndarray
    spread: np.ndarray
    beats: np.ndarray
    blinks: np.ndarray

    @property
    def frames(self) -> int:
        """Their number, T."""
        return len(self.opening)


def motion(speaker: Speaker, phonemes: Sequence[Phoneme], frames: int, fps: float, seed: int) -> Motion:
    """How a speaker moves while saying these sounds.

    Mouth and beats are a function of the phonemes and the speaker; blinks, gaze, sway and unrest come from `seed`.
    """
    generator = np.random.default_rng([seed, 11])
    habits = speaker.habits
    beats = rule.beats(phonemes)
    stroke = rule.gesture(beats, frames, fps)
    talk = rule.speaking(phonemes, frames, fps)
    # The head comes down on a beat and does not wind up as far as the hands do.
    nod = np.where(stroke > 0, -0.35, -2.5) * stroke

    def unrest(count: int, slow: float) -> np.ndarray:
        return np.stack([_unrest(generator, frames, fps, slow) for _ in range(count)], -1)

    head = unrest(3, 5.0) * [habits.turn, 1.6, 1.6]
    head[:, 1] += habits.nod * nod
    head[:, 2] += habits.tilt * nod + 0.25 * head[:, 0]
    trunk = unrest(2, 7.0) * [habits.sway, 0.3 * habits.sway]
    blinks = _blink_times(generator, frames / fps)
    wrists, turn, curl, spread = [], [], [], []
    for side, (name, outward) in enumerate((("right", -1.0), ("left", 1.0))):
        active = 1.0 if habits.hands in (name, "both") else 0.12
        lift = active * (0.035 * talk + habits.reach * stroke)
        rest = np.array([0.5 + habits.rest[side][0], habits.rest[side][1]])
        path = rest + np.stack(
            [outward * (habits.outward * np.maximum(lift, -0.02) + 0.012 * active * talk), -lift], -1
        )
        wrists.append(path + 0.6 * trunk + 0.004 * unrest(2, 3.0))
        turn.append(active * (14 * talk + 34 * stroke) + 4 * unrest(1, 4.0)[:, 0])
        spread.append(np.clip(0.25 + 0.5 * active * np.maximum(stroke, 0) + 0.08 * unrest(1, 4.0)[:, 0], 0, 1))
        relaxed = habits.curl + np.array([-0.1, -0.08, 0.0, 0.06, 0.1])
        strike = active * (0.28 * np.maximum(stroke, 0) - 0.3 * np.minimum(stroke, 0))
        curl.append(np.clip(relaxed - strike[:, None] + 0.05 * unrest(5, 3.0), 0, 0.9))
    return Motion(
        opening=np.clip(habits.articulation * rule.lip_rule(phonemes, frames, fps), 0, None),
        width=rule.width_rule(phonemes, frames, fps),
        blink=_blinks(blinks, frames, fps),
        gaze=np.clip(0.35 * unrest(2, 2.5) - 0.02 * head[:, :2], -1, 1),
        brows=np.clip(
            habits.brows * (0.55 * np.maximum(stroke, 0) - 0.8 * np.minimum(stroke, 0)) + 0.1 * unrest(1, 4.0)[:, 0],
            -0.2,
            1,
        ),
        head=head,
        trunk=trunk,
        breath=0.0022 * np.sin(2 * np.pi * (np.arange(frames) / fps / 3.8 + generator.uniform())),
        wrists=np.stack(wrists, 1),
        turn=np.stack(turn, 1),
        curl=np.stack(curl, 1),
        spread=np.stack(spread, 1),
        beats=beats,
        blinks=blinks,
    )


def still(speaker: Speaker) -> Motion:
    """One frame of the speaker at rest, mouth closed, eyes open."""
    one = motion(speaker, [], 1, 25.0, 0)
    calm = {"head": np.zeros((1, 3)), "blink": np.zeros(1), "gaze": np.zeros((1, 2)), "brows": np.zeros(1)}
    return Motion(**{**one.__dict__, **calm})


def _unrest(generator: np.random.Generator, frames: int, fps: float, slow: float) -> np.ndarray:
    """Smooth random movement of about unit size whose periods are near `slow` seconds."""
    times = np.arange(frames) / fps
    periods = slow * generator.uniform(0.6, 1.7, 3)
    phases = generator.uniform(0, 2 * np.pi, 3)
    return 0.6 * np.sin(2 * np.pi * times[:, None] / periods + phases).sum(-1)


def _blink_times(generator: np.random.Generator, duration: float) -> np.ndarray:
    times, now = [], float(generator.uniform(0.6, 2.5))
    while now < duration:
        times.append(now)
        now += float(generator.uniform(1.8, 4.5))
    return np.array(times)


def _blinks(times: np.ndarray, frames: int, fps: float) -> np.ndarray:
    away = np.abs(np.arange(frames)[:, None] / fps - times[None])
    return np.clip(1.35 - away / 0.1, 0, 1).max(1, initial=0)
