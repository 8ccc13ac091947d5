"""Text as the motion transformer reads it: words of any script without a vocabulary, or CLIP's features (VA-6)."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.layers.dropout import Draw
from models.layers.rotary import rotary_freqs
from models.layers.transformer import EncoderLayer, normalise
from models.saved import only_a_path

SPEECH: Final = "A person is giving a speech."
"""The text under which the audio branch is trained (VA-8), and that holds where sound alone directs."""

PIECES: Final = 12  # of a word: itself and the character trigrams at its beginning
WORDS: Final = 64  # of a text; what follows is not read
_WORD: Final = re.compile(r"[^\W_]+")
_SCRIPTS_WITHOUT_SPACES: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_KEPT_FEATURES: Final = 65_536  # texts whose CLIP features are remembered


def words_of(text: str) -> list[str]:
    """Lower-cased words; each sign of a script without spaces, and of a text without letters, is a word.

    Raises:
        ValueError: the text is empty, or nothing but spaces.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    if not plain.strip():
        raise ValueError("the text is empty: say what the person does, or leave the text out")
    words = []
    for word in _WORD.findall(plain):
        split = list(word) if _SCRIPTS_WITHOUT_SPACES.search(word) else [word]
        words += split
    return (words or [sign for sign in plain if not sign.isspace()])[:WORDS]


def hash_texts(texts: Sequence[str], buckets: int) -> Tensor:
    """Numbers of the pieces of every word (FastText's way: a word is itself and its character trigrams).

    The hash is the same on every machine. A word that was never seen shares pieces with those that look like it.

    Args:
        texts: K of them.
        buckets: numbers there are; pieces may share one.

    Returns:
        (K, W, PIECES) long from 1 to buckets; 0 is padding. W is the words of the longest text.

    Raises:
        ValueError: no texts, or an empty one.
    """
    if not texts:
        raise ValueError("no texts")
    rows = [[_pieces(word, buckets) for word in words_of(text)] for text in texts]
    numbers = torch.zeros(len(rows), max(map(len, rows)), PIECES, dtype=torch.long, device="cpu")
    for row, words in enumerate(rows):
        for place, pieces in enumerate(words):
            numbers[row, place, : len(pieces)] = torch.tensor(pieces, device="cpu")
    return numbers


@lru_cache(maxsize=1 << 16)
def _pieces(word: str, buckets: int) -> tuple[int, ...]:
    marked = f"<{word}>"
    grams = [marked[start : start + 3] for start in range(len(marked) - 2)] if len(word) > 1 else []
    pieces = [f"word {word}", *grams][:PIECES]
    return tuple(
        1 + int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=8).digest(), "little") % buckets
        for piece in pieces
    )


class WordEncoder(nn.Module):
    """Texts to one vector each, trained from nothing together with the transformer; needs no download.

    A word is the mean of its pieces' vectors; transformer layers read the words in their order, and their mean is the
    text.

    Args:
        buckets: vectors of pieces.
        width: channels.
        layers: transformer layers.
        heads: attention heads.
        dropout: share of words that training leaves out.
    """

    def __init__(self, buckets: int, width: int, layers: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.head_width = width // heads
        self.dropout = dropout
        self.pieces = nn.Embedding(buckets + 1, width, padding_idx=0)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, 2 * width) for _ in range(layers))

    def forward(self, numbers: Tensor) -> Tensor:
        """Texts (K, W, PIECES) from `hash_texts` to (K, width)."""
        there = numbers > 0
        words = there.any(-1)
        count = there.sum(-1, keepdim=True).clamp(min=1)
        x = self.pieces(numbers).sum(2) / count
        if self.training and self.dropout:
            # Of the words that are there, but never all: a text of none has no mean.
            kept = words & (torch.rand(words.shape, device=words.device) >= self.dropout)
            words = torch.where(kept.any(1, keepdim=True), kept, words)
        freqs = rotary_freqs(words.shape[1], self.head_width, x.device)
        for layer in self.layers:
            x = layer(x, freqs, Draw(0.0, None, []), 0, words)
        x = normalise(x) * words[..., None]
        return x.sum(1) / words.sum(1, keepdim=True)


class ClipText:
    """A pretrained CLIP text network, frozen and in no checkpoint: one vector a text (`pooler_output`).

    The paper says no more than "CLIP text features"; the vector of the whole text is what text-to-motion transformers
    over tokens take (T2M-GPT, MoMask). Features of a text are computed once and kept.

    Args:
        model: folder or hub name of a CLIP model, "openai/clip-vit-base-patch32".

    Attributes:
        network: the frozen network.
        channels: of a text's vector.

    Raises:
        ValueError: it cannot be loaded; the message says where to get it.
    """

    def __init__(self, model: str):
        self.model = model
        self._kept: dict[str, Tensor] = {}
        self._tokenizer, self.network = _load_clip(model)
        self.channels: int = self.network.config.hidden_size

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(K, channels) on the CPU. Raises ValueError for an empty text."""
        for text in texts:
            words_of(text)
        missing = list(dict.fromkeys(text for text in texts if text not in self._kept))
        if missing:
            with torch.device("cpu"), torch.autocast("cpu", enabled=False):
                read = self._tokenizer(missing, padding=True, truncation=True, max_length=77, return_tensors="pt")
                features = self.network(**read).pooler_output
            if len(self._kept) + len(missing) > _KEPT_FEATURES:
                self._kept = {text: self._kept[text] for text in texts if text in self._kept}
            self._kept |= dict(zip(missing, features, strict=True))
        return torch.stack([self._kept[text] for text in texts])


@lru_cache(maxsize=2)
def clip_text(model: str) -> ClipText:
    """The CLIP text network of a name, loaded once. Raises ValueError."""
    return ClipText(model)


def read_texts(
    texts: Sequence[str], kind: str, buckets: int, clip_model: str, channels: int, device: torch.device | str
) -> Tensor:
    """Texts as a network takes them: pieces of words ("words", see `hash_texts`), or CLIP's vectors (K, channels).

    Raises:
        ValueError: an empty text, or a CLIP model that cannot be loaded or has other channels.
    """
    if kind == "words":
        return hash_texts(texts, buckets).to(device)
    if torch.device(device).type == "meta":  # shapes alone are wanted
        return torch.empty(len(texts), channels, device=device)
    features = clip_text(clip_model)(texts)
    if features.shape[1] != channels:
        raise ValueError(
            f"CLIP text model '{clip_model}' gives {features.shape[1]} channels, text_channels is {channels}"
        )
    return features.to(device)


def _load_clip(model: str) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, CLIPTextModel

    where = (
        "give a folder with config.json, model.safetensors and the tokenizer's files, or a hub name such as "
        "openai/clip-vit-base-patch32; with no network, fetch it elsewhere with `hf download NAME --local-dir FOLDER` "
        "and give FOLDER, or take the text encoder that is trained from nothing (text=words)"
    )
    folder = Path(model).expanduser()
    if only_a_path(model) and not folder.is_dir():
        raise ValueError(f"CLIP text model '{model}': there is no such folder; {where}")
    name = str(folder) if folder.is_dir() else model
    try:
        with torch.device("cpu"):
            network = CLIPTextModel.from_pretrained(name).eval().requires_grad_(False)
        return AutoTokenizer.from_pretrained(name), network
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"CLIP text model '{model}' cannot be loaded ({reason}); {where}") from None
