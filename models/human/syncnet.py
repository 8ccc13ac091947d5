"""SyncNet: do these lips speak this sound? (Chung and Zisserman 2016)"""

from collections.abc import Sequence

from torch import Tensor, nn

SIDE = 224
FRAMES = 5
SPEECH_STEPS = 20


class SyncNet(nn.Module):
    """Two networks that bring 0.2 s of lips and 0.2 s of speech into one space, near where they belong together.

    Layers, and the names that they are saved under, are those of the released `syncnet_v2.model`
    (joonson/syncnet_python).

    Args:
        features: size of the space.
        shrink: divides the channels: 1 is the released network, more a small one of the same layers for tests.
    """

    def __init__(self, *, features: int = 1024, shrink: int = 1) -> None:
        super().__init__()
        if shrink < 1 or 32 % shrink:
            raise ValueError(f"shrink={shrink}: it divides 32")
        self.features = features
        a, b, c, d, e, f = (channels // shrink for channels in (64, 96, 192, 256, 384, 512))
        self.netcnnaud = nn.Sequential(
            *_convolution(nn.Conv2d, 1, a, 3, padding=1),
            nn.MaxPool2d(1, 1),
            *_convolution(nn.Conv2d, a, c, 3, padding=1),
            nn.MaxPool2d(3, (1, 2)),
            *_convolution(nn.Conv2d, c, e, 3, padding=1),
            *_convolution(nn.Conv2d, e, d, 3, padding=1),
            *_convolution(nn.Conv2d, d, d, 3, padding=1),
            nn.MaxPool2d(3, 2),
            *_convolution(nn.Conv2d, d, f, (5, 4)),
        )
        self.netcnnlip = nn.Sequential(
            *_convolution(nn.Conv3d, 3, b, (5, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(nn.Conv3d, b, d, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_convolution(nn.Conv3d, d, d, (1, 3, 3), padding=(0, 1, 1)),
            *_convolution(nn.Conv3d, d, d, (1, 3, 3), padding=(0, 1, 1)),
            *_convolution(nn.Conv3d, d, d, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_convolution(nn.Conv3d, d, f, (1, 6, 6)),
        )
        self.netfcaud = _head(f, features)
        self.netfclip = _head(f, features)

    def forward_lip(self, lips: Tensor) -> Tensor:
        """Features (N, features) of five frames of a face.

        Args:
            lips: (N, 3, 5, 224, 224) **BGR**, values from 0 to 255.

        Raises:
            ValueError: another shape.
        """
        if lips.ndim != 5 or tuple(lips.shape[1:]) != (3, FRAMES, SIDE, SIDE):
            raise ValueError(f"SyncNet reads lips (N, 3, {FRAMES}, {SIDE}, {SIDE}), not {tuple(lips.shape)}")
        return self.netfclip(self.netcnnlip(lips).flatten(1))

    def forward_aud(self, speech: Tensor) -> Tensor:
        """Features (N, features) of 0.2 s of speech.

        Args:
            speech: (N, 1, 13, 20) MFCC, 100 a second, of 16-bit samples.

        Raises:
            ValueError: another shape.
        """
        if speech.ndim != 4 or tuple(speech.shape[1:]) != (1, 13, SPEECH_STEPS):
            raise ValueError(f"SyncNet reads speech (N, 1, 13, {SPEECH_STEPS}), not {tuple(speech.shape)}")
        return self.netfcaud(self.netcnnaud(speech).flatten(1))


def _convolution(
    kind: type[nn.Conv2d] | type[nn.Conv3d],
    channels: int,
    width: int,
    kernel: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if kind is nn.Conv2d else nn.BatchNorm3d
    convolution = kind(channels, width, kernel, stride=stride, padding=padding)  # type: ignore[arg-type]
    return convolution, norm(width), nn.ReLU(inplace=True)


def _head(width: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, features))
