"""Arms of somebody who speaks: hands held ready while there is speech, struck on the stressed syllables."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from models.human.motion import FPS
from preprocessing.synthetic import rule
from preprocessing.synthetic.phonemes import Phoneme
from preprocessing.synthetic.speakers import Speaker, speaker
from preprocessing.synthetic.utterance import Utterance, utterance
from preprocessing.synthetic_motion.arms import SIDES, ArmPath, ArmPose, hanging
from preprocessing.synthetic_motion.curves import geodesic
from preprocessing.synthetic_motion.movers import Mover

_READY: Final = ArmPose((0.30, -0.95, 0.12), (-0.28, -0.05, 0.95))
_RAISED: Final = ArmPose((0.42, -0.85, 0.42), (0.05, 0.42, 0.85))
_IDLE: Final = 0.12
"""How much of the stroke a hand makes that the speaker does not strike with."""


@dataclass(frozen=True)
class Speech:
    """What is said in a clip, and the gestures that go with it.

    Attributes:
        utterance: sound, sounds with their times, sentences.
        beats: (K,) seconds at which a stroke of the hands stops.
        talk: (T,) 1 while somebody speaks, 0 in silence.
        stroke: (T,) 1 raised, -0.4 struck, 0 ready (`preprocessing.synthetic.rule.gesture`).
        hands: which strike: "left", "right" or "both".
    """

    utterance: Utterance
    beats: np.ndarray
    talk: np.ndarray
    stroke: np.ndarray
    hands: str


def speak(number: int, seed: int, part: str, seconds: tuple[float, float], generator: np.random.Generator) -> Speech:
    """Let the synthetic speaker of a number talk.

    Args:
        number: of the person, as `mover` has them.
        seed: of the set.
        part: whose sentences: train, val or test.
        seconds: shortest and longest clip.
        generator: of the clip.
    """
    who: Speaker = speaker(number, seed)
    spoken = utterance(who, part, seconds, float(FPS), generator)
    phonemes: list[Phoneme] = spoken.phonemes
    frames, beats = spoken.frames + 1, rule.beats(phonemes)
    stroke, talk = rule.gesture(beats, frames, float(FPS)), rule.speaking(phonemes, frames, float(FPS))
    return Speech(spoken, beats, talk, stroke, who.habits.hands)


def resting_arms(who: Mover, frames: int, unrest: np.ndarray, speech: Speech | None = None) -> dict[str, ArmPath]:
    """Both arms by themselves: hanging, or held ready and striking where there is speech.

    Args:
        who: whose.
        frames: T.
        unrest: (T, 6) of about unit size: small movements of shoulders and elbows.
        speech: what is said.
    """
    arms = {}
    for number, side in enumerate(SIDES):
        shoulder, bend = hanging(who.abduction, who.elbow).solve(side)
        turn = Rotation.from_quat(np.tile(shoulder.as_quat(), (frames, 1)))
        elbow = np.full(frames, bend)
        if speech is not None:
            active = 1.0 if speech.hands in (side, "both") else _IDLE
            turn, elbow = _blend(turn, elbow, _READY, side, (0.3 + 0.7 * active) * speech.talk)
            turn, elbow = _blend(turn, elbow, _RAISED, side, active * who.beat * speech.stroke)
        small = np.radians(1.2) * unrest[:, 3 * number : 3 * number + 3] * [1.0, 1.0, 1.8]
        turn = Rotation.from_rotvec(np.stack([small[:, 0], np.zeros(frames), small[:, 1]], -1)) * turn
        arms[side] = ArmPath(side, turn, np.maximum(elbow + small[:, 2], 0.05))
    return arms


def _blend(
    turn: Rotation, elbow: np.ndarray, pose: ArmPose, side: str, share: np.ndarray
) -> tuple[Rotation, np.ndarray]:
    shoulder, bend = pose.solve(side)
    end = Rotation.from_quat(np.tile(shoulder.as_quat(), (len(share), 1)))
    return geodesic(turn, end, share), elbow + share * (bend - elbow)
