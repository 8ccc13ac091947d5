"""Discriminators that judge patches of pictures."""

from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from models.saved import SavedNetwork


class Judgement(NamedTuple):
    """What a discriminator makes of frames.

    Attributes:
        logits: (N, 1, h, w), one for each patch; high is real.
        features: one (N, C, h, w) a layer, for a feature-matching loss.
    """

    logits: Tensor
    features: tuple[Tensor, ...]


class PatchDiscriminator(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["layers.patch_discriminator"],
    license="other",
):
    """Judges overlapping patches, not whole frames (Isola et al. 2017; used in IM-10).

    Convolutions of 4 x 4 pixels and stride 2, each with instance norm (but the first) and leaky ReLU of 0.2, double
    the channels and halve the picture; a 1 x 1 convolution scores what remains. Four layers see 46 pixels a patch.

    Args:
        channels: of the frames, and of what is judged along with them.
        width: channels after the first layer; each further layer doubles them.
        layers: number of stride-2 convolutions.
        max_width: most channels of a layer.
        norm: "instance" or "none". With spectral norm, none is common.
        spectral_norm: divide every convolution's weight by its largest singular value (Miyato et al. 2018).

    Raises:
        ValueError: sizes below 1.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 64,
        layers: int = 4,
        max_width: int = 512,
        norm: Literal["instance", "none"] = "instance",
        spectral_norm: bool = False,
    ):
        super().__init__()
        for name, size in {"channels": channels, "width": width, "layers": layers, "max_width": max_width}.items():
            if size < 1:
                raise ValueError(f"{name} of the discriminator has to be 1 or more, not {size}")
        if norm not in ("instance", "none"):
            raise ValueError(f"norm of the discriminator is 'instance' or 'none', not '{norm}'")
        self.channels = channels
        self.blocks = nn.ModuleList()
        before = channels
        for layer in range(layers):
            after = min(width * 2**layer, max_width)
            normed = norm == "instance" and layer > 0
            self.blocks.append(_Block(before, after, normed, spectral_norm))
            before = after
        score = nn.Conv2d(before, 1, 1)
        self.score = with_spectral_norm(score) if spectral_norm else score

    @property
    def smallest(self) -> int:
        """Shortest side of frames that can be judged: two by two patches remain."""
        return 2 ** (len(self.blocks) + 1)

    def forward(self, frames: Tensor) -> Judgement:
        """Judge frames (N, channels, H, W), in [0, 1] or any range that real and generated ones share.

        Raises:
            ValueError: another number of channels, or frames too small for the layers.
        """
        if frames.ndim != 4 or frames.shape[1] != self.channels:
            raise ValueError(f"this discriminator judges (N, {self.channels}, H, W), not {tuple(frames.shape)}")
        side = min(frames.shape[-2:])
        if side < self.smallest:
            fitting = side.bit_length() - 2
            raise ValueError(
                f"frames of {frames.shape[-2]} x {frames.shape[-1]} pixels are too small for a discriminator of "
                f"{len(self.blocks)} layers, which needs {self.smallest}; "
                + (f"take layers={fitting}" if fitting > 0 else "the least, one layer, needs 4")
            )
        features = []
        x = frames
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return Judgement(self.score(x), tuple(features))


class MultiScaleDiscriminator(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["layers.multi_scale_discriminator"],
    license="other",
):
    """Patch discriminators at 1, 1/2, 1/4, ... of the resolution, each its own (Wang et al. 2018).

    Args:
        scales: number of resolutions.
        channels: see `PatchDiscriminator`, as all that follow.
        width: channels after the first layer.
        layers: number of stride-2 convolutions.
        max_width: most channels of a layer.
        norm: "instance" or "none".
        spectral_norm: divide every convolution's weight by its largest singular value.

    Raises:
        ValueError: sizes below 1.
    """

    def __init__(
        self,
        *,
        scales: int = 2,
        channels: int = 3,
        width: int = 64,
        layers: int = 4,
        max_width: int = 512,
        norm: Literal["instance", "none"] = "instance",
        spectral_norm: bool = False,
    ):
        super().__init__()
        if scales < 1:
            raise ValueError(f"scales of the discriminator have to be 1 or more, not {scales}")
        self.scales = nn.ModuleList(
            PatchDiscriminator(
                channels=channels,
                width=width,
                layers=layers,
                max_width=max_width,
                norm=norm,
                spectral_norm=spectral_norm,
            )
            for _ in range(scales)
        )

    def forward(self, frames: Tensor) -> tuple[Judgement, ...]:
        """One judgement a scale, the finest first, of frames (N, channels, H, W).

        Raises:
            ValueError: another number of channels, or frames too small at the coarsest scale.
        """
        judgements = []
        for number, discriminator in enumerate(self.scales):
            frames = F.avg_pool2d(frames, 2) if number else frames
            judgements.append(discriminator(frames))
        return tuple(judgements)


class _Block(nn.Module):
    """Half the height and width."""

    def __init__(self, channels: int, outputs: int, norm: bool, spectral_norm: bool):
        super().__init__()
        convolution = nn.Conv2d(channels, outputs, 4, stride=2, padding=1, bias=not norm)
        self.convolution = with_spectral_norm(convolution) if spectral_norm else convolution
        self.norm = nn.InstanceNorm2d(outputs, affine=True) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, outputs, H / 2, W / 2)."""
        return F.leaky_relu(self.norm(self.convolution(x)), 0.2)
