"""One clip of an actor: what happens in it, its sound, its figure, and the truth."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from models.human.motion import FPS
from preprocessing.synthetic import rule
from preprocessing.synthetic.motion import motion
from preprocessing.synthetic.phonemes import Phoneme
from preprocessing.synthetic.speakers import Speaker, speaker
from preprocessing.synthetic.speech import RATE
from preprocessing.synthetic_actors.draw import render
from preprocessing.synthetic_actors.expressions import EXPRESSIONS
from preprocessing.synthetic_actors.figure import Actor, Camera, Scale, actor
from preprocessing.synthetic_motion.actions import draw
from preprocessing.synthetic_motion.captions import SPEECH, caption
from preprocessing.synthetic_motion.figure import animate
from preprocessing.synthetic_motion.movers import mover
from preprocessing.synthetic_motion.score import Score
from preprocessing.synthetic_motion.talking import Speech, speak

VERSION: Final = 1
Kind = Literal["talk", "act", "talk_act"]
ABLE: Final[dict[str, tuple[str, ...]]] = {
    "head": (),
    "half": ("wave", "raise", "point"),
    "whole": ("wave", "raise", "point", "step", "bow", "turn"),
}
"""What a picture of each scale can show."""
KINDS: Final[dict[str, tuple[Kind, ...]]] = {
    "head": ("talk",),
    "half": ("talk", "act", "talk_act"),
    "whole": ("talk", "act", "talk_act"),
}
_AWAY: Final = 60.0  # degrees that a head may be turned from the camera: beyond, it would be drawn wrongly
_TRIES: Final = 200


@dataclass(frozen=True)
class Recipe:
    """All that one clip is made from; the same recipe gives the same frames and sound, byte for byte.

    Attributes:
        name: of its files.
        number: of the person.
        clip: of that person's.
        scale: how much of them is seen.
        kind: whether they speak, act, or both at once.
        split: that it is in.
        seed: of everything.
        least, most: seconds.
        size: of the square picture in pixels.
        fps: frames a second.
        version: of this package.
    """

    name: str
    number: int
    clip: int
    scale: Scale
    kind: Kind
    split: str
    seed: int
    least: float
    most: float
    size: int
    fps: float
    version: int = VERSION


@dataclass(frozen=True)
class ActorClip:
    """A clip.

    Attributes:
        recipe: that it was made from.
        person: the figure.
        audio: (N,) float32 in [-1, 1], 16 kHz, as long as the frames.
        captions: with start and end in seconds.
        truth: what is known: label of the expression, and its strength; `blink` and `opening` (of the mouth) of each
            frame; actions with their spans; sounds; beats.
        floor: where it meets the wall, in fractions of the picture.
    """

    recipe: Recipe
    person: Actor
    audio: np.ndarray
    captions: list[dict[str, Any]]
    truth: dict[str, Any]
    floor: float

    def frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, one after another."""
        return render(self.person, self.recipe.size, self.floor)


def make_clip(recipe: Recipe) -> ActorClip:
    """The clip of a recipe."""
    generator = np.random.default_rng([recipe.seed, recipe.number, recipe.clip, 53])
    who = speaker(recipe.number, recipe.seed)
    camera = Camera.of(recipe.scale, generator)
    label = str(generator.choice(list(EXPRESSIONS)))
    strength = float(generator.uniform(0.75, 1.0))
    speech = None
    if recipe.kind != "act":
        part = "test" if recipe.split.startswith("test") else recipe.split
        speech = speak(recipe.number, recipe.seed, part, (recipe.least, recipe.most), generator)
    face_seed = int(generator.integers(2**31))
    for _ in range(_TRIES):
        score, seconds = _written(recipe, speech, generator)
        if score is None:
            continue
        frames = round(seconds * recipe.fps)
        steps = int(np.ceil(round(seconds * FPS, 6))) + 1
        joints, rotations = _at_frames(*animate(score, steps, speech), frames, recipe.fps)
        phonemes: list[Phoneme] = [] if speech is None else speech.utterance.phonemes
        moves = motion(who, phonemes, frames, recipe.fps, face_seed)
        person = actor(who, camera, joints, rotations, moves, label, strength)
        if _seen(person):
            break
    else:
        raise RuntimeError(f"{recipe.name}: nothing that fits into {recipe.most:g} s and into the picture")
    truth = {
        "scale": recipe.scale,
        "kind": recipe.kind,
        "expression": label,
        "strength": round(strength, 4),
        "blink": [round(float(value), 4) for value in moves.blink],
        "opening": [round(float(value), 4) for value in moves.opening],
        "actions": [
            {**action.to_dict(), "start": round(start, 3), "end": round(end, 3)} for action, start, end in score.spans
        ],
        "phonemes": [{**p.to_dict(), "start": round(p.start, 5), "end": round(p.end, 5)} for p in phonemes],
        "beats": [] if speech is None else [round(float(beat), 5) for beat in rule.beats(phonemes)],
        "habits": asdict(who.habits),
        "look": asdict(who.look),
    }
    floor = float(camera.seen(np.zeros(2))[1])
    audio = _sound(who, speech, frames, recipe.fps, generator)
    return ActorClip(recipe, person, audio, _captions(score, speech, frames / recipe.fps, generator), truth, floor)


def _written(recipe: Recipe, speech: Speech | None, generator: np.random.Generator) -> tuple[Score | None, float]:
    """What is done, and how long the clip is; None where it does not fit."""
    score = Score(mover(recipe.number, recipe.seed), generator)
    if recipe.kind == "talk":
        assert speech is not None
        return score, speech.utterance.frames / FPS
    action = draw(generator, recipe.seed)
    while action.name not in ABLE[recipe.scale]:
        action = draw(generator, recipe.seed)
    end = score.add(action, float(generator.uniform(0.3, 0.8)))
    seconds = speech.utterance.frames / FPS if speech is not None else max(recipe.least, end + 0.4)
    fits = end + 0.3 <= seconds <= recipe.most
    return (score if fits else None), seconds


def _at_frames(joints: np.ndarray, rotations: np.ndarray, frames: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Joints and rotations at 20 a second, at each of so many frames."""
    there = np.arange(len(joints)) / FPS
    times = np.minimum(np.arange(frames) / fps, there[-1])
    flat = joints.reshape(len(joints), -1)
    moved = np.stack([np.interp(times, there, column) for column in flat.T], -1).reshape(frames, *joints.shape[1:])
    turned = [
        Slerp(there, Rotation.from_matrix(rotations[:, joint]))(times).as_matrix()
        for joint in range(rotations.shape[1])
    ]
    return moved, np.stack(turned, 1)


def _seen(person: Actor) -> bool:
    """Whether the face stays in the picture and towards the camera."""
    eyes = person.outlines["eyes"]
    width = np.abs(eyes[:, 6:].mean(1) - eyes[:, :6].mean(1))[:, 0]
    widest = 2 * 0.335 * 0.1 * person.metre * person.speaker.look.head  # of eyes that look straight ahead
    turned = width / widest > np.cos(np.radians(_AWAY))
    skin = person.outlines["skin"]
    inside = (skin.mean(1) > 0.08).all(-1) & (skin.mean(1) < 0.92).all(-1)
    facing = eyes[:, 6:, 0].mean(1) > eyes[:, :6, 0].mean(1)
    return bool((turned & inside & facing).all())


def _sound(who: Speaker, speech: Speech | None, frames: int, fps: float, generator: np.random.Generator) -> np.ndarray:
    """As long as the frames: what is said, or the noise of the room."""
    samples = round(frames / fps * RATE)
    if speech is None:
        noise = np.convolve(generator.normal(0, who.noise, samples + 3), [0.25, 0.25, 0.25, 0.25], "valid")
        return noise.astype(np.float32)
    audio = speech.utterance.audio[:samples]
    return np.pad(audio, (0, samples - len(audio))).astype(np.float32)


def _captions(
    score: Score, speech: Speech | None, seconds: float, generator: np.random.Generator
) -> list[dict[str, Any]]:
    found = [
        {"start": round(start, 3), "end": round(min(end, seconds), 3), "text": caption(action, generator)}
        for action, start, end in score.spans
    ]
    if speech is not None:
        found.append({"start": 0.0, "end": round(seconds, 3), "text": SPEECH})
    return found
