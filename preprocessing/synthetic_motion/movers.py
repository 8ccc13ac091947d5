"""How a synthetic person stands and moves: posture, tempo and amplitude, a function of (seed, number)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mover:
    """One person's manner; bone lengths are everybody's.

    Attributes:
        name: "s00", as synthetic speakers are called.
        number: of the person.
        tempo: of movements, 1 as most people.
        amplitude: of movements, 1 as most people.
        stoop: degrees that the trunk leans forward at rest.
        head: degrees that the head is down at rest.
        stance: metres between the ankles.
        toes: degrees that each foot is turned outward.
        knees: metres that the pelvis stands below straight legs.
        abduction: degrees that the hanging arms stand off.
        elbow: degrees that they are bent.
        sway: metres of the pelvis' slow movement.
        through_side: how likely an arm is raised sideways, not in front.
        beat: how far the hands go on a stressed syllable.
    """

    name: str
    number: int
    tempo: float
    amplitude: float
    stoop: float
    head: float
    stance: float
    toes: float
    knees: float
    abduction: float
    elbow: float
    sway: float
    through_side: float
    beat: float


def mover(number: int, seed: int = 0) -> Mover:
    """The person of a number, from 0; the same number and seed always give the same."""
    generator = np.random.default_rng([seed, number, 23])

    def between(low: float, high: float) -> float:
        return float(generator.uniform(low, high))

    return Mover(
        name=f"s{number:02d}",
        number=number,
        tempo=between(0.9, 1.1),
        amplitude=between(0.92, 1.08),
        stoop=between(-2.0, 5.0),
        head=between(-3.0, 8.0),
        stance=between(0.17, 0.25),
        toes=between(3.0, 13.0),
        knees=between(0.008, 0.025),
        abduction=between(6.0, 13.0),
        elbow=between(12.0, 28.0),
        sway=between(0.003, 0.009),
        through_side=between(0.2, 0.8),
        beat=between(0.8, 1.15),
    )
