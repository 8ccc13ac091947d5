"""What a classifier is shown of pairs: parts of clips, of picture and of sound each its own length, and wrong sound."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Parts(NamedTuple):
    """Parts of clips, by their frames.

    Attributes:
        video: (B,) how many frames of picture.
        video_at: (B, T) which; behind a sample's own it is the last again.
        audio: (B,) how many frames of sound.
        audio_at: (B, S) which.
    """

    video: Tensor
    video_at: Tensor
    audio: Tensor
    audio_at: Tensor


class Wrong(NamedTuple):
    """Sound that does not go with the picture.

    Attributes:
        rows: (B,) whose clip's.
        audio_at: (B, S) its frames.
        audio: (B,) how many of them count.
        there: (B,) false where no wrong sound is to be had.
    """

    rows: Tensor
    audio_at: Tensor
    audio: Tensor
    there: Tensor


def draw_parts(random: Any, there: Tensor, lengths: Sequence[int]) -> Parts:
    """Draw both lengths, and where both begin (PH-13).

    Args:
        random: `uniform()` gives (B,) numbers in [0, 1).
        there: (B,) frames of each clip.
        lengths: to draw from, each as likely, of those that a clip has; a shorter clip is taken whole.
    """
    lengths = sorted(lengths)
    video, audio = (_drawn(random.uniform(), there, lengths) for _ in range(2))
    start = (random.uniform() * (there - torch.maximum(video, audio) + 1)).long()
    longest = lengths[-1] if there.is_meta else None
    return Parts(video, _frames(start, video, longest), audio, _frames(start, audio, longest))


def draw_wrong(random: Any, there: Tensor, parts: Parts, fps: float, shifts: tuple[float, float]) -> Wrong:
    """Draw other sound: half of the samples get their own, shifted, the others another clip's of the batch.

    Where a clip has no room for a shift it gets another's; where the batch has no other, there is none.

    Args:
        random: as in `draw_parts`.
        there: (B,) frames of each clip.
        parts: what is right.
        fps: frames a second.
        shifts: least and most, in seconds.
    """
    least, most = (round(seconds * fps) for seconds in shifts)
    rows = torch.arange(len(there), device=there.device)
    size = least + (random.uniform() * (most - least + 1)).long()
    first = parts.audio_at[:, 0]
    later, earlier = first + size + parts.audio <= there, first >= size
    forward = torch.where(later & earlier, random.uniform() < 0.5, later)
    shifted = first + torch.where(forward, size, -size)
    other = rows.roll(1)
    shift = (later | earlier) & ((random.uniform() < 0.5) | (other == rows))
    audio = torch.where(shift, parts.audio, torch.minimum(parts.audio, there[other]))
    begin = (random.uniform() * (there[other] - audio + 1)).long()
    frames = _frames(torch.where(shift, shifted, begin), audio, parts.audio_at.shape[1])
    return Wrong(torch.where(shift, rows, other), frames, audio, shift | (other != rows))


def _drawn(chance: Tensor, there: Tensor, lengths: list[int]) -> Tensor:
    known = torch.tensor(lengths, device=there.device)
    able = (known <= there[:, None]).sum(1)
    return torch.where(able > 0, known[(chance * able).long().clamp(max=len(lengths) - 1)], there)


def _frames(start: Tensor, count: Tensor, most: int | None) -> Tensor:
    """(B, T) frames from `start` (B,) on, T the largest of `count` (B,) unless `most` says it; the last one again."""
    steps = torch.arange(int(count.max()) if most is None else most, device=start.device)
    return start[:, None] + torch.minimum(steps, count[:, None] - 1)
