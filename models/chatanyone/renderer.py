"""The renderer: a picture moved by key points of head and body, its hands drawn in."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.chatanyone.displacement import HeadDisplacement
from models.chatanyone.hands import HandInjection
from models.chatanyone.renderer_detector import BodyPoints, KeypointDetector, body_points
from models.chatanyone.renderer_warping import WarpingField, WarpingFieldEstimator
from models.saved import SavedNetwork
from models.warping.decoder import ImageDecoder, Inject
from models.warping.encoder import ImageEncoder
from models.warping.warp import blend
from settings.ranges import Count, Pixels, Positive, Whole


class FrameMotion(NamedTuple):
    """What moves a frame; coordinates are in [-1, 1], left to right, top to bottom, and in depth.

    Attributes:
        offset: dX of the head's key points (..., K, 3).
        movement: delta of the body's (..., k, 3).
        scale: s (..., 1).
        place: t (..., 3).
    """

    offset: Tensor
    movement: Tensor
    scale: Tensor
    place: Tensor


@dataclass(frozen=True)
class SourcePicture:
    """What is known of B source pictures.

    Attributes:
        volume: F (B, C, D, H, W).
        canonical: X_c of the body (B, k, 3).
        points: X_s of head and body (B, K + k, 3).
        motion: of the picture itself.
    """

    volume: Tensor
    canonical: Tensor
    points: Tensor
    motion: FrameMotion

    @property
    def appearance(self) -> Tensor:
        """The means of the volume's channels on each plane (B, C D)."""
        return self.volume.mean((3, 4)).flatten(1)


class Renderer(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["chatanyone.renderer"],
    license="other",
):
    """Moves a picture of the upper body, or of a head alone, by key points (CA-1 to CA-3, CA-9, CA-10).

    F makes a feature volume of the picture, L detects the body's implicit key points, W estimates how the volume moves
    from the picture's points to a frame's, G makes the frame, into which pictures of the hands are brought.

    Args:
        height: rows of pictures.
        width: columns.
        halvings: how often both are halved from picture to features.
        channels: C, of a depth plane.
        planes: D, depth planes.
        encoder_width: channels of F after its first convolution.
        refine_blocks: residual blocks of its 3D network.
        head_points: K, key points of the head.
        body_points: k, implicit key points of the body; 0 is the head-only variant, which has no L.
        detector_width: channels of L after its first convolution.
        detector_halvings: how often L halves the picture.
        detector_doublings: how often it doubles that again, to the size of its heat maps.
        displacement: false leaves out dX: the head's key points are the template's (the paper's ablation).
        displacement_width: channels of the displacement network after its first convolution.
        displacement_reach: largest offset of a key point along each axis; 2 is the whole side.
        warp_width: channels of W.
        warp_halvings: how often W halves the features.
        compress: channels of the volume that W moves by each key point alone; 0 leaves it out.
        spread: deviation of the Gaussians about key points; 2 is the whole side.
        decoder_width: channels of G before its last convolution.
        decoder_blocks: its residual blocks at the features' size.
        hands: false leaves out the pictures of the hands (the paper's ablation; heads alone have none).
        hand_width: channels of the injection at each scale.

    Raises:
        ValueError: sizes that do not go together.
    """

    template: Tensor

    def __init__(
        self,
        *,
        height: Pixels = 768,
        width: Pixels = 512,
        halvings: Count = 3,
        channels: Count = 32,
        planes: Count = 16,
        encoder_width: Count = 64,
        refine_blocks: Whole = 6,
        head_points: Count = 59,
        body_points: Whole = 21,
        detector_width: Count = 32,
        detector_halvings: Count = 5,
        detector_doublings: Whole = 2,
        displacement: bool = True,
        displacement_width: Count = 32,
        displacement_reach: Positive = 0.1,
        warp_width: Count = 128,
        warp_halvings: Whole = 3,
        compress: Whole = 4,
        spread: Positive = 0.1,
        decoder_width: Count = 64,
        decoder_blocks: Whole = 6,
        hands: bool = True,
        hand_width: Count = 32,
    ):
        super().__init__()
        self.height, self.width, self.head_points, self.body_points = height, width, head_points, body_points
        _check(height, width, halvings, warp_halvings, detector_halvings if body_points else 0)
        if detector_doublings > detector_halvings:
            raise ValueError(
                f"detector_doublings {detector_doublings} has to be at most detector_halvings {detector_halvings}"
            )
        self.image_encoder = ImageEncoder(
            halvings=halvings, width=encoder_width, channels=channels, planes=planes, blocks=refine_blocks
        )
        self.detector = (
            KeypointDetector(
                points=body_points, width=detector_width, halvings=detector_halvings, doublings=detector_doublings
            )
            if body_points
            else None
        )
        self.displacement = (
            HeadDisplacement(points=head_points, width=displacement_width, reach=displacement_reach)
            if displacement
            else None
        )
        self.warping = WarpingFieldEstimator(
            points=head_points + body_points,
            channels=channels,
            planes=planes,
            width=warp_width,
            halvings=warp_halvings,
            compress=compress,
            spread=spread,
        )
        self.image_decoder = ImageDecoder(
            doublings=halvings, width=decoder_width, channels=channels, planes=planes, blocks=decoder_blocks
        )
        self.injections = (
            nn.ModuleList(HandInjection(channels=at, width=hand_width) for at in self.image_decoder.widths)
            if hands
            else None
        )
        self.register_buffer("template", torch.zeros(32, dtype=torch.uint8))

    @property
    def template_sha256(self) -> str:
        """SHA-256 of the head template whose key points it was trained with; empty for landmarks of faces."""
        return bytes(self.template.tolist()).hex() if self.template.any() else ""

    def set_template(self, sha256: str) -> None:
        """Remember whose key points these are: the SHA-256 of a head template, in hexadecimal; empty for landmarks."""
        self.template.copy_(torch.frombuffer(bytearray.fromhex(sha256 or "00" * 32), dtype=torch.uint8))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Networks that were saved when there were landmarks alone say nothing of a template.
        state_dict.setdefault(f"{prefix}template", self.template)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def encode_motion(self, frames: Tensor, head: Tensor) -> FrameMotion:
        """What moves frames (R, 3, H, W) in [0, 1] with the template's key points (R, K, 3) in [-1, 1]."""
        return self._look(frames, head)[0]

    def encode_source(self, image: Tensor, head: Tensor) -> SourcePicture:
        """All that is needed of source pictures (B, 3, H, W) in [0, 1] with key points (B, K, 3) in [-1, 1].

        Raises:
            ValueError: pictures or key points of another size, or with NaN in them.
        """
        self._fits(image, head)
        for name, given in (("the picture is", image), ("the key points of the head are", head)):
            if given.device.type != "meta" and not given.isfinite().all():
                raise ValueError(f"{name} not all numbers (NaN or infinite): was a head found in the picture?")
        motion, canonical = self._look(image, head)
        return SourcePicture(self.image_encoder(image), canonical, self.control(canonical, head, motion), motion)

    def control(self, canonical: Tensor, head: Tensor, motion: FrameMotion) -> Tensor:
        """X = X_head joined with X_body (CA-9; Eq. 4), (..., K + k, 3), with X_head = X_template + dX (CA-1; Eq. 2).

        Args:
            canonical: X_c of the source picture (..., k, 3).
            head: the template's key points (..., K, 3).
            motion: of the frame.
        """
        body = body_points(canonical, motion.movement, motion.scale, motion.place)
        return torch.cat([head + motion.offset, body.to(head.dtype)], -2)

    def deform(self, source: SourcePicture, driving: Tensor) -> WarpingField:
        """How the volume moves for key points X_d (B, N, K + k, 3)."""
        return self.warping(source.volume, source.points, driving)

    def render(self, source: SourcePicture, driving: Tensor, hands: Tensor | None = None) -> Tensor:
        """Frames (B, N, 3, H, W) in (0, 1).

        Args:
            source: of B pictures.
            driving: X_d (B, N, K + k, 3), as `control` makes them.
            hands: pictures of the hands (B, N, 3, H, W); none, or empty ones, bring nothing in (CA-10).
        """
        field = self.deform(source, driving)
        moved = blend(source.volume, field.flow, field.mask, 1.0).flatten(0, 1)
        inject: Inject | None = None
        if hands is not None and (layers := self.injections) is not None:
            pictures = hands.flatten(0, 1)

            def bring_in(scale: int, features: Tensor) -> Tensor:
                return layers[scale](features, pictures)

            inject = bring_in
        return self.image_decoder(moved, inject).unflatten(0, driving.shape[:2])

    def forward(
        self,
        image: Tensor,
        image_head: Tensor,
        driving: Tensor,
        driving_head: Tensor,
        hands: Tensor | None = None,
        turned: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Re-enact: move a picture as driving frames of the same clip are moved.

        Args:
            image: I_S (B, 3, H, W) in [0, 1].
            image_head: the template's key points of it (B, K, 3) in [-1, 1].
            driving: I_D (B, N, 3, H, W) in [0, 1].
            driving_head: (B, N, K, 3).
            hands: pictures of the hands (B, N, 3, H, W).
            turned: affine maps (B, N, 2, 3) by which driving frames are turned before their points are detected again.

        Returns:
            `frames` (B, N, 3, H, W); `source_points` (B, K + k, 3) and `points` (B, N, K + k, 3); `offset`
            (B, N + 1, K, 3) and `movement` (B, N + 1, k, 3), the source's first; where `turned` is given, `detected`
            and `returned` (B, N, k, 2): points of the driving frames, and of the turned ones brought back.

        Raises:
            ValueError: pictures or key points of another size.
        """
        self._fits(image, image_head)
        self._fits(driving, driving_head)
        count = driving.shape[1]
        frames = torch.cat([image[:, None], driving], 1)
        heads = torch.cat([image_head[:, None], driving_head], 1)
        flat, detected = self._look(frames.flatten(0, 1), heads.flatten(0, 1))
        canonical = detected.unflatten(0, (-1, count + 1))
        motion = FrameMotion(*(part.unflatten(0, (-1, count + 1)) for part in flat))
        points = self.control(canonical[:, :1].expand_as(canonical), heads, motion)
        source = SourcePicture(
            self.image_encoder(image), canonical[:, 0], points[:, 0], FrameMotion(*(part[:, 0] for part in motion))
        )
        output: dict[str, Any] = {
            "frames": self.render(source, points[:, 1:], hands),
            "source_points": points[:, 0],
            "points": points[:, 1:],
            "offset": motion.offset,
            "movement": motion.movement,
        }
        if turned is not None and self.detector is not None:
            own = body_points(canonical, motion.movement, motion.scale, motion.place)
            output["detected"] = own[:, 1:, :, :2]
            output["returned"] = self._returned(driving.flatten(0, 1), turned.flatten(0, 1)).unflatten(0, (-1, count))
        return output

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of G in the backward pass."""
        self.image_decoder.recompute = True

    def _look(self, frames: Tensor, head: Tensor) -> tuple[FrameMotion, Tensor]:
        """What moves frames (R, 3, H, W), and X_c as each of them has it (R, k, 3)."""
        if self.detector is None:
            none = head.new_zeros(len(head), 0, 3)
            found = BodyPoints(none, none, head.new_ones(len(head), 1), head.new_zeros(len(head), 3))
        else:
            found = self.detector(frames)
        offset = torch.zeros_like(head) if self.displacement is None else self.displacement(frames, head)
        return FrameMotion(offset.to(head.dtype), *found[1:]), found.canonical

    def _returned(self, frames: Tensor, turned: Tensor) -> Tensor:
        """Points (R, k, 2) of turned frames, brought back to where they are in the frames themselves (R, 3, H, W)."""
        grid = F.affine_grid(turned.float(), list(frames.shape), align_corners=True)
        other = F.grid_sample(frames.float(), grid, padding_mode="reflection", align_corners=True).to(frames.dtype)
        found = body_points(*self.detector(other))  # type: ignore[misc]
        return found[..., :2] @ turned[:, :, :2].transpose(1, 2).float() + turned[:, None, :, 2].float()

    def _fits(self, frames: Tensor, head: Tensor) -> None:
        """Raises ValueError for pictures or key points of another size."""
        if frames.shape[-2:] != (self.height, self.width):
            raise ValueError(
                f"this renderer moves pictures of {self.width} x {self.height} pixels, these are "
                f"{frames.shape[-1]} x {frames.shape[-2]}"
            )
        if head.shape[-2:] != (self.head_points, 3):
            raise ValueError(
                f"this renderer takes {self.head_points} key points of the head, (..., {self.head_points}, 3), these "
                f"are {tuple(head.shape)}"
            )


def _check(height: int, width: int, halvings: int, warp: int, detector: int) -> None:
    """Raises ValueError for a picture that cannot be halved as often as the networks do."""
    for name, times in (("halvings + warp_halvings", halvings + warp), ("detector_halvings", detector)):
        for side, size in (("height", height), ("width", width)):
            if size % 2**times:
                raise ValueError(
                    f"{side} {size} is halved {times} times ({name}), so it has to be a multiple of {2**times}"
                )
