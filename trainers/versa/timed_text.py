"""Texts with the time they hold: "0-2 s: waves the right hand" (VA-9)."""

import re
from collections.abc import Sequence
from typing import Final

from settings import ConfigError

_NUMBER: Final = r"\d+(?:[.,]\d+)?"
_SPAN: Final = re.compile(rf"\s*({_NUMBER})\s*s?\s*(?:-|–|—|to)\s*({_NUMBER})\s*s?\s*:(.*)", re.DOTALL)
_LOOKS_TIMED: Final = re.compile(rf"\s*-?{_NUMBER}\s*s?\s*(?:-|–|—|to|:)")


def read_texts(
    given: Sequence[str] | None, option: str = "text", example: str = "waves the right hand"
) -> str | list[tuple[float, float, str]] | None:
    """What a command line says of the motion: a text for all of it, spans (start, end, text) in seconds, or nothing.

    Args:
        given: each as it was written.
        option: that it was given as, for messages.
        example: of a text, likewise.

    Raises:
        ConfigError: a text for all of the time beside others, or a span that cannot be read; names the text.
    """
    if not given:
        return None
    spans = []
    for text in given:
        found = _SPAN.fullmatch(text)
        if found is None and _LOOKS_TIMED.match(text):
            raise ConfigError(f"{option}={text!r}: a span is written as in '0-2 s: {example}'")
        if found is None and len(given) > 1:
            raise ConfigError(
                f"{option}={text!r} holds all of the time, beside other {option}s; say when, '0-2 s: {text}'"
            )
        if found is None:
            return text
        start, end = (float(number.replace(",", ".")) for number in found.group(1, 2))
        spans.append((start, end, found.group(3).strip()))
    return spans
