"""A small network that reads numbers off pictures, fitted to the clips' own training frames."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.media.fitting import FitMode
from datamodules.shards.index import Index
from trainers.evaluation.clips import evenly, ids_of
from trainers.evaluation.talks import PICTURE
from trainers.evaluation.videos import Shot, read_shots

CLIPS: Final = 48
FRAMES: Final = 100  # of a clip, evenly taken
_BATCH: Final = 64
_RATE: Final = 2e-3


class FrameReader(nn.Module):
    """Pictures (N, 3, S, S) in [0, 1] to numbers (N, K) in the units of what it was fitted to.

    A yardstick of its own for each data set and size: it reads what a viewer of these frames could, where detectors
    find nothing in small or drawn people. What it reads off true frames that it was not fitted to is the most that
    generated ones can reach. It is fitted to blurred and darkened pictures, so that it does not hang on what an
    autoencoder changes.

    Args:
        outputs: K.
        hidden: units before them.
    """

    side: ClassVar[int]
    """S."""
    shift: ClassVar[int] = 0
    """Pixels that a picture is moved by while fitting, where what is read does not move with it."""
    mean: Tensor
    std: Tensor

    def __init__(self, outputs: int = 1, hidden: int = 64) -> None:
        super().__init__()
        widths = (16, 32, 48, 64)
        layers: list[nn.Module] = []
        for given, wanted in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(given, wanted, 3, stride=2, padding=1), nn.GroupNorm(4, wanted), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(hidden), nn.SiLU(), nn.Linear(hidden, outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("std", torch.ones(outputs))

    def numbers(self, pictures: Tensor) -> Tensor:
        """(N, K) of pictures (N, 3, S, S) in [0, 1]."""
        return self.layers(pictures * 2 - 1) * self.std + self.mean

    @classmethod
    def fitted(
        cls,
        pictures: Tensor,
        wanted: Tensor,
        steps: int,
        seed: int = 0,
        there: Tensor | None = None,
        hidden: int = 64,
    ) -> Self:
        """A reader fitted to pictures, frozen; the same for the same seed.

        Args:
            pictures: (N, 3, S, S) in [0, 1].
            wanted: (N, K).
            steps: of fitting, 64 pictures each.
            seed: of its weights and of what is drawn.
            there: (N, K) bool, which numbers are known, one of each at least; all where None.
            hidden: units before the numbers.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            reader = cls(wanted.shape[1], hidden)
            reader.numbers(pictures[:2])
        reader._fit(pictures, wanted, steps, torch.Generator().manual_seed(seed), there)
        return reader.eval().requires_grad_(False)

    def _fit(self, pictures: Tensor, wanted: Tensor, steps: int, random: torch.Generator, there: Tensor | None) -> None:
        known = [column if there is None else column[there[:, k]] for k, column in enumerate(wanted.unbind(1))]
        self.mean.copy_(torch.stack([column.mean() for column in known]))
        self.std.copy_(torch.stack([column.std(unbiased=False).clamp(min=1e-6) for column in known]))
        optimizer = torch.optim.AdamW(self.parameters(), lr=_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(steps, 2))
        standard = (wanted.float() - self.mean) / self.std
        for _ in range(steps):
            some = torch.randint(len(pictures), (_BATCH,), generator=random)
            read = (self.numbers(varied(pictures[some], random, self.shift)) - self.mean) / self.std
            if there is None:
                loss = F.smooth_l1_loss(read, standard[some])
            else:
                each = F.smooth_l1_loss(read, standard[some], reduction="none") * there[some]
                loss = each.sum() / there[some].sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def shots_to_fit(
    shards: str, size: tuple[int, int] | None, splits: Sequence[str], how: FitMode, clips: int
) -> Iterator[tuple[Shot, np.ndarray]]:
    """Clips with video and pose, evenly taken, and the numbers of at most `FRAMES` of their frames, likewise.

    Args:
        shards: folder or URL.
        size: height and width of the frames; None leaves them theirs.
        splits: whose clips.
        how: frames of another shape come to the size.
        clips: at most so many.
    """
    index = Index.load(shards)
    ids = [one for split in splits for one in ids_of(index, split, PICTURE)]
    for shot in read_shots(shards, evenly(ids, clips), None, size, how):
        yield shot, np.linspace(0, len(shot.frames) - 1, min(FRAMES, len(shot.frames))).round().astype(int)


def varied(pictures: Tensor, random: torch.Generator, shift: int = 0) -> Tensor:
    """Pictures (N, 3, S, S) moved, blurred and made lighter or darker, as a generator might give them."""
    side = pictures.shape[-1]
    x, y = torch.randint(2 * shift + 1, (2,), generator=random).tolist()
    moved = F.pad(pictures, (shift,) * 4, mode="replicate")[..., y : y + side, x : x + side]
    blurred = F.avg_pool2d(F.pad(moved, (1,) * 4, mode="replicate"), 3, 1)
    share = torch.rand(len(pictures), 1, 1, 1, generator=random)
    gain = 1 + 0.2 * (torch.rand(len(pictures), 3, 1, 1, generator=random) - 0.5)
    noise = 0.02 * torch.randn(pictures.shape, generator=random)
    return ((moved + share * (blurred - moved)) * gain + noise).clamp(0, 1)
