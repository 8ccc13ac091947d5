"""Vector quantisation with a codebook that follows the latents by moving averages (VA-3, VA-4)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.collective import rows_of_ranks, sum_over_ranks

TINY = 1e-12  # least average count of a code that has been used; 0 is that of one that never was


class Quantized(NamedTuple):
    """Latents brought to codes.

    Attributes:
        vectors: (B, N, C) the nearest codes; their gradient goes straight through to the latents.
        tokens: (B, N) int64, which codes these are.
        commitment: mean squared distance of latents to their codes, whose gradient reaches the latents alone.
    """

    vectors: Tensor
    tokens: Tensor
    commitment: Tensor


class _Seen(NamedTuple):
    """What training has seen since the last update: sums and counts by code, and latents that may become codes."""

    counts: Tensor  # (K,)
    sums: Tensor  # (K, C)
    latents: Tensor  # (n, C), n <= K
    chances: Tensor  # (n,), below 0 where there is no latent


class VectorQuantizer(nn.Module):
    """Nearest entry of a codebook that is moved by averages and not by gradients (VA-3, VA-4).

    Van den Oord et al. 2017, appendix A.1: with n_k latents of a step nearest to code k and s_k their sum,
    N_k <- d N_k + (1 - d) n_k, m_k <- d m_k + (1 - d) s_k, e_k = m_k / N_k. Codes whose N_k falls below `reset_below`
    times the mean of n are unused: latents of the step, drawn at random, take their places (Zhang et al. 2023,
    T2M-GPT). So do they at the first step, when no code has been used.

    `forward` in training mode only counts; `update` moves the codebook. It is called once per optimiser step, so that
    accumulated batches are one, and on every process: counts and sums are those of all of them, and so are the latents
    drawn, so that codebooks stay equal to the last bit. Which latents are drawn depends on `chances` alone: given by
    sample, the draw is the same for any number of processes. N, m and e are buffers, in 32 bits at least whatever the
    network's precision.

    Args:
        codes: entries K of the codebook.
        width: channels C of an entry.
        decay: d.
        reset_below: share of the mean count below which a code is unused; 0 never resets one.

    Raises:
        ValueError: sizes or shares that make no sense.
    """

    codebook: Tensor
    sizes: Tensor
    sums: Tensor

    def __init__(self, codes: int, width: int, *, decay: float = 0.99, reset_below: float = 0.125):
        super().__init__()
        if codes < 2 or width < 1:
            raise ValueError(f"a codebook needs two entries and a channel at least, got {codes} x {width}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay has to be from 0 to below 1, got {decay}")
        if not 0 <= reset_below < 1:
            raise ValueError(f"reset_below is a share of the mean count, from 0 to below 1, got {reset_below}")
        self.codes, self.width, self.decay, self.reset_below = codes, width, decay, reset_below
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("sizes", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))
        self.resets = 0
        self._seen: _Seen | None = None

    def forward(self, latents: Tensor, mask: Tensor | None = None, chances: Tensor | None = None) -> Quantized:
        """Bring latents to their nearest codes; in training mode count them for `update`.

        Args:
            latents: (B, N, C).
            mask: (B, N), 0 where a latent is padding: it neither counts nor becomes a code nor is in the loss.
            chances: (B, N) in [0, 1); those of largest chance become codes where some are unused. Left out, from
                torch's global random numbers.
        """
        exact = latents if latents.dtype == torch.float64 else latents.float()
        weight = exact.new_ones(exact.shape[:2]) if mask is None else mask.to(exact.dtype)
        with _full_precision(latents):
            tokens = self.nearest(exact)
            codes = self.look_up(tokens).to(exact.dtype)
            if self.training:
                self._count(exact.detach(), tokens, weight, chances)
            distance = (exact - codes).square().mean(-1)
        # Sample by sample first: the mean over processes is then that of the whole batch.
        commitment = ((distance * weight).sum(1) / weight.sum(1).clamp(min=1)).mean()
        vectors = (exact + (codes - exact).detach()).to(latents.dtype)
        return Quantized(vectors, tokens, commitment)

    @torch.no_grad()
    def nearest(self, latents: Tensor) -> Tensor:
        """Tokens (...) int64 of latents (..., C): the codes at the least Euclidean distance."""
        with _full_precision(latents):
            book = self.codebook
            flat = latents.to(book.dtype).flatten(0, -2)
            # |x - e|^2 without |x|^2, which is the same for all codes.
            scores = torch.addmm(book.square().sum(1), flat, book.t(), alpha=-2)
            return scores.argmin(1).view(latents.shape[:-1])

    def look_up(self, tokens: Tensor) -> Tensor:
        """Codes (..., C) of tokens (...)."""
        return F.embedding(tokens, self.codebook)

    @torch.no_grad()
    def update(self) -> None:
        """Move the codebook by what was seen since the last update. Every process calls it, once an optimiser step."""
        if self._seen is None:
            return
        seen, self._seen = self._seen, None
        # One message: the last column is the counts.
        both = sum_over_ranks(torch.cat([seen.sums, seen.counts[:, None]], 1))
        sums, counts = both[:, :-1], both[:, -1]
        new, mean = self.sizes == 0, counts.sum() / self.codes
        self.sizes.lerp_(counts, 1 - self.decay).clamp_(min=TINY)
        self.sums.lerp_(sums, 1 - self.decay)
        places = ((self.sizes < self.reset_below * mean) | new).nonzero()[:, 0]
        if len(places):
            self._reset(places, mean, seen)
        sizes = self.sizes[:, None]
        self.codebook.copy_(torch.where(sizes > TINY, self.sums / sizes.clamp(min=TINY), self.codebook))
        self.resets = len(places)

    @property
    def perplexity(self) -> Tensor:
        """exp of the entropy of the average counts: how many codes, used alike, would spread latents as much."""
        share = self.sizes / self.sizes.sum().clamp(min=TINY)
        return torch.special.entr(share).sum().exp()

    def _reset(self, places: Tensor, mean: Tensor, seen: _Seen) -> None:
        """Put latents into places (n,) of the codebook, as many as there are on all processes."""
        wanted = len(places)
        own = torch.cat([seen.chances[:, None], seen.latents], 1)[:wanted]
        own = torch.cat([own, own.new_full((wanted - len(own), own.shape[1]), -1.0)])
        offered = rows_of_ranks(own)
        best = torch.sort(offered[:, 0], descending=True, stable=True).indices[:wanted]
        chances, latents = offered[best, 0], offered[best, 1:]
        there = chances >= 0
        # Few enough to be moved quickly, enough to stay for some while.
        size = mean * (2 * self.reset_below or 1)
        # Where there are too few latents the code waits for its turn.
        self.sizes[places] = torch.where(there, size, 0.0)
        self.sums[places] = torch.where(there[:, None], latents * size, 0.0)

    @torch.no_grad()
    def _count(self, latents: Tensor, tokens: Tensor, weight: Tensor, chances: Tensor | None) -> None:
        drawn = torch.rand(weight.shape, device=weight.device) if chances is None else chances
        flat, kept = latents.flatten(0, 1).to(self.sums.dtype), weight.flatten().to(self.sums.dtype)
        finite = flat.isfinite().all(1)
        kept, flat = kept * finite, torch.where(finite[:, None], flat, 0.0)
        chance = torch.where(kept > 0, drawn.flatten().to(flat.dtype), -1.0)
        counts = torch.zeros_like(self.sizes).index_add_(0, tokens.flatten(), kept)
        sums = torch.zeros_like(self.sums).index_add_(0, tokens.flatten(), flat * kept[:, None])
        if self._seen is not None:
            counts, sums = counts + self._seen.counts, sums + self._seen.sums
            flat, chance = torch.cat([self._seen.latents, flat]), torch.cat([self._seen.chances, chance])
        best = torch.sort(chance, descending=True, stable=True).indices[: self.codes]
        self._seen = _Seen(counts, sums, flat[best], chance[best])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # A hundredth of a count is lost in 16 bits: averages go where the network goes, but keep their precision.
        super()._apply(fn, recurse)
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = buffer.float()
        return self


def _full_precision(x: Tensor) -> torch.autocast:
    """A while without autocast, which knows no meta device."""
    return torch.autocast("cpu" if x.device.type == "meta" else x.device.type, enabled=False)
