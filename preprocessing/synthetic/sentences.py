"""Sentences to speak, from a small grammar, so that there are as many as anybody needs and no text is borrowed."""

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np

_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "person": (
        "my mother", "the teacher", "our neighbour", "a young doctor", "the captain", "my best friend", "the painter",
        "an old farmer", "the baker", "her brother", "the quiet student", "a famous singer", "the mayor", "my uncle",
        "the bus driver", "a clever engineer", "the pilot", "our new boss", "the gardener", "a patient nurse",
    ),
    "past": (
        "found", "painted", "repaired", "borrowed", "remembered", "carried", "promised", "described", "discovered",
        "bought", "photographed", "measured", "opened", "collected", "protected", "imagined", "moved", "wrapped",
    ),
    "verb": (
        "build", "share", "visit", "finish", "improve", "compare", "explain", "imagine", "remember", "follow",
        "observe", "plan", "choose", "change", "protect", "understand", "invent", "measure", "fix", "move",
    ),
    "adjective": (
        "beautiful", "broken", "purple", "enormous", "quiet", "famous", "golden", "heavy", "simple", "powerful",
        "mysterious", "narrow", "warm", "shiny", "wonderful", "empty", "modern", "curious", "tiny", "unusual", "smooth",
    ),
    "thing": (
        "piano", "bridge", "window", "map", "garden", "machine", "photograph", "kitchen", "bottle", "letter", "boat",
        "telephone", "mountain", "painting", "pocket", "umbrella", "library", "computer", "bicycle", "violin",
        "blanket", "potato", "balloon", "camera", "elephant", "river", "mirror", "museum", "apple", "market",
    ),
    "place": (
        "behind the market", "above the harbour", "in the middle of the room", "near the old church", "by the river",
        "under the table", "at the top of the hill", "outside the museum", "across the valley", "beside the fountain",
        "on the balcony", "in my pocket", "at the bottom of the box", "over the bridge",
    ),
    "time": (
        "yesterday morning", "last summer", "before breakfast", "every Monday", "after the meeting", "in the evening",
        "a week ago", "at half past five", "during the storm", "one afternoon", "on my birthday", "around midnight",
    ),
    "opener": (
        "honestly", "first of all", "believe me", "to be fair", "as you know", "by the way", "in my opinion", "you see",
        "on the other hand", "funnily enough", "in the end", "most of all",
    ),
    "reason": (
        "because nobody expected it", "because the weather was awful", "so that everybody could see it",
        "although it was far too late", "and people absolutely loved it", "but it made perfect sense",
        "because I really wanted to know", "and the whole family laughed", "which is exactly what we hoped for",
        "before anybody could stop them", "and that changed everything",
    ),
    "number": ("two", "three", "five", "seven", "nine", "eleven", "twelve", "twenty", "forty", "a hundred"),
}  # fmt: skip
_PATTERNS: Final = (
    "{person} {past} the {adjective} {thing} {place}.",
    "{opener}, {person} {past} a {thing} {time}, {reason}.",
    "{time}, {person} {past} {number} {adjective} boxes {place}.",
    "I would love to {verb} the {thing}, {reason}.",
    "Have you ever seen a {adjective} {thing} {place}?",
    "{opener}, we could {verb} the {adjective} {thing} together.",
    "There are {number} reasons to {verb} this {thing}, and most of them are {adjective}.",
    "{person} and {person} always {verb} the {thing} {time}.",
    "When {person} {past} my {thing}, I was {place}.",
    "The {adjective} {thing} {place} is bigger than the {adjective} {thing} {place}.",
    "Please {verb} the {thing} {time}, {reason}.",
    "What {person} {past} {time} was not a {thing}, it was a {adjective} {thing}!",
)
PARTS: Final = {"train": range(0, 14), "val": range(14, 16), "test": range(16, 20)}
"""Which twentieths of all sentences a split may speak; a sentence's twentieth is read off its own hash."""


def part(sentence: str) -> str:
    """The split a sentence belongs to: train, val or test; no sentence is ever in two."""
    twentieth = int.from_bytes(hashlib.sha256(sentence.encode()).digest()[:4], "big") % 20
    return next(name for name, numbers in PARTS.items() if twentieth in numbers)


def sentences(split: str, generator: np.random.Generator) -> Iterator[str]:
    """Endless sentences of one split.

    Args:
        split: train, val or test.
        generator: which sentences come is a function of its state.
    """
    if split not in PARTS:
        raise ValueError(f"unknown part of the sentences {split!r}; known: {', '.join(PARTS)}")
    while True:
        sentence = _sentence(generator)
        if part(sentence) == split:
            yield sentence


def _sentence(generator: np.random.Generator) -> str:
    text = _PATTERNS[generator.integers(len(_PATTERNS))]
    used: set[str] = set()
    while "{" in text:
        slot = text[text.index("{") + 1 : text.index("}")]
        words = [word for word in _WORDS[slot] if word not in used]
        word = words[generator.integers(len(words))]
        used.add(word)
        text = text.replace("{" + slot + "}", word, 1)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text[0].upper() + text[1:]
