"""A picture that is moved: what moves its frames, and the frames, with faces made anew (CA-9, CA-13)."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.chatanyone.face_motion_space import HeadMotion
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.hands import hand_images
from models.chatanyone.renderer import FrameMotion, Renderer


class Frames(NamedTuple):
    """What moves some frames.

    Attributes:
        heads: the head's key points on the renderer's grid, without their offset (1, W, K, 3).
        move: what moves the renderer beside them; each part (1, W, ...).
        hands: (1, W, 42, 3) x and y as fractions of the frame, score.
        head: expression (1, W, 16) and pose (1, W, 6) that the heads were made of; None where they were seen.
    """

    heads: Tensor
    move: FrameMotion
    hands: Tensor
    head: HeadMotion | None = None

    def first(self, count: int) -> "Frames":
        """The first of them."""
        move = FrameMotion(*(part[:, :count] for part in self.move))
        head = None if self.head is None else HeadMotion(*(part[:, :count] for part in self.head))
        return Frames(self.heads[:, :count], move, self.hands[:, :count], head)


class Puppet:
    """A picture and what moves it; it remembers nothing of its frames.

    Args:
        renderer: that moves it; runs where its weights are.
        refiner: makes faces anew, on the same device; None leaves them as they are (ablation).
        image: (3, H, W) in [0, 1], as large as the renderer's frames.
        heads: (K, 3) the head's key points in it, on the renderer's grid, without their offset.

    Raises:
        ValueError: a picture of another size, numbers that are not finite, networks of different key points.
    """

    def __init__(self, renderer: Renderer, refiner: FaceRefiner | None, image: Tensor, heads: Tensor):
        if refiner is not None and refiner.head_points != renderer.head_points:
            raise ValueError(
                f"face_refine takes {refiner.head_points} key points of the head, the renderer takes "
                f"{renderer.head_points}"
            )
        self.renderer, self.refiner = renderer.eval(), refiner
        self.height, self.width = renderer.height, renderer.width
        self.device = renderer.template.device
        self.heads = heads[None].to(self.device).float()
        image = image[None].to(self.device).float()
        with torch.no_grad():
            self.source = renderer.encode_source(image, self.heads)
            points = self.source.points[:, : renderer.head_points]
            self._crop = None if refiner is None else refiner.eval().encode_head(image, points)

    @torch.no_grad()
    def render(self, frames: Frames) -> Tensor:
        """(1, W, 3, H, W) in (0, 1), faces as the renderer makes them."""
        renderer = self.renderer
        canonical = self.source.canonical[:, None].expand(-1, frames.heads.shape[1], -1, -1)
        points = renderer.control(canonical, frames.heads, frames.move)
        pictures = None
        if renderer.injections is not None:
            pictures = hand_images(frames.hands.flatten(0, 1), renderer.height, renderer.width)
            pictures = pictures.unflatten(0, frames.hands.shape[:2])
        return renderer.render(self.source, points, pictures)

    @torch.no_grad()
    def refine(self, made: Tensor, frames: Frames) -> Tensor:
        """Rendered frames (1, W, 3, H, W) with their faces made anew; as they are where there is no refiner."""
        if self.refiner is None or self._crop is None:
            return made
        return self.refiner.refine(self._crop, made, frames.heads + frames.move.offset)

    def pictures(self, frames: Frames) -> Tensor:
        """Finished frames (W, H, W, 3) uint8 on the CPU."""
        made = self.refine(self.render(frames), frames)[0]
        return (made.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def relative(seen: Frames, first: Frames, puppet: Puppet) -> Frames:
    """What moves a picture as somebody else departs from a frame of theirs, whose head may be larger or elsewhere.

    Heads and hands go by the size of the heads, and hands by their places.

    Args:
        seen: (1, W, ...) of the other person.
        first: (1, 1, ...) their frame that goes with the picture.
        puppet: the picture.
    """
    own, theirs, still = puppet.heads[:, None], first.heads, puppet.source.motion
    ratio = (_tall(own) / _tall(theirs).clamp(min=1e-3))[..., None]
    heads = own + ratio * (seen.heads - theirs)
    move = FrameMotion(
        still.offset[:, None] + seen.move.offset - first.move.offset,
        still.movement[:, None] + seen.move.movement - first.move.movement,
        still.scale[:, None] * seen.move.scale / first.move.scale,
        still.place[:, None] + seen.move.place - first.move.place,
    )
    middle = (first.heads[..., :2].mean(-2, keepdim=True) + 1) / 2  # fractions of the frame, as hands are
    here = (own[..., :2].mean(-2, keepdim=True) + 1) / 2
    moved = here + ratio * (seen.hands[..., :2] - middle)
    gone = seen.hands[..., 2:] <= 0
    return Frames(heads, move, torch.cat([torch.where(gone, seen.hands[..., :2], moved), seen.hands[..., 2:]], -1))


def _tall(heads: Tensor) -> Tensor:
    """Height of heads (..., K, 3) on the grid, (..., 1)."""
    return (heads[..., 1].amax(-1) - heads[..., 1].amin(-1))[..., None]


def flat(points: Tensor) -> Tensor:
    """Points (..., 3) without their depth, as a renderer of landmarks knows them."""
    return torch.cat([points[..., :2], torch.zeros_like(points[..., 2:])], -1)
