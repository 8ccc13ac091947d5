"""The motion tokenizer: whole-body motion to tokens of a codebook and back (VA-3, VA-4)."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.human.motion import SIZE
from models.layers.vector_quantizer import VectorQuantizer
from models.saved import SavedNetwork
from models.versa.convolutions import Decoder, Encoder
from models.versa.units import MotionUnits
from settings.ranges import Count, Decay, NonNegative, Whole


class Reconstruction(NamedTuple):
    """What the tokenizer makes of motion.

    Attributes:
        motion: (B, M, 263) through the tokens and back, normalised.
        truth: (B, M, 263) what went in, normalised.
        tokens: (B, N) int64, N = ceil(M / 4).
        mask: (B, M), 1 where there is motion, 0 where there is padding.
        token_mask: (B, N), the same for tokens.
        commitment: the quantiser's loss (VA-4).
    """

    motion: Tensor
    truth: Tensor
    tokens: Tensor
    mask: Tensor
    token_mask: Tensor
    commitment: Tensor


class MotionTokenizer(
    MotionUnits,
    SavedNetwork,
    library_name="cospeech",
    tags=["versa.tokenizer"],
    license="other",
):
    """VQ-VAE of motion vectors at 20 fps: 1D convolutions, a codebook, 1D convolutions (VA-3).

    Sizes and blocks are T2M-GPT's (Zhang et al. 2023), whose codebook the paper follows. A clip of any length from one
    frame on is brought to a whole number of tokens by repeating its last frame; in a batch of several lengths each clip
    gives the tokens that it gives alone. Normalisation statistics and the codebook are buffers.

    Args:
        codes: entries of the codebook.
        code_width: channels of an entry.
        width: channels of the convolutions.
        depth: dilated blocks at each rate.
        growth: factor from one dilation to the next.
        rate: frames of a token, a power of two.
        decay: of the codebook's moving averages.
        reset_below: share of the mean use below which a code is given to another latent.

    Raises:
        ValueError: sizes that make no sense.
    """

    def __init__(
        self,
        *,
        codes: Count = 512,
        code_width: Count = 512,
        width: Count = 512,
        depth: Whole = 3,
        growth: Count = 3,
        rate: Count = 4,
        decay: Decay = 0.99,
        reset_below: NonNegative = 0.125,
    ):
        super().__init__()
        self.codes, self.rate = codes, rate
        sizes = {"width": width, "depth": depth, "growth": growth, "rate": rate}
        self.encoder = Encoder(SIZE, code_width, **sizes)
        self.quantizer = VectorQuantizer(codes, code_width, decay=decay, reset_below=reset_below)
        self.decoder = Decoder(code_width, SIZE, **sizes)

    def encode(self, motion: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens (B, N) int64 of motion (B, M, 263), N = ceil(M / rate).

        Args:
            motion: motion vectors at 20 fps.
            lengths: (B,) frames of each clip; what lies beyond is padding, and tokens beyond ceil(length / rate) mean
                nothing. Left out, all are M long.

        Raises:
            ValueError: another shape, no frame, or lengths that are not from 1 to M.
        """
        frames, frame_mask = self._whole_tokens(motion, lengths)
        return self.quantizer.nearest(self._latents(self.normalise(frames), frame_mask))

    def decode(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Motion (B, rate N, 263) of tokens (B, N).

        Args:
            tokens: as `encode` gives them.
            lengths: (B,) frames of each clip; tokens beyond ceil(length / rate) are padding of any value, and frames
                beyond the length are 0. Left out, all are rate N long.

        Raises:
            ValueError: another shape, tokens that are none of the codebook, or lengths that are not from 1 to rate N.
        """
        if tokens.ndim != 2 or not tokens.shape[1] or tokens.is_floating_point():
            raise ValueError(f"tokens are whole numbers (B, N) with N from 1 on, got {tuple(tokens.shape)}")
        frames = self.rate * tokens.shape[1]
        token_mask = mask = None
        if lengths is not None:
            _check_lengths(lengths, frames)
            token_mask = _mask(self._tokens_of(lengths), tokens.shape[1])
            tokens = torch.where(token_mask > 0, tokens, 0)
            mask = _mask(lengths, frames)
        if tokens.device.type != "meta" and (int(tokens.min()) < 0 or int(tokens.max()) >= self.codes):
            raise ValueError(f"tokens are from 0 to {self.codes - 1}, got {int(tokens.min())} to {int(tokens.max())}")
        codes = self.quantizer.look_up(tokens).to(self.decoder.first.weight.dtype)
        motion = self.denormalise(self._frames(codes, token_mask))
        return motion if mask is None else motion * mask[..., None].to(motion.dtype)

    def forward(self, motion: Tensor, lengths: Tensor | None = None, chances: Tensor | None = None) -> Reconstruction:
        """Motion (B, M, 263) through the tokens and back.

        In training mode `quantizer.update` is to be called after each optimiser step.

        Args:
            motion: motion vectors at 20 fps.
            lengths: (B,) frames of each clip; left out, all are M long.
            chances: (B, N) in [0, 1), which latents may take the places of unused codes (`VectorQuantizer`).

        Raises:
            ValueError: as `encode`.
        """
        length = motion.shape[1]
        frames, frame_mask = self._whole_tokens(motion, lengths)
        truth = self.normalise(frames)
        latents = self._latents(truth, frame_mask)
        token_mask = None if frame_mask is None else frame_mask[:, :: self.rate]
        quantized = self.quantizer(latents, token_mask, chances)
        output = self._frames(quantized.vectors, token_mask)
        mask = motion.new_ones(motion.shape[:2]) if lengths is None else _mask(lengths, length).to(motion.dtype)
        if token_mask is None:
            token_mask = mask.new_ones(quantized.tokens.shape)
        return Reconstruction(
            output[:, :length], truth[:, :length], quantized.tokens, mask, token_mask, quantized.commitment
        )

    def _latents(self, normalised: Tensor, mask: Tensor | None) -> Tensor:
        """(B, rate N, 263) to (B, N, C); the mask is (B, rate N)."""
        inputs = normalised.to(self.encoder.first.weight.dtype).transpose(1, 2)
        return self.encoder(inputs, None if mask is None else mask[:, None]).transpose(1, 2)

    def _frames(self, codes: Tensor, token_mask: Tensor | None) -> Tensor:
        """(B, N, C) to (B, rate N, 263), normalised; the mask is (B, N)."""
        mask = None if token_mask is None else token_mask[:, None].repeat_interleave(self.rate, -1)
        return self.decoder(codes.transpose(1, 2), mask).transpose(1, 2)

    def _whole_tokens(self, motion: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Motion (B, rate N, 263) with each clip's last frame repeated, and its mask where lengths differ."""
        if motion.ndim != 3 or motion.shape[2] != SIZE or not motion.shape[1]:
            raise ValueError(f"the tokenizer reads motion (B, M, {SIZE}) with M from 1 on, got {tuple(motion.shape)}")
        length = motion.shape[1]
        whole = -(-length // self.rate) * self.rate
        if lengths is None:
            missing = whole - length
            return (torch.cat([motion, motion[:, -1:].expand(-1, missing, -1)], 1) if missing else motion), None
        _check_lengths(lengths, length)
        times = torch.arange(whole, device=motion.device)
        last = torch.minimum(times, lengths.to(motion.device)[:, None] - 1)
        frames = motion.gather(1, last[..., None].expand(-1, -1, SIZE))
        return frames, _mask(self._tokens_of(lengths) * self.rate, whole)

    def _tokens_of(self, lengths: Tensor) -> Tensor:
        return torch.div(lengths + self.rate - 1, self.rate, rounding_mode="floor")


def _mask(lengths: Tensor, size: int) -> Tensor:
    """(B, size) of 0 and 1."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).float()


def _check_lengths(lengths: Tensor, longest: int) -> None:
    """Raise ValueError unless lengths are from 1 to `longest`; where a look would wait for a device, none is taken."""
    if lengths.device.type == "cpu" and (int(lengths.min()) < 1 or int(lengths.max()) > longest):
        raise ValueError(
            f"lengths are from 1 to the {longest} frames there are, got {int(lengths.min())} to {int(lengths.max())}"
        )
