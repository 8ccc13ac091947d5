"""The face refinement network: a light renderer of the head alone, which sees what is around the face (CA-13)."""

from dataclasses import dataclass

from torch import Tensor

from models.chatanyone.face_crop import blend_back, crop, face_mask, head_boxes, into_crop
from models.chatanyone.renderer import Renderer, SourcePicture
from settings.ranges import Count, NonNegative, Pixels, Positive, Whole


@dataclass(frozen=True)
class HeadCrop:
    """Heads cut out of R frames.

    Attributes:
        pictures: (R, 3, side, side).
        head: key points (R, K, 3) in [-1, 1] of the crops.
        background: the crops without the face (R, 3, side, side), black where it was.
        face: (R, 1, side, side), 1 where it was.
        boxes: (R, 4) in [-1, 1] of the frames.
    """

    pictures: Tensor
    head: Tensor
    background: Tensor
    face: Tensor
    boxes: Tensor


class FaceRefiner(
    Renderer,
    library_name="cospeech",
    tags=["chatanyone.face_refine"],
    license="other",
):
    """A light network of the renderer's kind for a crop of the head, driven by its key points (CA-13).

    What is brought into its generator at every scale is the crop of the frame whose face is refined, with the face
    masked out, so that the new face fits in. The key points given hold their offsets already (CA-1), so it has no
    displacement network of its own, no body points and no hands.

    Args:
        side: rows and columns of crops.
        margin: share of the head's larger side by which a crop is larger on each side.
        halvings: how often both are halved from crop to features.
        channels: C, of a depth plane.
        planes: D, depth planes.
        encoder_width: channels of F after its first convolution.
        refine_blocks: residual blocks of its 3D network.
        head_points: K, key points of the head.
        warp_width: channels of W.
        warp_halvings: how often W halves the features.
        compress: channels of the volume that W moves by each key point alone; 0 leaves it out.
        spread: deviation of the Gaussians about key points; 2 is the whole side.
        decoder_width: channels of G before its last convolution.
        decoder_blocks: its residual blocks at the features' size.
        background_width: channels of the injection at each scale.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        *,
        side: Pixels = 256,
        margin: NonNegative = 0.35,
        halvings: Count = 2,
        channels: Count = 16,
        planes: Count = 8,
        encoder_width: Count = 32,
        refine_blocks: Whole = 2,
        head_points: Count = 59,
        warp_width: Count = 64,
        warp_halvings: Whole = 3,
        compress: Whole = 2,
        spread: Positive = 0.15,
        decoder_width: Count = 32,
        decoder_blocks: Whole = 3,
        background_width: Count = 16,
    ):
        super().__init__(
            height=side,
            width=side,
            halvings=halvings,
            channels=channels,
            planes=planes,
            encoder_width=encoder_width,
            refine_blocks=refine_blocks,
            head_points=head_points,
            body_points=0,
            displacement=False,
            warp_width=warp_width,
            warp_halvings=warp_halvings,
            compress=compress,
            spread=spread,
            decoder_width=decoder_width,
            decoder_blocks=decoder_blocks,
            hands=True,
            hand_width=background_width,
        )
        self.margin = margin

    def cut(self, frames: Tensor, head: Tensor) -> HeadCrop:
        """Heads of frames (R, 3, H, W) in [0, 1] with key points (R, K, 3) in [-1, 1], offsets included."""
        boxes = head_boxes(head, frames.shape[-2], frames.shape[-1], self.margin)
        pictures, moved = crop(frames, boxes, self.height), into_crop(head, boxes)
        face = face_mask(moved, self.height, self.width).to(pictures.dtype)
        return HeadCrop(pictures, moved, pictures * (1 - face), face, boxes)

    def encode_head(self, image: Tensor, head: Tensor) -> SourcePicture:
        """All that is needed of source pictures (B, 3, H, W) in [0, 1] with key points (B, K, 3) in [-1, 1]."""
        cut = self.cut(image, head)
        return self.encode_source(cut.pictures, cut.head)

    def refine(self, source: SourcePicture, frames: Tensor, head: Tensor) -> Tensor:
        """Frames (B, N, 3, H, W) with their faces refined and blended back (CA-13).

        Args:
            source: as `encode_head` makes it of B pictures.
            frames: generated ones, in [0, 1].
            head: key points (B, N, K, 3) in [-1, 1], offsets included.
        """
        flat, points = frames.flatten(0, 1), head.flatten(0, 1)
        cut = self.cut(flat, points)
        background, control = (part.unflatten(0, frames.shape[:2]) for part in (cut.background, cut.head))
        refined = self.render(source, control, background).flatten(0, 1)
        return blend_back(flat, refined, points, cut.boxes).view_as(frames)
