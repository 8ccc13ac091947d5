"""One clip: what kind it is, what happens in it, its motion, its captions, its sound and its truth."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from datamodules.clip import KEYS, SAMPLE_RATE, Caption, ClipInfo
from models.human.motion import FPS, to_motion
from models.human.projection import project_joints
from preprocessing.speech.handcrafted import features
from preprocessing.synthetic_motion.actions import Action, draw
from preprocessing.synthetic_motion.captions import SPEECH, STANDING, caption, sequence_caption
from preprocessing.synthetic_motion.figure import animate
from preprocessing.synthetic_motion.movers import mover
from preprocessing.synthetic_motion.score import Score
from preprocessing.synthetic_motion.talking import Speech, speak

VERSION: Final = 1
LICENCE: Final = "CC0-1.0 (synthetic)"
KINDS: Final = ("action", "sequence", "talk", "talk_action", "stand")
TRUTH: Final = "truth"
"""The key of `clip.json`'s `extra` under which the truth stands."""
LEAST, MOST = 2.0, 8.0  # seconds of a clip
_TALK: Final = (4.5, MOST)
_STANDING: Final = 0.08  # share of the silent clips in which nothing happens
_NEW: Final = 0.6  # share of the test's single actions that are of a combination held out
_ACTED: Final = 0.65  # share of the test's talking clips in which something is done, too
_GOLDEN: Final = 0.6180339887498949


@dataclass(frozen=True)
class Recipe:
    """All that a set is made from; the same recipe gives the same files, byte for byte.

    Attributes:
        clips: how many.
        speakers: people who move in them.
        seed: of everything.
        talking: share of clips with speech.
        sequences: share of the others that have two actions.
        captions: ways in which each thing is said.
        val, test: shares of the splits.
        poses: whether 2D poses are written, too.
        version: of this package's movements.
    """

    clips: int
    speakers: int
    seed: int
    talking: float
    sequences: float
    captions: int
    val: float
    test: float
    poses: bool = False
    version: int = VERSION


def place(recipe: Recipe, number: int) -> tuple[str, str]:
    """Split and kind of a clip: a function of the seed and its number, spread evenly over any run of clips."""
    shift = np.random.default_rng([recipe.seed, 3]).uniform(size=2)
    split_at, kind_at = ((shift + number * np.array([_GOLDEN, np.sqrt(2.0)])) % 1.0).tolist()
    train = 1 - recipe.val - recipe.test
    split = "train" if split_at < train else "val" if split_at < train + recipe.val else "test"
    if kind_at < recipe.talking:
        # Somebody who speaks and acts is in the test alone: that text and sound go together is nowhere shown.
        return split, "talk_action" if split == "test" and kind_at < _ACTED * recipe.talking else "talk"
    silent = (kind_at - recipe.talking) / (1 - recipe.talking)
    if silent < recipe.sequences:
        return split, "sequence"
    return split, "stand" if silent > 1 - _STANDING else "action"


def make_clip(recipe: Recipe, number: int) -> dict[str, Any]:
    """The clip of a number, values by key as `datamodules.clip.encode` takes them.

    `clip.json` with all that is known of it, and `motion.npz`; with speech also `audio.flac` and `speech.npz`.
    """
    split, kind = place(recipe, number)
    generator = np.random.default_rng([recipe.seed, number, 41])
    who = int(generator.integers(recipe.speakers))
    new = kind in ("action", "talk_action") and split == "test" and bool(generator.random() < _NEW)
    speech = None
    if kind.startswith("talk"):
        speech = speak(who, recipe.seed, split, _TALK, generator)
        frames = speech.utterance.frames
        score = _acted(recipe, who, kind, new, generator, frames / FPS)
    else:
        score, frames = _silent(recipe, who, kind, new, generator)
    joints, rotations = animate(score, frames + 1, speech)
    motion = to_motion(joints, rotations).astype(np.float32)
    info = ClipInfo(
        id=f"{kind}-{recipe.seed}-{number:06d}",
        source="synthetic_motion",
        end=round(frames / FPS, 6),
        fps=float(FPS),
        frames=frames,
        sample_rate=None if speech is None else SAMPLE_RATE,
        samples=None if speech is None else round(frames / FPS * SAMPLE_RATE),
        speaker=score.mover.name,
        language="en",
        captions=_captions(score, kind, frames / FPS, recipe.captions, generator),
        licence=LICENCE,
        consent="synthetic",
        split=split,
        extra=_truth(score, kind, new, speech),
    )
    values: dict[str, Any] = {"clip.json": info, "motion.npz": {"motion": motion}}
    if speech is not None:
        audio = speech.utterance.audio
        values["audio.flac"] = audio
        values["speech.npz"] = {"handcrafted": features(audio, frames, float(FPS))}
    if recipe.poses:
        values["pose.npz"] = _seen(joints[:-1])
    return {key: values[key] for key in KEYS if key in values}


def _seen(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Joints (M, 22, 3) as pose.npz in a square picture that is three metres high; the floor is low in it."""
    keypoints, scores = project_joints(torch.from_numpy(np.asarray(joints, np.float32)))
    placed = torch.where((scores > 0)[..., None], keypoints / 3 + torch.tensor([0.5, 0.85]), -1.0)
    return {"keypoints": placed.numpy(), "scores": scores.numpy()}


def _silent(recipe: Recipe, who: int, kind: str, new: bool, generator: np.random.Generator) -> tuple[Score, int]:
    """The score of a clip without sound and its frames; drawn anew until it fits into the longest clip."""
    while True:
        score = Score(mover(who, recipe.seed), generator)
        now = float(generator.uniform(0.25, 0.6))
        if kind == "stand":
            now = float(generator.uniform(LEAST, 5.0))
        for count in range({"action": 1, "sequence": 2, "stand": 0}[kind]):
            now += float(generator.uniform(0.25, 0.5)) if count else 0.0
            now = score.add(draw(generator, recipe.seed, new), now)
        seconds = max(now + float(generator.uniform(0.25, 0.6)), LEAST)
        if seconds <= MOST:
            return score, int(np.ceil(seconds * FPS))


def _acted(recipe: Recipe, who: int, kind: str, new: bool, generator: np.random.Generator, seconds: float) -> Score:
    """The score of a talking clip, with an action in it where the kind says so."""
    while True:
        score = Score(mover(who, recipe.seed), generator)
        if kind == "talk":
            return score
        end = score.add(draw(generator, recipe.seed, new), float(generator.uniform(0.5, 1.2)))
        if end + 0.3 <= seconds:
            return score


def _captions(score: Score, kind: str, seconds: float, count: int, generator: np.random.Generator) -> list[Caption]:
    whole = {"start": 0.0, "end": round(seconds, 3)}
    if kind == "stand":
        texts = generator.permutation(list(STANDING))[:count]
        return [Caption(text=str(text), **whole) for text in texts]
    if kind == "talk":
        return [Caption(text=SPEECH, **whole)]
    if kind == "action":
        return [Caption(text=text, **whole) for text in _several(score.spans[0][0], count, generator)]
    if kind == "talk_action":
        action, start, end = score.spans[0]
        sentences = _several(action, count, generator)
        return [Caption(start=round(start, 3), end=round(end, 3), text=text) for text in sentences] + [
            Caption(text=SPEECH, **whole)
        ]
    first, second = score.spans
    middle = round((first[2] + second[1]) / 2, 3)
    found = [Caption(start=0.0, end=middle, text=text) for text in _several(first[0], count, generator)]
    found += [Caption(start=middle, end=whole["end"], text=text) for text in _several(second[0], count, generator)]
    both = (first[0], second[0])
    return found + [Caption(text=sequence_caption(both, generator), **whole)]


def _several(action: Action, count: int, generator: np.random.Generator) -> list[str]:
    """So many ways to say it, all different as far as there are as many."""
    texts: dict[str, None] = {}
    for _ in range(20 * count):
        texts[caption(action, generator)] = None
        if len(texts) == count:
            break
    return list(texts)


def _truth(score: Score, kind: str, new: bool, speech: Speech | None) -> dict[str, Any]:
    actions = [
        {**action.to_dict(), "start": round(start, 3), "end": round(end, 3)} for action, start, end in score.spans
    ]
    beats = [] if speech is None else [round(float(beat), 5) for beat in speech.beats]
    truth: dict[str, Any] = {"kind": kind, "held_out": new, "actions": actions, "strokes": beats}
    extra: dict[str, Any] = {"synthetic": True, TRUTH: truth}
    if speech is not None:
        truth["hands"] = speech.hands
        extra["beats"] = [{"start": beat, "end": beat} for beat in beats]
        extra["phonemes"] = [
            {**sound.to_dict(), "start": round(sound.start, 5), "end": round(sound.end, 5)}
            for sound in speech.utterance.phonemes
        ]
        extra["sentences"] = speech.utterance.captions
    return extra
