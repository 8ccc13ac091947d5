"""What the mouth does for each sound: espeak-ng's phoneme names brought to a few viseme targets."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

PAUSE: Final = "_"


@dataclass(frozen=True)
class Phoneme:
    """One sound of speech.

    Args:
        name: espeak-ng's mnemonic without its stress marks; `_` is a pause.
        start: seconds, where the sound is heard first (a stop's release, not its silent closure).
        end: seconds, start of the next sound.
        stress: 0 none, 1 secondary, 2 primary.
    """

    name: str
    start: float
    end: float
    stress: int = 0

    @property
    def pause(self) -> bool:
        """Nobody speaks."""
        return self.name == PAUSE

    @property
    def vowel(self) -> bool:
        """The sound can carry a syllable."""
        return not self.pause and viseme(self.name) in VOWELS

    @property
    def closes(self) -> bool:
        """The lips touch: p, b, m."""
        return viseme(self.name) == "bilabial"

    def shifted(self, seconds: float) -> "Phoneme":
        """The same sound, that much later."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Phoneme(**values)` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class Viseme:
    """Where the mouth goes for a class of sounds.

    Args:
        opening: distance of the inner lips, 0 closed to 1 widest.
        width: of the mouth, -1 rounded and narrow, 0 at rest, 1 spread.
    """

    opening: float
    width: float


VISEMES: Final[dict[str, Viseme]] = {
    "rest": Viseme(0.0, 0.0),
    "bilabial": Viseme(0.0, 0.0),
    "labiodental": Viseme(0.10, 0.05),
    "dental": Viseme(0.22, 0.1),
    "alveolar": Viseme(0.22, 0.15),
    "postalveolar": Viseme(0.24, -0.45),
    "velar": Viseme(0.30, 0.05),
    "liquid": Viseme(0.30, -0.1),
    "glide_w": Viseme(0.14, -0.95),
    "open": Viseme(1.0, 0.15),
    "mid_front": Viseme(0.62, 0.55),
    "close_front": Viseme(0.34, 0.9),
    "mid_back": Viseme(0.66, -0.6),
    "close_back": Viseme(0.26, -1.0),
    "central": Viseme(0.46, 0.0),
}
"""The targets; `docs/synthetic.md` prints them."""

VOWELS: Final = frozenset({"open", "mid_front", "close_front", "mid_back", "close_back", "central"})

_CONSONANTS: Final = {
    "bilabial": ("p", "b", "m"),
    "labiodental": ("f", "v"),
    "dental": ("T", "D"),
    "alveolar": ("t", "d", "s", "z", "n"),
    "postalveolar": ("tS", "dZ", "S", "Z"),
    "velar": ("k", "g", "N", "x", "h", "?"),
    "liquid": ("l", "r", "j", ";"),
    "glide_w": ("w",),
}
_MONOPHTHONGS: Final = {
    "open": ("a", "aa", "A", "A:", "0", "V", "&"),
    "mid_front": ("E", "e"),
    "close_front": ("i", "I"),
    "mid_back": ("O", "O:", "o"),
    "close_back": ("u", "U"),
    "central": ("@", "3", "I#", "a#"),
}
_BY_NAME: Final = {
    name: viseme for table in (_CONSONANTS, _MONOPHTHONGS) for viseme, names in table.items() for name in names
}
_DIPHTHONGS: Final = {
    "aI": ("open", "close_front"),
    "aU": ("open", "close_back"),
    "eI": ("mid_front", "close_front"),
    "OI": ("mid_back", "close_front"),
    "oI": ("mid_back", "close_front"),
    "oU": ("mid_back", "close_back"),
    "@U": ("central", "close_back"),
    "i@": ("close_front", "central"),
    "e@": ("mid_front", "central"),
    "U@": ("close_back", "central"),
    "O@": ("mid_back", "central"),
    "o@": ("mid_back", "central"),
    "A@": ("open", "central"),
    "@L": ("central", "liquid"),
}


def visemes(name: str) -> tuple[str, ...]:
    """Names of the visemes that a sound passes through: two for a diphthong, one for any other.

    Args:
        name: espeak-ng's mnemonic; marks and digits it does not know are passed over from the end, and a name that is
            still unknown counts as central (as a vowel) or alveolar (as a consonant).
    """
    if name.startswith(PAUSE):
        return ("rest",)
    for length in range(len(name), 0, -1):
        part = name[:length]
        if part in _DIPHTHONGS:
            return _DIPHTHONGS[part]
        if part in _BY_NAME:
            return (_BY_NAME[part],)
    return ("central",) if name[0] in "aeiouAEIOU@0123" else ("alveolar",)


def viseme(name: str) -> str:
    """The first viseme of a sound, by name."""
    return visemes(name)[0]
