"""Which captions of a window a training step reads, and where they hold."""

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from datamodules.clip import Caption
from models.versa.spans import NONE, RATE, Layout, lay_out, speech_layout
from models.versa.text import SPEECH

WHOLE: Final = 0.9  # a caption that holds for so much of a window is about all of it


def batch_layout(batch: Any, tokens: Tensor, lengths: Tensor, chances: Tensor) -> tuple[list[str], Layout]:
    """Texts of a batch, at least one, and which of them hold where, beside its tokens.

    Args:
        batch: with its captions; one that has no such field at all is taken for speech.
        tokens: (B, N) of the motion.
        lengths: (B,) tokens of each window.
        chances: (B, 2) numbers in [0, 1) that choose among captions.
    """
    if not batch.captions:
        return [SPEECH], speech_layout(tokens)
    texts, layout = caption_layout(batch.captions, lengths.tolist(), chances.tolist(), tokens.shape[1])
    return texts, Layout(layout.which.to(tokens.device), layout.places.to(tokens.device))


def caption_layout(
    captions: Sequence[Sequence[Caption]],
    lengths: Sequence[int],
    chances: Sequence[Sequence[float]],
    size: int | None = None,
) -> tuple[list[str], Layout]:
    """A random caption of every window, or the captions of its spans one behind the other.

    Captions of the same span are one choice, and so are all spans that are no more than a part of the window: together
    they say what happens one after another. Where a part is chosen, each span has one of its captions; a span that
    overlaps an earlier one is left out.

    Args:
        captions: of each window, in seconds from its beginning; empty texts are passed over.
        lengths: tokens of each window.
        chances: two numbers in [0, 1) for each window.
        size: N, the longest window's where None.

    Returns:
        Texts, the first of them `SPEECH`, and which of them hold where.
    """
    texts: dict[str, int] = {SPEECH: 0}
    rows = []
    for own, length, chance in zip(captions, lengths, chances, strict=True):
        spans = _choose([caption for caption in own if caption.text.strip()], length, *chance)
        rows.append([(first, end, texts.setdefault(text, len(texts))) for first, end, text in spans])
    return list(texts), lay_out(rows, lengths, size)


def spans_of(texts: Sequence[str], which: Sequence[int]) -> list[tuple[float, float, str]]:
    """Spans in seconds of what `which` says of a sequence's tokens."""
    spans, begin = [], 0
    for end in range(1, len(which) + 1):
        if end == len(which) or which[end] != which[begin]:
            if which[begin] != NONE:
                spans.append((begin / RATE, end / RATE, texts[which[begin]]))
            begin = end
    return spans


def drop(layout: Layout, without: Tensor) -> Layout:
    """The layout with no text at all in the windows that are true in `without` (B,)."""
    return Layout(layout.which.masked_fill(without[:, None], NONE), layout.places)


def _choose(captions: Sequence[Caption], length: int, first: float, second: float) -> list[tuple[int, int, str]]:
    whole: list[tuple[int, int, str]] = []
    parts: dict[tuple[int, int], list[str]] = {}
    for caption in captions:
        begin = round(caption.start * RATE)
        end = max(round(caption.end * RATE), begin + 1)
        shared = min(end, length) - max(begin, 0)
        if shared >= WHOLE * length:
            whole.append((begin, end, caption.text))
        elif shared > 0:
            parts.setdefault((begin, end), []).append(caption.text)
    if whole and (not parts or first < 0.5):
        return [whole[int(second * len(whole))]]
    found: list[tuple[int, int, str]] = []
    for (begin, end), texts in sorted(parts.items()):
        if not found or begin >= found[-1][1]:
            found.append((begin, end, texts[int(second * len(texts))]))
    return found
