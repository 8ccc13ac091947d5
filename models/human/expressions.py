"""Labels of facial expressions, and how others call them."""

from typing import Final

EXPRESSIONS: Final = ("neutral", "happy", "sad", "angry", "surprised", "afraid", "disgusted", "contemptuous")
"""Those of the usual data of talking faces (ours: VA-14's paper names none)."""
_OTHERS: Final = {
    "neutral": ("neutrality", "calm"),
    "happy": ("happiness", "joy", "joyful"),
    "sad": ("sadness",),
    "angry": ("anger", "rage"),
    "surprised": ("surprise",),
    "afraid": ("fear", "fearful", "scared"),
    "disgusted": ("disgust",),
    "contemptuous": ("contempt",),
}
_KNOWN: Final = {name: label for label, names in _OTHERS.items() for name in (label, *names)}


def expression_called(name: str) -> str | None:
    """The label of `EXPRESSIONS` that a name such as "Happiness" means; None where it means none."""
    return _KNOWN.get(name.strip().lower())
