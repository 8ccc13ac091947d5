"""ChatAnyone's face refinement: faces of generated frames made anew by a light network, and blended back."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from models.chatanyone.face_crop import face_mask, into_crop
from models.chatanyone.face_refine import FaceRefiner
from models.chatanyone.renderer import Renderer
from models.losses.adversarial import AdversarialLoss
from models.losses.reconstruction import ReconstructionLoss
from pretrained.exports import find_stage, load_network
from pretrained.frozen import Frozen
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, NonNegative
from trainers.chatanyone.heads import TemplateHeads, check_template, expected_of
from trainers.chatanyone.renderer_batch import Pair
from trainers.chatanyone.rendering import RenderingStage
from trainers.stage.adversarial import compare_pictures
from trainers.stage.agreement import Expected, picture_size
from trainers.stage.base import build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES


class FaceRefineStage(RenderingStage):
    """Trains the refinement network on heads cut out of a clip's frames (CA-13).

    As the renderer's stage, with a perceptual loss of the face in the place of the hands', and no loss of landmarks.
    What it sees of the driving frame is all but the face.

    Args:
        network: the network's own options.
        template: head template by whose key points heads are moved, as the renderer's own; left out, by the face's
            landmarks.
        renderer: run folder, saved network or hub name of the renderer whose offsets the head's key points get (CA-1);
            left out, they are the template's own.
        frames: driving frames of each window in a step.
        perceptual: "vgg19" is the paper's perceptual loss and needs weights; "structural" and "l1" need none.
        vgg_weights: file or hub name of VGG-19's weights.
        adversarial: kind of the adversarial loss.
        motion_weight: how much more pixels count in which source and driving frame differ.
        perceptual_weight: of L_Per.
        adversarial_weight: of L_GAN.
        reconstruction_weight: of L_Recon, mean difference of pixels.
        face_weight: of L_Per^face, the perceptual loss where the face is.
        discriminator_width: channels of the discriminator's first convolution.
        discriminator_layers: its convolutions that halve the picture.
        optimizer: optimiser of both networks and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, VGG-19 without weights, a renderer of other key points.
    """

    region: ClassVar[str] = "face"
    network: FaceRefiner

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(FaceRefiner)] = DEFAULTS,
        template: str | None = None,
        renderer: str | None = None,
        frames: Count = 1,
        perceptual: ReconstructionLoss = "vgg19",
        vgg_weights: str | None = None,
        adversarial: AdversarialLoss = "hinge",
        motion_weight: NonNegative = 0.0,
        perceptual_weight: NonNegative = 10.0,
        adversarial_weight: NonNegative = 1.0,
        reconstruction_weight: NonNegative = 10.0,
        face_weight: NonNegative = 10.0,
        discriminator_width: Count = 64,
        discriminator_layers: Count = 4,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adam",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(FaceRefiner, network)
        self.template = None if template is None else TemplateHeads.of(self, template)
        self.judged_by(adversarial, discriminator_width, discriminator_layers)
        self.perceptual = compare_pictures(perceptual, vgg_weights)
        self.frames, self.motion_weight = frames, motion_weight
        weights = {
            "perceptual": perceptual_weight,
            "adversarial": adversarial_weight,
            "reconstruction": reconstruction_weight,
            "face": face_weight,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.renderer: Frozen[Renderer] | None = None
        if renderer is not None:
            export = find_stage(renderer, "renderer", "chatanyone.renderer")
            found = load_network(Renderer, export)
            if found.head_points != self.network.head_points:
                raise ConfigError(
                    f"stage.network.head_points is {self.network.head_points}, but the network of stage.renderer has "
                    f"{found.head_points}: set stage.network.head_points={found.head_points}"
                )
            check_template(found.template_sha256, self.template, f"the network of stage.renderer ({renderer})")
            self.renderer = Frozen(found, export.sha256)

    def expects(self) -> list[Expected]:
        """The size of pictures that the renderer reads; without one, heads are cut out of any."""
        expected = expected_of(self.template)
        if self.renderer is None:
            return expected
        height, width = self.renderer.network.height, self.renderer.network.width
        read = f"the network of stage.renderer reads {width} x {height} pixels"
        return [picture_size((height, width), read), *expected]

    def _frame_size(self, batch: Any) -> tuple[int, int]:
        """Heads are cut out of frames of any size."""
        return batch.video.shape[-2], batch.video.shape[-1]

    def _prepared(self, given: Pair) -> Pair:
        """The heads of the frames, with offsets, key points and poses in the crops' coordinates."""
        shape = given.driving.shape[:2]
        image, head, pose = self._cut(given.image, given.image_head, given.image_pose)
        driving, heads, poses = self._cut(
            given.driving.flatten(0, 1), given.driving_head.flatten(0, 1), given.driving_pose.flatten(0, 1)
        )
        driving, heads, poses = (part.unflatten(0, shape) for part in (driving, heads, poses))
        return Pair(image, driving, head, heads, pose, poses, given.shown)

    def _cut(self, frames: Tensor, head: Tensor, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops of frames (R, 3, H, W), the head's key points (R, K, 3) and poses (R, 134, 3) in them."""
        if self.renderer is not None and self.renderer.network.displacement is not None:
            head = head + self.renderer.network.displacement(frames, head).to(head.dtype)
        cut = self.network.cut(frames, head)
        moved = into_crop(2 * pose[..., :2] - 1, cut.boxes.to(pose))
        return cut.pictures, cut.head, _joined(moved, pose)

    def _face(self, given: Pair) -> Tensor:
        """(B, N, 1, side, side), 1 where the face is."""
        mask = face_mask(given.driving_head.flatten(0, 1), *self._size)
        return mask.to(given.driving.dtype).unflatten(0, given.driving.shape[:2])

    def _pictures(self, given: Pair) -> Tensor:
        """What is brought into the generator: the crops of the driving frames, the face masked out."""
        return given.driving * (1 - self._face(given))

    def _region(self, given: Pair, pictures: Tensor | None) -> Tensor:
        """Where the loss of the face counts, (R, 1, side, side)."""
        return self._face(given).flatten(0, 1)


def _joined(places: Tensor, pose: Tensor) -> Tensor:
    """Points (R, 134, 2) in [-1, 1] with the scores of a pose, as fractions of the picture; missing ones stay so."""
    missing = pose[..., 2:] <= 0
    return torch.cat([torch.where(missing, pose[..., :2], (places + 1) / 2), pose[..., 2:]], -1)
