"""Latents to frames by a decoder that mixes neighbouring frames, as SVD's does: in chunks that overlap, blended.

Where a chunk ends such a decoder lacks frames to mix: at a seam between chunks frames jump. In the overlap they go over
from one chunk to the other by a triangle of weights.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


def is_temporal(network: Any) -> bool:
    """Whether an autoencoder's decoder mixes frames (diffusers' AutoencoderKLTemporalDecoder)."""
    return hasattr(getattr(network, "decoder", None), "time_conv_out")


@torch.no_grad()
def decode_chunks(network: Any, pieces: Iterable[Tensor], chunk: int, overlap: int | None = None) -> Iterator[Tensor]:
    """Frames about [-1, 1] of latents that come in pieces, as they become final; memory is that of a chunk.

    Args:
        network: an AutoencoderKLTemporalDecoder.
        pieces: (B, n, C, h, w) latents, not scaled, one behind another in time.
        chunk: frames that pass the decoder together.
        overlap: frames that chunks share; None is a quarter of a chunk, one at least.

    Yields:
        (B, m, 3, H, W), as many frames in all as there are latents.

    Raises:
        ValueError: an overlap that is negative or as long as a chunk.
    """
    overlap = min(max(1, chunk // 4), chunk - 1) if overlap is None else overlap
    if not 0 <= overlap < chunk:
        raise ValueError(f"overlap has to be from 0 to {chunk - 1} (a chunk has {chunk} frames), got {overlap}")
    waiting: Tensor | None = None
    before: Tensor | None = None  # the last frames of the chunk before
    for piece in pieces:
        waiting = piece if waiting is None else torch.cat([waiting, piece], 1)
        while waiting.shape[1] > chunk:
            frames = _blended(before, _decode(network, waiting[:, :chunk]))
            waiting, before = waiting[:, chunk - overlap :], frames[:, chunk - overlap :]
            yield frames[:, : chunk - overlap]
    if waiting is not None:  # more frames of it than were decoded before
        yield _blended(before, _decode(network, waiting))


def _decode(network: Any, latents: Tensor) -> Tensor:
    flat = latents.flatten(0, 1).to(network.device).to(network.dtype)
    return network.decode(flat, num_frames=latents.shape[1]).sample.unflatten(0, latents.shape[:2])


def _blended(before: Tensor | None, frames: Tensor) -> Tensor:
    """Frames (B, n, 3, H, W) of a chunk, the first of which the chunk before has made too (B, K, 3, H, W)."""
    if before is None or not before.shape[1]:
        return frames
    shared = before.shape[1]
    share = (torch.arange(shared, device=frames.device, dtype=frames.dtype) + 0.5) / shared
    both = torch.lerp(before, frames[:, :shared], share[:, None, None, None])
    return torch.cat([both, frames[:, shared:]], 1)
