"""Words and sounds of speech with their times, from Praat's TextGrid files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

SILENT: Final = ("", "sil", "sp", "spn", "<eps>", "<unk>")
WORD_TIERS: Final = ("words", "word")
PHONE_TIERS: Final = ("phones", "phone", "phonemes")


class Words(NamedTuple):
    """What is said.

    Attributes:
        captions: spoken words, `start` and `end` in seconds and `text`.
        phonemes: their sounds, `name`, `start`, `end`, and `stress` (0 none, 1 secondary, 2 primary).
        seconds: how long the recording is.
    """

    captions: list[dict[str, Any]]
    phonemes: list[dict[str, Any]]
    seconds: float


def read_words(path: Path) -> Words:
    """Read a TextGrid with the tiers `words` and, if there is one, `phones`, as the Montreal Forced Aligner makes them.

    Raises:
        ValueError: it cannot be read, or has no words.
    """
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="silence")
    # Whatever the parser meets in a damaged file: it raises kinds of its own beside index and value errors.
    except (PraatioException, ValueError, IndexError, KeyError, AttributeError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as a TextGrid ({type(error).__name__})") from None
    tiers = {name.strip().lower(): grid.getTier(name) for name in grid.tierNames}
    words = next((tiers[name] for name in WORD_TIERS if name in tiers), None)
    if words is None:
        raise ValueError(f"{path.name} has no tier named words, only {', '.join(tiers) or 'none'}")
    phones = next((tiers[name] for name in PHONE_TIERS if name in tiers), None)
    captions = [{"start": s, "end": e, "text": text} for s, e, text in _said(words)]
    phonemes = [_phoneme(s, e, text) for s, e, text in _said(phones)] if phones is not None else []
    return Words(captions, phonemes, float(grid.maxTimestamp))


def _said(tier: Any) -> list[tuple[float, float, str]]:
    spans = [(float(entry.start), float(entry.end), entry.label.strip()) for entry in tier.entries]
    return [span for span in spans if span[2].lower() not in SILENT]


def _phoneme(start: float, end: float, label: str) -> dict[str, Any]:
    """ARPAbet vowels carry their stress as a digit: 1 primary, 2 secondary."""
    match = re.fullmatch(r"([A-Z]+)([012])", label)
    name, stress = (match[1], {"0": 0, "1": 2, "2": 1}[match[2]]) if match else (label, 0)
    return {"name": name, "start": start, "end": end, "stress": stress}
