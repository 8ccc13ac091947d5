"""Who speaks: looks, voice and habits of a synthetic person, each a function of (seed, number)."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from preprocessing.synthetic.speech import Voice

Colour = tuple[int, int, int]
Hairstyle = Literal["short", "side", "bob", "long", "bun", "curly", "bald"]
Clothing = Literal["shirt", "sweater", "blazer"]

_SKIN: Final[tuple[Colour, ...]] = (
    (240, 200, 172), (141, 91, 62), (226, 175, 138), (184, 128, 92), (248, 214, 190), (104, 66, 46), (208, 154, 116),
)  # fmt: skip
_HAIR: Final[tuple[Colour, ...]] = (
    (74, 48, 34), (28, 24, 26), (196, 148, 82), (46, 34, 30), (150, 74, 40), (22, 20, 24), (104, 78, 58),
    (150, 148, 150),
)  # fmt: skip
_CLOTH: Final[tuple[Colour, ...]] = (
    (46, 92, 140), (190, 78, 70), (58, 118, 96), (226, 176, 72), (104, 78, 138), (64, 70, 84), (206, 120, 146),
    (80, 140, 160),
)  # fmt: skip
_INNER: Final[tuple[Colour, ...]] = ((238, 238, 234), (222, 228, 236), (52, 54, 62), (240, 228, 210))
_WALL: Final[tuple[Colour, ...]] = (
    (214, 206, 192), (176, 194, 204), (200, 208, 190), (216, 196, 188), (188, 186, 206), (222, 214, 178),
    (168, 188, 186),
)  # fmt: skip
_IRIS: Final[tuple[Colour, ...]] = ((92, 62, 40), (70, 48, 32), (86, 118, 140), (96, 112, 74), (60, 42, 30))
_LOOKS: Final[tuple[tuple[Hairstyle, Clothing, str], ...]] = (
    ("bob", "shirt", "her"), ("short", "sweater", "him"), ("long", "blazer", "her"), ("bald", "shirt", "him"),
    ("bun", "sweater", "her"), ("side", "blazer", "him"), ("curly", "sweater", "her"), ("short", "blazer", "him"),
)  # fmt: skip
# Variants with breath (f2, f3, f5) are left out: espeak-ng does not repeat them to the last sample.
_HER: Final = ("en-us+f4", "en+steph", "en-us+f1", "en-gb-scotland+f4", "en-us+Annie", "en-gb-x-rp+steph")
_HIM: Final = ("en-us+m3", "en+m7", "en-us+m1", "en-gb-scotland+m2", "en-gb-x-rp+m5", "en-us+m6")


@dataclass(frozen=True)
class Habits:
    """How a speaker moves on the beats of their own speech.

    Args:
        hands: which hands strike: "right", "left" or "both".
        reach: how far a stroke lifts the wrist, as a fraction of the frame.
        outward: how far it goes outward, as a share of `reach`.
        nod: degrees that the head goes down on a beat.
        tilt: degrees that the head leans sideways on a beat.
        brows: how far the brows rise on a beat, 0 to 1.
        sway: slow movement of the trunk, as a fraction of the frame.
        turn: degrees of the head's slow turning.
        articulation: how far the mouth opens, 1 as most people.
        rest: wrists at rest, (right, left) each (x from the middle, y) in fractions of the frame; right's x < 0.
        curl: of the fingers at rest, 0 straight to 1.
    """

    hands: Literal["right", "left", "both"]
    reach: float
    outward: float
    nod: float
    tilt: float
    brows: float
    sway: float
    turn: float
    articulation: float
    rest: tuple[tuple[float, float], tuple[float, float]]
    curl: float


@dataclass(frozen=True)
class Look:
    """What a speaker looks like; lengths are relative to the average person."""

    skin: Colour
    hair: Colour
    cloth: Colour
    inner: Colour
    wall: Colour
    iris: Colour
    hairstyle: Hairstyle
    clothing: Clothing
    beard: bool
    glasses: bool
    head: float
    jaw: float
    eyes: float
    lips: float
    nose: float
    shoulders: float
    hand: float
    scene: int


@dataclass(frozen=True)
class Speaker:
    """One person: `name` is what the manifest says, `number` with `seed` what it was made from."""

    name: str
    number: int
    seed: int
    voice: Voice
    look: Look
    habits: Habits
    gain: float
    noise: float


def speaker(number: int, seed: int = 0) -> Speaker:
    """The speaker of a number, from 0; the same number and seed always give the same person."""
    generator = np.random.default_rng([seed, number, 7])
    hairstyle, clothing, sex = _LOOKS[number % len(_LOOKS)]

    def pick(palette: tuple[Colour, ...]) -> Colour:
        return palette[(number + seed) % len(palette)]

    def around(spread: float) -> float:
        return float(1 + generator.uniform(-spread, spread))

    look = Look(
        skin=pick(_SKIN), hair=pick(_HAIR), cloth=pick(_CLOTH), inner=pick(_INNER), wall=pick(_WALL), iris=pick(_IRIS),
        hairstyle=hairstyle, clothing=clothing, beard=sex == "him" and (number + seed) % 4 != 1,
        glasses=(number + seed) % 5 == 1,
        head=around(0.04), jaw=around(0.06) * (1.03 if sex == "him" else 0.96), eyes=around(0.08),
        lips=around(0.15) * (0.9 if sex == "him" else 1.12), nose=around(0.12),
        shoulders=around(0.03) * (1.06 if sex == "him" else 0.95), hand=around(0.05) * (1.05 if sex == "him" else 0.97),
        scene=(number + seed) % 3,
    )  # fmt: skip
    right = (-generator.uniform(0.07, 0.12), generator.uniform(0.80, 0.85))
    left = (-right[0] + generator.uniform(-0.02, 0.02), right[1] + generator.uniform(-0.01, 0.01))
    habits = Habits(
        hands=("both", "right", "left")[(number + seed) % 3],
        reach=float(generator.uniform(0.085, 0.13)),
        outward=float(generator.uniform(0.2, 0.6)),
        nod=float(generator.uniform(5, 8) if number % 2 == 0 else generator.uniform(1, 2.5)),
        tilt=float(
            generator.uniform(-1.0, 1.0) if number % 2 == 0 else generator.choice([-1, 1]) * generator.uniform(4, 6)
        ),
        brows=float(generator.uniform(0.3, 1.0)),
        sway=float(generator.uniform(0.004, 0.012)),
        turn=float(generator.uniform(3, 8)),
        articulation=float(generator.uniform(0.88, 1.12)),
        rest=((float(right[0]), float(right[1])), (float(left[0]), float(left[1]))),
        curl=float(generator.uniform(0.25, 0.5)),
    )
    voices = _HER if sex == "her" else _HIM
    voice = Voice(
        voices[(number // 2 + seed) % len(voices)],
        rate=int(generator.integers(145, 185)),
        pitch=int(generator.integers(38, 62)),
        range=int(generator.integers(45, 75)),
    )
    gain, noise = float(generator.uniform(0.65, 0.95)), float(10 ** generator.uniform(-3.6, -2.9))
    return Speaker(f"s{number:02d}", number, seed, voice, look, habits, gain, noise)
