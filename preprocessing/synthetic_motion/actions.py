"""What a synthetic person can be told to do: actions, their parameters, and the combinations that only tests show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Final

import numpy as np


@dataclass(frozen=True)
class Action:
    """One named action.

    Attributes:
        name: one of `ACTIONS`.
        side: whose arm, "left", "right" or "both", seen from the person; None where no arm is named.
        direction: "left", "right", "forward", "back" or "up", seen from the person; None without one.
        times: how often it is done.
        amount: how far: "normal" where no word says it.
        speed: "slow", "normal" or "fast".
    """

    name: str
    side: str | None = None
    direction: str | None = None
    times: int = 1
    amount: str = "normal"
    speed: str = "normal"

    @property
    def combination(self) -> tuple[str, Any, Any]:
        """The name and the two values of which some pairs are held out."""
        first, second = AXES[self.name]
        return self.name, getattr(self, first), getattr(self, second)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Action(**values)` is the way back."""
        return asdict(self)


ACTIONS: Final[Mapping[str, Mapping[str, tuple]]] = {
    "wave": {"side": ("left", "right", "both"), "times": (1, 2, 3), "amount": ("normal", "high")},
    "raise": {"side": ("left", "right", "both"), "times": (1, 2, 3), "direction": ("up",)},
    "point": {"side": ("left", "right"), "direction": ("forward", "left", "right")},
    "step": {
        "direction": ("forward", "back", "left", "right"), "times": (1, 2, 3), "amount": ("small", "normal", "big"),
    },
    "turn": {"direction": ("left", "right"), "amount": ("slight", "quarter", "half")},
    "bow": {"amount": ("slight", "deep"), "times": (1, 2, 3)},
}  # fmt: skip
"""Every action with the values of its parameters; each of them may be slow, normal or fast."""

AXES: Final[Mapping[str, tuple[str, str]]] = {
    "wave": ("side", "times"), "raise": ("side", "times"), "point": ("side", "direction"),
    "step": ("direction", "times"), "turn": ("direction", "amount"), "bow": ("amount", "times"),
}  # fmt: skip
"""The two parameters of each action that make up its combinations."""

SPEEDS: Final = ("slow", "normal", "fast")
_SHARE: Final = 1 / 5


def combinations(name: str) -> list[tuple[str, Any, Any]]:
    """All combinations of one action, in the order of the table."""
    first, second = AXES[name]
    return [(name, *values) for values in product(ACTIONS[name][first], ACTIONS[name][second])]


def held_out(seed: int) -> set[tuple[str, Any, Any]]:
    """The combinations that only test clips show, a fifth of each action's.

    No two of an action share a value, so each value of each parameter is seen in training with that very action; what
    is new in the test is the pair.
    """
    generator = np.random.default_rng([seed, 5])
    chosen: set[tuple[str, Any, Any]] = set()
    for name, (first, second) in AXES.items():
        rows, columns = ACTIONS[name][first], ACTIONS[name][second]
        count = max(1, round(_SHARE * len(rows) * len(columns)))
        pairs = zip(generator.permutation(len(rows))[:count], generator.permutation(len(columns))[:count], strict=True)
        chosen |= {(name, rows[row], columns[column]) for row, column in pairs}
    return chosen


def draw(generator: np.random.Generator, seed: int, new: bool = False) -> Action:
    """A random action: of a combination that is held out where `new`, of one that is not elsewhere.

    Args:
        generator: of the clip.
        seed: of the set, which says what is held out.
        new: see above.
    """
    name = str(generator.choice(list(ACTIONS)))
    out = held_out(seed)
    able = [one for one in combinations(name) if (one in out) == new]
    combination = able[generator.integers(len(able))]
    values = {key: options[generator.integers(len(options))] for key, options in ACTIONS[name].items()}
    values |= dict(zip(AXES[name], combination[1:], strict=True))
    speed = SPEEDS[int(generator.choice(3, p=(0.25, 0.5, 0.25)))]
    return Action(name, **values, speed=speed)
