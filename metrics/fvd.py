"""Distances between generated and true videos by I3D's features: FVD, KVD, and FID of single frames."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from metrics.frames import as_bytes
from metrics.frechet import FrechetDistance
from metrics.kernel import KernelDistance
from metrics.sources import Sourced, source_of
from pretrained.i3d import I3D

WINDOW: Final = 16


class _OverWindows(Sourced):
    """What FVD, KVD and FID on I3D share: a distance of features that is given windows of clips."""

    short: Tensor

    def __init__(
        self, network: nn.Module | str | Path, window: int = WINDOW, stride: int | None = None, batch: int = 4
    ) -> None:
        if window < 1 or (stride is not None and stride < 1):
            raise ValueError(f"window={window}, stride={stride}: both are at least 1 frame")
        encoder: Any = network if isinstance(network, nn.Module) else I3D(network)
        super().__init__(int(encoder.features))  # type: ignore[call-arg]
        self.network = encoder
        self.source = source_of(encoder)
        self.window, self.stride, self.batch = window, stride or window, batch
        self.add_state("short", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")  # type: ignore[attr-defined]

    @torch.no_grad()
    def update(self, frames: Tensor, generated: bool) -> None:
        """Add the windows of a clip, (T, 3, H, W) uint8 or float in [0, 1], to one side."""
        frames = as_bytes(frames)
        if len(frames) < self.window:
            self.short += 1
            return
        starts = torch.arange(0, len(frames) - self.window + 1, self.stride)
        for some in starts.split(self.batch):
            videos = self._videos(frames, some).to(self.device)  # type: ignore[attr-defined]
            super().update(self.network(videos), generated)  # type: ignore[misc]

    def _videos(self, frames: Tensor, starts: Tensor) -> Tensor:
        """What the network sees: (N, window, 3, H, W) from each start on."""
        return torch.stack([frames[start : start + self.window] for start in starts])


class FVD(_OverWindows, FrechetDistance):  # type: ignore[misc]
    """Frechet Video Distance (IM-19); lower is better.

    `FrechetDistance` on I3D's 400 logits of windows of 16 frames in a row, at the clips' own frame rate, one after the
    other without overlap; what is left at a clip's end is dropped, and a clip shorter than a window counts in `short`
    alone. Frames are rounded to 8 bits. FVD depends on window, stride, frame rate and number of windows: compare only
    figures that share all four.

    Args:
        network: `I3D(...)`, or what it takes as `weights`; or any module from uint8 videos (N, T, 3, H, W) to (N, D)
            with an attribute `features` D.
        window: frames.
        stride: frames between the starts of windows; left out, the window.
        batch: windows at once.
    """

    figure = "FVD"


class KVD(_OverWindows, KernelDistance):  # type: ignore[misc]
    """Kernel Video Distance (MMGT-23): `KernelDistance` of the features that FVD takes; lower is better.

    Args:
        network, window, stride, batch: as FVD's.
    """

    figure = "KVD"


class I3DFID(_OverWindows, FrechetDistance):  # type: ignore[misc]
    """FID on I3D's features (MMGT-23): the first frame of each of FVD's windows, as a video that stands still.

    The paper takes FID "with the I3D classifier" and does not say how a network of videos is shown a picture: here the
    frame is repeated `window` times (ours), so that nothing of movement is in the figure. Lower is better.

    Args:
        network, window, stride, batch: as FVD's.
    """

    figure = "FID (I3D)"

    def _videos(self, frames: Tensor, starts: Tensor) -> Tensor:
        return frames[starts][:, None].expand(-1, self.window, -1, -1, -1)
