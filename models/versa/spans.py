"""Which text holds at which motion token, and where in its span a token stands (VA-9)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from models.versa.text import words_of

RATE: Final = 5.0  # tokens a second
NONE: Final = -1  # no text holds at a token
FARTHEST: Final = 64  # tokens from an end of a span; beyond, all are alike


class Span(NamedTuple):
    """A text that holds from `start` to `end` seconds."""

    start: float
    end: float
    text: str


class Layout(NamedTuple):
    """What a transformer is told of texts in time.

    Attributes:
        which: (B, N) number of the text that holds at a token, -1 where none does; 0 is always `SPEECH`.
        places: (B, N, 2) tokens from the beginning of its span to a token, and from it to the last one of the span.
            Speech, and time without text, have no beginning and no end: `FARTHEST` from both.
    """

    which: Tensor
    places: Tensor

    def cut(self, first: int, end: int) -> "Layout":
        """The tokens from `first` to `end`, whose places stay."""
        return Layout(self.which[:, first:end], self.places[:, first:end])


def lay_out(spans: Sequence[Sequence[tuple[int, int, int]]], lengths: Sequence[int], size: int | None = None) -> Layout:
    """Spans in tokens as tensors on the CPU.

    Args:
        spans: of each sequence: first token, end and number of the text, without overlap. The first token may lie
            before the sequence, the end behind it. Text 0 is `SPEECH`.
        lengths: tokens of each sequence.
        size: N, the longest sequence's where None.
    """
    with torch.device("cpu"):
        which = torch.full((len(spans), size or max(lengths)), NONE)
        places = torch.full((*which.shape, 2), float(FARTHEST))
        for row, (own, length) in enumerate(zip(spans, lengths, strict=True)):
            for first, end, number in own:
                at = torch.arange(max(first, 0), min(end, length))
                which[row, at] = number
                if number:
                    places[row, at] = torch.stack([at - first, end - 1 - at], -1).float()
    return Layout(which, places)


def speech_layout(tokens: Tensor) -> Layout:
    """`SPEECH` at all tokens (B, N), where they are."""
    return Layout(torch.zeros_like(tokens), torch.full((*tokens.shape, 2), float(FARTHEST), device=tokens.device))


def read_spans(text: str | Sequence[tuple[float, float, str]] | None, tokens: int) -> list[tuple[int, int, str]]:
    """What a person asked for as spans in tokens: first token, end, text.

    A text alone holds all the time. A span that runs past the end is cut there. Ends are rounded to tokens (0.2 s).

    Args:
        text: a text, spans (start, end, text) in seconds, or None.
        tokens: of the whole sequence.

    Raises:
        ValueError: an empty text, a span that ends before it starts, starts before 0 or behind the end, is shorter than
            a token or overlaps another; names the span.
    """
    if text is None:
        return []
    if isinstance(text, str):
        words_of(text)
        return [(0, tokens, text)]
    found: list[tuple[int, int, str]] = []
    before: Span | None = None
    for span in sorted((_span(each) for each in text), key=lambda span: span.start):
        named = f"text from {span.start:g} to {span.end:g} s ({span.text[:40]!r})"
        try:
            words_of(span.text)
        except ValueError as error:
            raise ValueError(f"{named}: {error}") from None
        if not 0 <= span.start < span.end < float("inf"):
            raise ValueError(f"{named}: a span starts at 0 or later and ends behind its start")
        if span.start * RATE >= tokens:
            raise ValueError(f"{named} starts behind the end of the motion, which is {tokens / RATE:g} s long")
        if before is not None and span.start < before.end - 1e-6:
            raise ValueError(
                f"{named} overlaps the text from {before.start:g} to {before.end:g} s: one text holds at a time; write "
                "what happens together into one text"
            )
        before = span
        first, end = round(span.start * RATE), min(round(span.end * RATE), tokens)
        if end <= first:
            raise ValueError(f"{named} is shorter than a motion token: give it {1 / RATE:g} s at least")
        found.append((first, end, span.text))
    return found


def _span(given: Sequence[object]) -> Span:
    if isinstance(given, str) or len(given) != 3 or not isinstance(given[2], str):
        raise ValueError(f"a span of text is (start, end, text) in seconds, got {given!r}")
    try:
        return Span(float(given[0]), float(given[1]), given[2])  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"a span of text is (start, end, text) in seconds, got {given!r}") from None
