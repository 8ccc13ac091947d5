"""ChatAnyone's renderer: a picture moved by key points of head and body, with pictures of the hands brought in."""

from typing import Annotated, ClassVar

from torch import Tensor, cat
from torch.nn.functional import max_pool2d

from models.chatanyone.hands import hand_images
from models.chatanyone.renderer import Renderer
from models.chatanyone.renderer_losses import (
    deformation_prior_loss,
    equivariance_loss,
    keypoint_prior_loss,
    landmark_loss,
)
from models.losses.adversarial import AdversarialLoss
from models.losses.reconstruction import ReconstructionLoss
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, Fraction, NonNegative, Number
from trainers.chatanyone.heads import TemplateHeads, expected_of
from trainers.chatanyone.renderer_batch import Pair, hands_of, limbs, turns
from trainers.chatanyone.rendering import RenderingStage, Terms
from trainers.stage.adversarial import compare_pictures
from trainers.stage.agreement import Expected, picture_size
from trainers.stage.base import SampleGenerator, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES

BODY = ("equivariance", "keypoint_prior", "landmark")
"""Losses of implicit key points, which a head-only network has none of."""


class RendererStage(RenderingStage):
    """Trains the renderer, and its displacement network, to rebuild frames of a clip from another one (CA-9 to CA-12).

    A source frame and some driving frames come from one window. The discriminator has an optimiser of its own.

    Args:
        network: the network's own options.
        template: folder or hub name of the head template by whose key points heads are moved, from the clips'
            coefficients (`head.npz`); left out, by the face's landmarks (`pose.npz`).
        frames: driving frames of each window in a step.
        perceptual: "vgg19" is the paper's perceptual loss and needs weights; "structural" and "l1" need none.
        vgg_weights: file or hub name of VGG-19's weights.
        adversarial: kind of the adversarial loss.
        motion_weight: how much more pixels count in which source and driving frame differ: 1 + motion_weight times the
            difference in units of its mean over the frame (ours); 0 counts all the same.
        equivariance_weight: of L_E, body points follow a picture that is turned (CA-12, as all that follow).
        keypoint_prior_weight: of L_L, body points do not crowd.
        deformation_prior_weight: of L_D, small movements and offsets.
        perceptual_weight: of L_Per.
        adversarial_weight: of L_GAN.
        reconstruction_weight: of L_Recon, mean difference of pixels.
        landmark_weight: of L_lms, the first body points are at wrists, elbows, shoulders and neck.
        hand_weight: of L_Per^Hand, the perceptual loss where hands are.
        distance: squared distance of body points beyond which L_L asks nothing.
        turn: largest angle in half turns by which L_E turns a picture; scale and place change by as much at most.
        discriminator_width: channels of the discriminator's first convolution.
        discriminator_layers: its convolutions that halve the picture.
        optimizer: optimiser of both networks and its options.
        schedule: learning-rate schedule and its options.

    Raises:
        ConfigError: sizes that do not go together, VGG-19 without weights, hands that count and are not drawn.
    """

    region: ClassVar[str] = "hand"

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(Renderer)] = DEFAULTS,
        template: str | None = None,
        frames: Count = 1,
        perceptual: ReconstructionLoss = "vgg19",
        vgg_weights: str | None = None,
        adversarial: AdversarialLoss = "hinge",
        motion_weight: NonNegative = 0.0,
        equivariance_weight: NonNegative = 10.0,
        keypoint_prior_weight: NonNegative = 10.0,
        deformation_prior_weight: NonNegative = 1.0,
        perceptual_weight: NonNegative = 10.0,
        adversarial_weight: NonNegative = 1.0,
        reconstruction_weight: NonNegative = 10.0,
        landmark_weight: NonNegative = 10.0,
        hand_weight: NonNegative = 10.0,
        distance: Number = 0.1,
        turn: Fraction = 0.1,
        discriminator_width: Count = 64,
        discriminator_layers: Count = 4,
        optimizer: Annotated[dict, Choice(OPTIMIZERS)] = "adam",  # type: ignore[assignment]
        schedule: Annotated[dict, Choice(SCHEDULES)] = "constant",  # type: ignore[assignment]
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        self.network = build_network(Renderer, network)
        self.template = None if template is None else TemplateHeads.of(self, template)
        self.judged_by(adversarial, discriminator_width, discriminator_layers)
        self.perceptual = compare_pictures(perceptual, vgg_weights)
        self.drawn = self.network.injections is not None
        if hand_weight and not self.drawn:
            raise ConfigError(
                f"stage.hand_weight is {hand_weight:g}, but stage.network.hands=false draws none: set "
                "stage.hand_weight=0"
            )
        self.frames, self.motion_weight = frames, motion_weight
        self.distance, self.turn = distance, turn
        weights = {
            "equivariance": equivariance_weight,
            "keypoint_prior": keypoint_prior_weight,
            "deformation_prior": deformation_prior_weight,
            "perceptual": perceptual_weight,
            "adversarial": adversarial_weight,
            "reconstruction": reconstruction_weight,
            "landmark": landmark_weight,
            "hand": hand_weight,
        }
        missing = () if self.network.body_points else BODY
        self.weights = {name: weight for name, weight in weights.items() if weight and name not in missing}

    def expects(self) -> list[Expected]:
        """The size of pictures."""
        height, width = self._size
        size = picture_size((height, width), f"stage.network.height and width are {height} and {width}")
        return [size, *expected_of(self.template)]

    @property
    def measured(self) -> tuple[str, ...]:
        """Mouth and, where they are drawn, hands."""
        return ("mouth", "hands") if self.drawn else ("mouth",)

    def _pictures(self, given: Pair) -> Tensor | None:
        """Pictures of the hands (B, N, 3, H, W), where they are drawn."""
        if not self.drawn:
            return None
        hands = hand_images(hands_of(given.driving_pose).flatten(0, 1), *self._size)
        return hands.unflatten(0, given.driving.shape[:2])

    def _region(self, given: Pair, pictures: Tensor | None) -> Tensor:
        """Hands and two pixels about them."""
        drawn = (pictures.flatten(0, 1)[:, :1] > 0).to(given.driving)  # type: ignore[union-attr]
        return max_pool2d(drawn, 5, stride=1, padding=2)

    def _turns(self, draw: SampleGenerator) -> Tensor | None:
        """Affine maps (B, N, 2, 3) by which driving frames are turned, scaled and moved (L_E)."""
        if "equivariance" not in self.weights:
            return None
        numbers = 2 * draw.uniform(self.frames, 4) - 1
        return turns(self.turn * numbers, self.network.width / self.network.height)

    def _point_losses(self, output: dict[str, Tensor], given: Pair) -> Terms:
        points = cat([output["source_points"][:, None], output["points"]], 1)
        body = points[:, :, self.network.head_points :]
        return {
            "equivariance": lambda: equivariance_loss(output["detected"], output["returned"]),
            "keypoint_prior": lambda: keypoint_prior_loss(body, self.distance),
            "deformation_prior": lambda: deformation_prior_loss(output["movement"], output["offset"]),
            "landmark": lambda: self._landmark(body, given),
        }

    def _landmark(self, body: Tensor, given: Pair) -> Tensor:
        """L_lms of the bodies' key points (B, 1 + N, k, 3) of source and driving frames."""
        poses = cat([given.image_pose[:, None], given.driving_pose], 1)
        wanted, seen = limbs(poses, self.network.body_points)
        return landmark_loss(body[:, :, : wanted.shape[2], :2], wanted.to(body), seen)
