"""People as ChatAnyone's networks take them: a picture or a video cut to the renderer's shape, and the head in it."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.clip import ClipInfo
from datamodules.media.files import MediaError
from datamodules.media.picture import read_image
from models.chatanyone.grid import Heads, landmark_heads, to_grid
from models.chatanyone.head import HeadTemplate
from models.chatanyone.head_fit import HeadFit, NoHead, fit_head
from models.chatanyone.portrait import Person
from models.chatanyone.puppet import flat
from models.chatanyone.renderer import Renderer
from models.human.keypoints import HANDS
from preprocessing.head.points import seen_face
from preprocessing.videos.crop import Box
from preprocessing.videos.frame import frame_box
from trainers.animation.request import detect_first_pose, read_first_pose

_SAME: Final = 0.01  # shapes that differ by less are one


class Cut(NamedTuple):
    """Where pictures of a person are cut to the renderer's shape, and their poses in that part.

    Attributes:
        box: in pixels of the picture.
        poses: (T, 134, 3) as fractions of the part, and score.
        size: height and width that it is brought to.
    """

    box: Box
    poses: np.ndarray
    size: tuple[int, int]

    @classmethod
    def of(cls, poses: np.ndarray, picture: tuple[int, int], renderer: Renderer) -> "Cut":
        """The largest part with the renderer's shape that has the person in it.

        Args:
            poses: (T, 134, 3) as fractions of the picture, and score.
            picture: its height and width.
            renderer: that is to move it.
        """
        height, width = picture
        size = renderer.height, renderer.width
        seen = {"keypoints": poses[..., :2], "scores": poses[..., 2]}
        if abs(height * size[1] / (width * size[0]) - 1) < _SAME:
            box = Box(0, 0, width, height)
        else:
            box = frame_box(seen, (width, height), (size[1], size[0]))
        moved = poses.copy()
        for axis, (whole, first, side) in enumerate(((width, box.left, box.width), (height, box.top, box.height))):
            moved[..., axis] = (poses[..., axis] * whole - first) / side
        moved[poses[..., 2] <= 0] = (-1, -1, 0)
        return cls(box, moved.astype(np.float32), size)

    def pictures(self, pictures: np.ndarray) -> Tensor:
        """Pictures (n, H, W, 3) uint8 cut and brought to size, (n, 3, h, w) in [0, 1]."""
        height, width = self.size
        cut = np.stack([self.box.cut(picture, width, height) for picture in pictures])
        return torch.from_numpy(cut).permute(0, 3, 1, 2).contiguous().float() / 255

    def fit(self, template: HeadTemplate, name: str) -> HeadFit:
        """The head in each of the poses, in heights of the part. Raises MediaError where there is none in any."""
        return fit_poses(template, self.poses, self.size, name)

    def heads(self, template: HeadTemplate | None, renderer: Renderer, name: str) -> Heads:
        """The heads in the poses as the renderer takes them: the template's where it was trained with one.

        Raises:
            MediaError: no head in any.
        """
        if template is None:
            return landmark_heads(torch.from_numpy(self.poses))
        found = self.fit(template, name)
        person = found.identity.expand(len(found.pose), -1)
        points = to_grid(template(found.expression, found.pose, person), self.size[1] / self.size[0])
        return Heads(points if renderer.template_sha256 else flat(points), found.error >= 0)


def fit_poses(template: HeadTemplate, poses: np.ndarray, size: tuple[int, int], name: str) -> HeadFit:
    """The head in poses (T, 134, 3) of frames of a height and width, in heights of these.

    Raises:
        MediaError: no head from the front in any; names the file.
    """
    height, width = size
    info = ClipInfo(id="frames", source=name, end=1, fps=1, frames=len(poses), height=height, width=width)
    face = seen_face(info, {"keypoints": poses[..., :2], "scores": poses[..., 2]})
    try:
        return fit_head(template, face.points, face.seen)
    except NoHead as error:
        raise MediaError(f"{name}: {error}; the face has to be seen from the front") from None


def read_picture(image: Path, pose: Path | None, renderer: Renderer) -> tuple[Tensor, Cut]:
    """A picture (3, H, W) in [0, 1] cut to the renderer's shape, and how.

    Args:
        image: the file.
        pose: where the person in it is, instead of looking for them.
        renderer: that is to move it.

    Raises:
        MediaError: it cannot be read, or shows nobody, or several people.
    """
    picture = read_image(image)
    found = detect_first_pose(picture, image) if pose is None else read_first_pose(pose)
    cut = Cut.of(found[None], picture.shape[:2], renderer)
    return cut.pictures(picture[None])[0], cut


def read_person(image: Path, pose: Path | None, template: HeadTemplate, renderer: Renderer) -> Person:
    """Who is to speak, from a picture. Raises MediaError as `read_picture`, or where no head is seen from the front."""
    picture, cut = read_picture(image, pose, renderer)
    head = cut.fit(template, str(image))
    hands = torch.from_numpy(cut.poses[0, HANDS])
    return Person(picture, head.expression[0].float(), head.pose[0].float(), head.identity.float(), hands)
