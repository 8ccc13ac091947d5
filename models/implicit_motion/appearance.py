"""Who is seen in the source picture, kept apart from how they move."""

from torch import Tensor, nn

from models.layers.residual import Downsample, ResidualBlock


class AppearanceExtractor(nn.Module):
    """A picture to a compact identity vector F_A, kept apart from motion (IM-3).

    Args:
        width: channels after the first convolution.
        outputs: numbers in F_A.
    """

    def __init__(self, *, width: int, outputs: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
        channels = width
        for _ in range(4):
            after = min(2 * channels, 256)
            layers += [Downsample(channels, after), ResidualBlock(after)]
            channels = after
        self.layers = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, outputs))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to (B, outputs)."""
        return self.head(self.layers(2 * image - 1).mean((2, 3)))
