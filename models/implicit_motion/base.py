"""The base network: motion features of frames, and frames of a source picture moved by them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.implicit_motion.appearance import AppearanceExtractor
from models.implicit_motion.deviation import DeviationImageTransformer
from models.implicit_motion.motion_decoder import Deformation, LatentMotionDeviationDecoder
from models.implicit_motion.motion_encoder import MOTION, MotionEncoder
from models.saved import SavedNetwork
from models.warping.decoder import ImageDecoder
from models.warping.encoder import ImageEncoder
from models.warping.warp import blend
from settings.ranges import Count, Number, Pixels, Whole


@dataclass(frozen=True)
class SourceFeatures:
    """What is known of B source pictures.

    Attributes:
        volume: F_id (B, C, S_d, H, W).
        appearance: F_A (B, A).
        motion: M^0 (B, 768).
    """

    volume: Tensor
    appearance: Tensor
    motion: Tensor


class ImplicitMotion(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["implicit_motion.base"],
    license="other",
):
    """Moves a picture by motion features, with no key points (IM-1 to IM-9).

    Args:
        image_size: height and width S of pictures.
        feature_size: height and width H of the features; S divided by a power of 2, and 8 times one.
        channels: C, of a depth plane.
        planes: S_d, depth planes.
        encoder_width: channels of the image encoder after its first convolution.
        refine_blocks: residual blocks of the 3D network.
        appearance_channels: numbers in F_A.
        backbone: timm's name of the motion encoder.
        regions: lambda, motion regions.
        transformer_width: channels of the deviation image transformer.
        transformer_layers: its layers.
        transformer_heads: heads of its attention.
        convolutions: its 3D convolutions.
        convolution_width: channels between them.
        motion_width: channels of the motion decoder.
        decoder_width: channels of the image decoder before its last convolution.
        decoder_blocks: its residual blocks at the features' size.
        beta: factor of negative features (articulation); adjustable when rendering.
        use_appearance: false leaves F_A out of the motion decoder (ablation).
        use_transformer: false leaves the transformer out of the deviation maps (ablation).
        use_attention: false weighs all motion regions the same (ablation).

    Raises:
        ValueError: sizes that do not go together.
    """

    motion_channels = MOTION

    def __init__(
        self,
        *,
        image_size: Pixels = 256,
        feature_size: Count = 64,
        channels: Count = 32,
        planes: Count = 16,
        encoder_width: Count = 64,
        refine_blocks: Whole = 6,
        appearance_channels: Count = 512,
        backbone: str = "convnext_tiny",
        regions: Count = 10,
        transformer_width: Count = 256,
        transformer_layers: Whole = 4,
        transformer_heads: Count = 8,
        convolutions: Whole = 3,
        convolution_width: Count = 32,
        motion_width: Count = 64,
        decoder_width: Count = 64,
        decoder_blocks: Whole = 6,
        beta: Number = 0.2,
        use_appearance: bool = True,
        use_transformer: bool = True,
        use_attention: bool = True,
    ):
        super().__init__()
        halvings = (image_size // feature_size).bit_length() - 1
        if feature_size << halvings != image_size:
            raise ValueError(f"image_size {image_size} has to be feature_size {feature_size} times a power of 2")
        self.image_size, self.appearance_channels, self.beta = image_size, appearance_channels, beta
        self.image_encoder = ImageEncoder(
            halvings=halvings, width=encoder_width, channels=channels, planes=planes, blocks=refine_blocks
        )
        self.appearance = AppearanceExtractor(width=max(8, encoder_width // 2), outputs=appearance_channels)
        self.motion_encoder = MotionEncoder(backbone)
        self.deviations = DeviationImageTransformer(
            regions=regions,
            width=transformer_width,
            layers=transformer_layers,
            heads=transformer_heads,
            convolutions=convolutions,
            hidden=convolution_width,
            transformer=use_transformer,
        )
        self.motion_decoder = LatentMotionDeviationDecoder(
            size=feature_size,
            channels=channels,
            planes=planes,
            width=motion_width,
            appearance=appearance_channels if use_appearance else 0,
            attention=use_attention,
        )
        self.image_decoder = ImageDecoder(
            doublings=halvings, width=decoder_width, channels=channels, planes=planes, blocks=decoder_blocks
        )

    def encode_motion(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, S, S) in [0, 1] to motion features (B, 768) (IM-4)."""
        return self.motion_encoder(frames)

    def encode_appearance(self, image: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [0, 1] to F_A (B, A) (IM-3)."""
        return self.appearance(image)

    def encode_source(self, image: Tensor) -> SourceFeatures:
        """All that is needed of source pictures (B, 3, S, S) in [0, 1]."""
        return SourceFeatures(self.image_encoder(image), self.appearance(image), self.motion_encoder(image))

    def deform(self, source: SourceFeatures, motion: Tensor) -> Deformation:
        """The deformation of F_id for motion features (B, N, 768)."""
        return self.motion_decoder(self.deviations(source.motion, motion), source.volume, source.appearance)

    def render(self, source: SourceFeatures, motion: Tensor, beta: float | None = None) -> Tensor:
        """Frames (B, N, 3, S, S) in (0, 1) of motion features (B, N, 768); beta as the constructor's where left out."""
        deformation = self.deform(source, motion)
        moved = blend(source.volume, deformation.flow, deformation.mask, self.beta if beta is None else beta)
        return self.image_decoder(moved.flatten(0, 1)).unflatten(0, motion.shape[:2])

    def forward(self, image: Tensor, driving: Tensor, reencode: bool = False) -> dict[str, Tensor]:
        """Re-enact: move a picture as driving frames of the same clip are moved.

        Args:
            image: I_S (B, 3, S, S) in [0, 1].
            driving: I_D (B, N, 3, S, S) in [0, 1].
            reencode: whether the motion of the generated frames is read too (IM-11).

        Returns:
            `frames` (B, N, 3, S, S), `motion` (B, N, 768) of the driving frames and, if asked for, `reencoded`
            (B, N, 768) of the generated ones.
        """
        count = driving.shape[1]
        motion = self.motion_encoder(torch.cat([image[:, None], driving], 1).flatten(0, 1)).unflatten(
            0, (-1, count + 1)
        )
        source = SourceFeatures(self.image_encoder(image), self.appearance(image), motion[:, 0])
        output: dict[str, Any] = {"motion": motion[:, 1:], "frames": self.render(source, motion[:, 1:])}
        if reencode:
            output["reencoded"] = self.motion_encoder(output["frames"].flatten(0, 1)).unflatten(0, (-1, count))
        return output

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the image decoder's activations in the backward pass."""
        self.image_decoder.recompute = True
