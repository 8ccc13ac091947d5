"""Speech as the motion diffusion hears it: one vector of all of it, one vector a frame (IM-13)."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.mamba import MambaBlock
from models.layers.transformer import normalise

RATE: Final = 16_000
FRAME: Final = 640  # samples of a video frame at 25 a second
_KERNEL: Final = 400  # 25 ms
_QUIET: Final = 1e-6  # energy below which nothing is heard; a full sine has 1


class Filterbank(nn.Module):
    """The waveform as log energies of learned filters, some steps a video frame.

    A strided convolution reads the raw sound and is learned with the rest. Its filters come in pairs; they begin as
    sine and cosine under a window at frequencies along the mel scale (ours), so that little speech is enough to learn
    from.

    Args:
        filters: pairs of filters, the channels of the result.
        steps: steps a frame; 2, 4, 5, 8, 10 or 16.

    Raises:
        ValueError: steps that do not divide a frame, or leave sound unheard between them.
    """

    def __init__(self, filters: int, steps: int):
        super().__init__()
        if steps < 2 or FRAME % steps:
            raise ValueError(f"audio_steps has to divide {FRAME} samples and be 2 or more, got {steps}")
        self.steps = steps
        top = 2595 * math.log10(1 + 7600 / 700)
        samples = torch.arange(_KERNEL)
        # The default device is named: where transformers is the first to set one, torch.linspace forgets it for good.
        mel = torch.linspace(100, top, filters, device=samples.device)
        angles = samples * (2 * math.pi / RATE) * (700 * (10 ** (mel / 2595) - 1))[:, None]
        window = torch.hann_window(_KERNEL)
        pairs = torch.cat([angles.cos(), angles.sin()]) * window * (2 / window.sum())
        self.filters = nn.Parameter(pairs[:, None])

    def forward(self, audio: Tensor, frames: int) -> Tensor:
        """Sound (B, N) in [-1, 1] of so many video frames to (B, frames * steps, filters).

        At another frame rate than 25 the sound is stretched to 640 samples a frame first.
        """
        if audio.shape[1] != frames * FRAME:
            audio = F.interpolate(audio[:, None], frames * FRAME, mode="linear", align_corners=False)[:, 0]
        stride = FRAME // self.steps
        beside = _KERNEL - stride
        with _full_precision(audio.device):  # 8 bits of sound would hide what is quiet
            padded = F.pad(audio.float(), (beside // 2, beside - beside // 2))[:, None]
            cosine, sine = F.conv1d(padded, self.filters.float(), stride=stride).chunk(2, 1)
            loud = (cosine.square() + sine.square() + _QUIET).log()
        return (loud.transpose(1, 2) + 9) / 3  # about the middle and spread of speech


class MambaGlobal(nn.Module):
    """F_ag: Mamba reads all the sound there is to one vector (IM-13): the mean over steps of what it has read by then.

    Args:
        inputs: channels of the speech.
        width: channels of the Mamba blocks.
        outputs: channels of the vector.
        layers: number of blocks.
    """

    def __init__(self, inputs: int, width: int, outputs: int, layers: int):
        super().__init__()
        self.inner = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(MambaBlock(width) for _ in range(layers))
        self.outer = nn.Linear(width, outputs)

    def forward(self, speech: Tensor, steps: Tensor | None = None) -> Tensor:
        """(B, L, inputs) to (B, outputs); of `steps` (B,) the first in each row are speech, what follows is padding."""
        return self.conclude(*self.read(speech, steps))

    def read(self, speech: Tensor, steps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What pieces of long speech add up to: sums over steps (B, width), and numbers of steps (B, 1)."""
        x = self.inner(speech)
        for layer in self.layers:
            x = layer(x)  # no step hears a later one, so padding behind the speech is not heard
        x = normalise(x)
        if steps is None:
            return x.sum(1), x.new_full((len(x), 1), x.shape[1])
        there = torch.arange(x.shape[1], device=x.device) < steps[:, None]
        return torch.where(there[..., None], x, 0).sum(1), there.sum(1, keepdim=True).to(x.dtype)

    def conclude(self, total: Tensor, steps: Tensor) -> Tensor:
        """The vector (B, outputs) of what `read` gave."""
        return self.outer(total / steps.clamp(min=1))


class MambaLocal(nn.Module):
    """F_al: Mamba reads each frame's slice of the sound to one vector (IM-13).

    The slice of a frame is its own sound and that of `reach` frames on either side (ours: lips move before they are
    heard); nothing else reaches the frame's vector.

    Args:
        inputs: channels of the speech.
        width: channels of the Mamba blocks.
        outputs: channels of the vectors.
        layers: number of blocks.
        steps: steps of the speech a frame.
        reach: frames on either side.
    """

    def __init__(self, inputs: int, width: int, outputs: int, layers: int, steps: int, reach: int):
        super().__init__()
        self.steps, self.reach = steps, reach
        self.inner = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(MambaBlock(width) for _ in range(layers))
        self.outer = nn.Linear(width, outputs)

    def forward(self, speech: Tensor, first: int, count: int) -> Tensor:
        """Vectors of some frames.

        Args:
            speech: (B, frames * steps, inputs).
            first: first frame that is wanted; `reach` frames have to stand before it.
            count: frames wanted; `reach` frames have to stand behind them.

        Returns:
            (B, count, outputs).
        """
        begin, end = (first - self.reach) * self.steps, (first + count + self.reach) * self.steps
        x = self.inner(speech[:, begin:end])
        slices = x.unfold(1, (2 * self.reach + 1) * self.steps, self.steps).transpose(2, 3)  # (B, count, steps, width)
        x = slices.flatten(0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.outer(normalise(x[:, -1])).unflatten(0, (-1, count))  # the last step has read the whole slice


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No autocast; the meta device knows none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
