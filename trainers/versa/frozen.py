"""What of an earlier stage a later one takes, frozen."""

from typing import Any, Final

import torch
from torch import Tensor, nn

from models.human.motion import FPS
from models.versa.spans import RATE
from models.versa.tokenizer import MotionTokenizer
from pretrained.clip import clip_hash
from pretrained.exports import find, find_stage, load_network
from pretrained.frozen import Frozen
from pretrained.hashes import check_same, short
from settings import ConfigError

TOKENIZER: Final = "versa.tokenizer"
TEXT_MOTION: Final = ("versa.text_motion", "versa.audio_motion")  # the one holds the branch of the other
FRAMES: Final = 4  # of a token


class FrozenTokenizer(Frozen[MotionTokenizer]):
    """A motion tokenizer that is not trained any more.

    Args:
        run: run folder, saved network or hub name.

    Raises:
        ConfigError: it cannot be found or read.
    """

    def __init__(self, run: str):
        export = find_stage(run, "tokenizer", TOKENIZER)
        with torch.device("cpu"):
            super().__init__(load_network(MotionTokenizer, export), export.sha256)

    @torch.no_grad()
    def encode(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """Motion (B, M, 263), of which (B,) frames count, to tokens (B, ceil(M / rate))."""
        return self.network.encode(motion.float(), lengths)

    @torch.no_grad()
    def decode(self, tokens: list[Tensor]) -> Tensor:
        """Tokens of several lengths to motion (B, M, 263), the last frame of a shorter one repeated."""
        rate, device = self.network.rate, self.network.motion_mean.device
        lengths = torch.tensor([len(each) * rate for each in tokens], device=device)
        padded = nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(device)
        motion = self.network.decode(padded, lengths)
        last = torch.minimum(torch.arange(motion.shape[1], device=device)[None], lengths[:, None] - 1)
        return motion.gather(1, last[..., None].expand_as(motion))


def text_network(network: Any) -> dict[str, str]:
    """Hash of the CLIP network that a network reads texts with, for `Stage.frozen`; nothing where it learns words."""
    return {"network.clip_model": clip_hash(network.clip_model)} if network.text_kind == "clip" else {}


def motion_lengths(batch: Any) -> Tensor:
    """Motion frames (B,) of each window of a batch, at least one."""
    longest = batch.motion.shape[1]
    if batch.lengths is None:
        return torch.full((len(batch),), longest, device=batch.motion.device)
    return (batch.lengths / batch.fps * FPS).round().long().clamp(1, longest)


def find_tokenizer(run: str) -> FrozenTokenizer:
    """The tokenizer of a stage. Raises ConfigError where its tokens are not as long as the branches' are."""
    tokenizer = FrozenTokenizer(run)
    if FPS / tokenizer.network.rate != RATE:
        raise ConfigError(
            f"stage.tokenizer: {run} makes a token of {tokenizer.network.rate} frames; one of 4 is needed"
        )
    return tokenizer


def same_codes(tokenizer: FrozenTokenizer | None, codes: int) -> None:
    """Raise ConfigError where a network has not as many codes as its tokenizer."""
    if tokenizer is not None and tokenizer.network.codes != codes:
        output = tokenizer.network.codes
        raise ConfigError(
            f"stage.network.codes is {codes}, but stage.tokenizer has {output}; set stage.network.codes={output}"
        )


def same_tokenizer(run: str, text_motion: str) -> None:
    """Raise ConfigError where a text branch was trained on the tokens of another tokenizer, as far as its run tells."""
    trained_on = find_stage(text_motion, "text_motion", *TEXT_MOTION).settings.get("stage", {}).get("tokenizer")
    if trained_on is None:
        return
    try:
        before = find(trained_on)
    except ConfigError:  # moved since
        return
    now = find_stage(run, "tokenizer", TOKENIZER)
    check_same(
        now.sha256,
        before.sha256,
        f"stage.tokenizer is {run} with the hash {short(now.sha256)}, but the text branch of {text_motion} was trained "
        f"on the tokens of {trained_on} ({short(before.sha256)}): give stage.tokenizer={trained_on}, or train the text "
        "branch again",
    )


def check_tokenizer(tokenizer: FrozenTokenizer | None) -> None:
    """Raise ConfigError where a training has no tokenizer."""
    if tokenizer is None:
        raise ConfigError("stage.tokenizer is missing: give the run folder of a trained versa.tokenizer")


def motion_tokens(batch: Any, tokenizer: FrozenTokenizer | None) -> tuple[Tensor, Tensor]:
    """Tokens (B, N) of a batch's motion, and how many (B,) of each window count; without a tokenizer all are 0."""
    lengths = motion_lengths(batch)
    counts = torch.div(lengths + FRAMES - 1, FRAMES, rounding_mode="floor")
    if tokenizer is None:
        size = -(-batch.motion.shape[1] // FRAMES)
        return torch.zeros(len(batch), size, dtype=torch.long, device=batch.motion.device), counts
    return tokenizer.encode(batch.motion, lengths), counts
