"""Texts and motions in one space, to measure how well they go together (VA-17)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.human.motion import SIZE
from models.layers.dropout import Draw
from models.layers.rotary import rotary_freqs
from models.layers.transformer import EncoderLayer, normalise
from models.saved import SavedNetwork
from models.versa.text import WordEncoder, read_texts
from models.versa.units import MotionUnits
from settings.ranges import Count, Whole


class TextMotionEvaluator(
    MotionUnits,
    SavedNetwork,
    library_name="cospeech",
    tags=["versa.evaluator"],
    license="other",
):
    """A motion encoder and a text encoder whose vectors lie near each other where text and motion belong together.

    What Guo et al. (CVPR 2022) measure text-to-motion by, whose network is of recurrent layers and is trained with a
    margin on pairs; here a transformer reads motion, four frames a step, and all pairs of a batch are told apart
    (InfoNCE; ours). Figures of one evaluator may not be compared with those of another.

    Args:
        width: channels of the motion encoder and of "words".
        layers: its layers.
        heads: attention heads.
        features: D, numbers of a vector.
        text: "words", an encoder trained with the motion encoder, or "clip", a pretrained network.
        clip_model: folder or hub name of the CLIP model.
        text_channels: channels of the CLIP model's text vectors.
        text_buckets: vectors that "words" has for pieces of words.
        text_layers: transformer layers of "words".

    Raises:
        ValueError: an unknown kind of text.
    """

    rate = 4

    def __init__(
        self,
        *,
        width: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        features: Count = 256,
        text: Literal["words", "clip"] = "words",
        clip_model: str = "openai/clip-vit-base-patch32",
        text_channels: Count = 512,
        text_buckets: Count = 8192,
        text_layers: Whole = 2,
    ):
        super().__init__()
        if text not in ("words", "clip"):
            raise ValueError(f"text has to be words or clip, got '{text}'")
        self.text_kind, self.clip_model, self.text_buckets = text, clip_model, text_buckets
        self.text_channels, self.features, self.head_width = text_channels, features, width // heads
        self.inner = nn.Conv1d(SIZE, width, self.rate, self.rate)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, 2 * width) for _ in range(layers))
        self.outer = nn.Linear(width, features)
        self.words = WordEncoder(text_buckets, width, text_layers, heads) if text == "words" else None
        self.text_outer = nn.Linear(width if text == "words" else text_channels, features)
        self.scale = nn.Parameter(torch.tensor(2.65))  # log of 1 / 0.07, as CLIP begins

    def encode_motion(self, motion: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors (B, D) of length 1 of motions (B, M, 263), of which (B,) frames count."""
        size, frames = motion.shape[:2]
        whole = -(-frames // self.rate) * self.rate
        lengths = torch.full((size,), frames, device=motion.device) if lengths is None else lengths.to(motion.device)
        times = torch.arange(whole, device=motion.device)
        last = torch.minimum(times, lengths[:, None] - 1)  # the last frame goes on to the end of its step
        held = motion.gather(1, last[..., None].expand(-1, -1, SIZE))
        x = self.normalise(held).transpose(1, 2).to(self.inner.weight.dtype)
        x = self.inner(x).transpose(1, 2)
        mask = times[:: self.rate] < lengths[:, None]
        freqs = rotary_freqs(x.shape[1], self.head_width, x.device)
        for layer in self.layers:
            x = layer(x, freqs, Draw(0.0, None, []), 0, mask)
        x = normalise(x) * mask[..., None]
        return F.normalize(self.outer(x.sum(1) / mask.sum(1, keepdim=True)).float(), dim=-1)

    def read(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """Texts as `encode_text` takes them. Raises ValueError: an empty one, or a CLIP model that cannot be loaded."""
        return read_texts(texts, self.text_kind, self.text_buckets, self.clip_model, self.text_channels, device)

    def encode_text(self, read: Tensor) -> Tensor:
        """Vectors (K, D) of length 1 of K texts."""
        x = read if self.words is None else self.words(read)
        return F.normalize(self.text_outer(x.to(self.text_outer.weight.dtype)).float(), dim=-1)

    def forward(self, motion: Tensor, lengths: Tensor | None, read: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """The loss that tells pairs from others, and the share of motions whose own text is the nearest.

        Args:
            motion: (B, M, 263).
            lengths: (B,) frames that count.
            read: K texts, from `read`.
            which: (B,) which of them each motion belongs to. Motions of the same text are all right for it.
        """
        motions, texts = self.encode_motion(motion, lengths), self.encode_text(read)
        logits = motions @ texts.T * self.scale.exp().clamp(max=100)
        right = F.one_hot(which, len(texts)).to(logits)
        by_text = logits.T.log_softmax(1)  # a text's motions share its probability
        count = right.sum(0)
        of_texts = -(by_text * right.T).sum(1) / count.clamp(min=1)
        used = (count > 0).to(logits)  # a text of the list that no motion belongs to
        loss = (F.cross_entropy(logits, which) + (of_texts * used).sum() / used.sum()) / 2
        return loss, (logits.argmax(1) == which).float().mean()
