"""What a face shows beside its speech: one of a few expressions, as changes of a head's outlines."""

from typing import Final, NamedTuple

import numpy as np


class Expression(NamedTuple):
    """How far outlines move at full strength, in head units.

    Attributes:
        corners: of the mouth, upward.
        width: of the mouth, as a share.
        inner_brows: the ends near the nose, upward.
        outer_brows: the others, upward.
        upper_lids: upward, where the eyes are open.
        lower_lids: likewise.
        gap: of the lips.
    """

    corners: float = 0.0
    width: float = 0.0
    inner_brows: float = 0.0
    outer_brows: float = 0.0
    upper_lids: float = 0.0
    lower_lids: float = 0.0
    gap: float = 0.0


EXPRESSIONS: Final = {
    "neutral": Expression(),
    "happy": Expression(corners=0.13, width=0.22, outer_brows=0.03, lower_lids=0.02),
    "sad": Expression(corners=-0.1, width=-0.06, inner_brows=0.12, outer_brows=-0.06, upper_lids=-0.02),
    "angry": Expression(corners=-0.05, width=-0.12, inner_brows=-0.13, outer_brows=0.05, upper_lids=-0.025),
    "surprised": Expression(width=-0.1, inner_brows=0.14, outer_brows=0.15, upper_lids=0.045, gap=0.1),
}
"""By the labels that `models.human.expressions.EXPRESSIONS` has, too."""
_OUTER_LIPS_DOWN: Final = slice(7, 12)
_INNER_LIPS_DOWN: Final = slice(5, 8)


def express(face: dict[str, np.ndarray], name: str, strength: float, blink: np.ndarray) -> dict[str, np.ndarray]:
    """A moving face with an expression on it.

    Args:
        face: outlines (T, n, 3) in head units, y down, as `preprocessing.synthetic.head.face` makes them.
        name: one of `EXPRESSIONS`.
        strength: 0 nothing to 1 all of it.
        blink: (T,) 0 open to 1 shut: lids that are shut stay so.
    """
    wanted = Expression(*(strength * value for value in EXPRESSIONS[name]))
    found = {part: outline.copy() for part, outline in face.items()}
    middle = face["outer_lips"][..., 0].mean(1, keepdims=True)
    half = np.abs(face["outer_lips"][:, [0, 6], 0] - middle).max(1, keepdims=True)
    for part, down in (("outer_lips", _OUTER_LIPS_DOWN), ("inner_lips", _INNER_LIPS_DOWN)):
        lips = found[part]
        aside = lips[..., 0] - middle
        lips[..., 1] -= wanted.corners * np.abs(aside / half) ** 1.6
        lips[..., 0] = middle + (1 + wanted.width) * aside
        lips[:, down, 1] += wanted.gap * (1 - np.abs(aside[:, down] / half) ** 2)
    # Of five points an eyebrow's inner end is the last of the right one, the first of the left one.
    share = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    inner = np.concatenate([share, share[::-1]])
    found["brows"][..., 1] -= inner * wanted.inner_brows + (1 - inner) * wanted.outer_brows
    open_ = (1 - blink)[:, None]
    eyes = found["eyes"]
    eyes[:, [1, 2, 7, 8], 1] -= open_ * wanted.upper_lids
    eyes[:, [4, 5, 10, 11], 1] -= open_ * wanted.lower_lids
    return found
