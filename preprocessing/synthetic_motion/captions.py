"""Says in words what an action is: templates with synonyms, so that no two captions of a clip need be the same."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from preprocessing.synthetic_motion.actions import Action

SPEECH: Final = "A person is giving a speech."
"""The caption of every talking clip, and the fixed text of the audio branch (VA-8)."""
STANDING: Final = (
    "a person stands still", "someone is standing", "a person stands and does nothing", "somebody stands in place",
    "a figure is standing still", "stand still",
)  # fmt: skip

_SUBJECTS: Final = ("a person", "someone", "somebody", "a figure", "the person")
_VERBS: Final[dict[str, tuple[str, str, str]]] = {
    "wave": ("wave", "waves", "waving"),
    "raise": ("raise", "raises", "raising"),
    "lift": ("lift", "lifts", "lifting"),
    "put": ("put", "puts", "putting"),
    "point": ("point", "points", "pointing"),
    "take": ("take", "takes", "taking"),
    "step": ("step", "steps", "stepping"),
    "walk": ("walk", "walks", "walking"),
    "turn": ("turn", "turns", "turning"),
    "make": ("make", "makes", "making"),
    "bow": ("bow", "bows", "bowing"),
}
_SPEED: Final = {"slow": ("slowly", "without hurry", "at a slow pace"), "fast": ("quickly", "fast", "rapidly")}
_TIMES: Final = {1: ("once", "one time"), 2: ("twice", "two times"), 3: ("three times", "thrice")}
_NUMBERS: Final = {1: "one", 2: "two", 3: "three"}
_TOWARDS: Final = {
    "forward": ("forward", "to the front", "ahead"),
    "back": ("backward", "back", "backwards"),
    "left": ("to the left", "left", "to the left side"),
    "right": ("to the right", "right", "to the right side"),
}
_TURNS: Final = {"slight": ("slightly", "a little", "a bit"), "half": ("around", "all the way around")}
_BOWS: Final = {"slight": ("slightly", "a little", "a bit"), "deep": ("deeply", "low", "far down")}


def caption(action: Action, generator: np.random.Generator) -> str:
    """One way to say it: "a person waves the right hand twice", "lift the left arm slowly"."""
    form = int(generator.choice(3, p=(0.2, 0.55, 0.25)))
    subject = _pick(_SUBJECTS, generator)
    opening = ("", f"{subject} ", f"{subject} is ")[form]
    return opening + phrase(action, form, generator)


def sequence_caption(actions: Sequence[Action], generator: np.random.Generator) -> str:
    """Several actions after one another in one sentence."""
    joint = _pick((" and then ", ", then ", " and after that "), generator)
    subject = _pick(_SUBJECTS, generator)
    return f"{subject} " + joint.join(phrase(action, 1, generator) for action in actions)


def phrase(action: Action, form: int, generator: np.random.Generator) -> str:
    """The verb with all that belongs to it.

    Args:
        action: what is done.
        form: of the verb: 0 "wave", 1 "waves", 2 "waving".
        generator: chooses the words.
    """
    verb, rest = _PHRASES[action.name](action, generator)
    words = [_VERBS[verb][form], *rest]
    if action.speed != "normal":
        how = _pick(_SPEED[action.speed], generator)
        first = how.endswith("ly") and form != 0 and generator.random() < 0.3
        words.insert(0 if first else len(words), how)
    return " ".join(word for word in words if word)


def _pick(words: Sequence[str], generator: np.random.Generator) -> str:
    return words[int(generator.integers(len(words)))]


def _limb(side: str | None, names: Sequence[str], generator: np.random.Generator) -> str:
    name = _pick(names, generator)
    if side == "both":
        return f"both {name}s"
    return f"{_pick(('the', 'their'), generator)} {side} {name}"


def _often(times: int, generator: np.random.Generator) -> str:
    """How often; of what is done once, mostly nothing is said."""
    return "" if times == 1 and generator.random() < 0.7 else _pick(_TIMES[times], generator)


def _wave(action: Action, generator: np.random.Generator) -> tuple[str, list[str]]:
    limb = _limb(action.side, ("hand", "arm"), generator)
    place = _pick(("high above the head", "over the head", "high in the air"), generator)
    # A wave without a number is any number, so it is always said.
    often = _pick(_TIMES[action.times], generator)
    return "wave", [_pick(("", "with"), generator), limb, place if action.amount == "high" else "", often]


def _raise(action: Action, generator: np.random.Generator) -> tuple[str, list[str]]:
    limb = _limb(action.side, ("arm", "hand"), generator)
    place = _pick(("", "up", "into the air", "above the head"), generator)
    verb = _pick(("raise", "lift", "put"), generator)
    return verb, [limb, place or ("up" if verb == "put" else ""), _often(action.times, generator)]


def _point(action: Action, generator: np.random.Generator) -> tuple[str, list[str]]:
    limb = _limb(action.side, ("hand", "arm", "finger"), generator)
    towards = _pick(_TOWARDS[str(action.direction)], generator)
    return "point", [[f"with {limb}", towards], [towards, f"with {limb}"], [limb, towards]][int(generator.integers(3))]


def _step(action: Action, generator: np.random.Generator) -> tuple[str, list[str]]:
    towards = _pick(_TOWARDS[str(action.direction)], generator)
    size = {"small": ("small", "little", "short"), "normal": ("",), "big": ("big", "large", "long")}[action.amount]
    sized = _pick(size, generator)
    if action.amount == "normal" and generator.random() < 0.4:
        return "step", [towards, _often(action.times, generator)]
    number = _NUMBERS[action.times] if action.times > 1 else _pick(("a", "one"), generator)
    steps = "steps" if action.times > 1 else "step"
    return _pick(("take", "take", "walk"), generator), [number, sized, steps, towards]


def _turn(action: Action, generator: np.random.Generator) -> tuple[str, list[str]]:
    towards = _pick(_TOWARDS[str(action.direction)], generator)
    if action.amount == "slight":
        far = _pick(_TURNS["slight"], generator)
        return "turn", _pick_order([far, towards], generator)
    if action.amount == "quarter":
        if generator.random() < 0.5:
            return "turn", [towards]
        return "make", ["a quarter turn", _beside(str(action.direction), generator)]
    if generator.random() < 0.5:
        return "turn", [_pick(_TURNS["half"], generator), _beside(str(action.direction), generator)]
    return "make", ["a half turn", _beside(str(action.direction), generator)]


def _bow(action: Action, generator: np.random.Generator) -> tuple[str, list[str]]:
    if generator.random() < 0.5:
        return "bow", [_pick(_BOWS[action.amount], generator), _often(action.times, generator)]
    size = {"slight": ("small", "slight", "little"), "deep": ("deep", "low", "long")}[action.amount]
    number = _NUMBERS[action.times] if action.times > 1 else "a"
    return "make", [number, _pick(size, generator), "bows" if action.times > 1 else "bow"]


def _beside(direction: str, generator: np.random.Generator) -> str:
    return _pick((f"to the {direction}", f"to the {direction} side"), generator)


def _pick_order(words: list[str], generator: np.random.Generator) -> list[str]:
    return words if generator.random() < 0.5 else words[::-1]


_PHRASES: Final = {"wave": _wave, "raise": _raise, "point": _point, "step": _step, "turn": _turn, "bow": _bow}
