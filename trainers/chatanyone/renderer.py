"""ChatAnyone's renderer: a picture moved by key points of head and body, with pictures of the hands brought in."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from models.chatanyone.hands import hand_images
from models.chatanyone.renderer import Renderer
from models.chatanyone.renderer_losses import (
    deformation_prior_loss,
    equivariance_loss,
    keypoint_prior_loss,
    landmark_loss,
)
from models.layers.discriminator import PatchDiscriminator
from models.losses.adversarial import discriminator_loss, generator_loss
from models.losses.pixels import pixel_error
from models.losses.reconstruction import build_reconstruction_loss
from models.losses.regions import movement_weight
from pretrained.vgg import vgg_features
from settings import DEFAULTS, Choice, ConfigError, Section
from settings.ranges import Count, Fraction, NonNegative, Number
from trainers.chatanyone.renderer_batch import (
    Pair,
    boxes,
    check_seen,
    hands_of,
    limbs,
    pair,
    psnr,
    turns,
    whole_window,
)
from trainers.stage.agreement import Expected, picture_size
from trainers.stage.base import SampleGenerator, Stage, both, build_network
from trainers.stage.optimizers import OPTIMIZERS
from trainers.stage.schedules import SCHEDULES

BODY = ("equivariance", "keypoint_prior", "landmark")
"""Losses of implicit key points, which a head-only network has none of."""


class RendererStage(Stage):
    """Trains the renderer, and its displacement network, to rebuild frames of a clip from another one (CA-9 to CA-12).

    A source frame and some driving frames come from one window. The discriminator has an optimiser of its own.

    Args:
        network: the network's own options.
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

    needs: ClassVar[tuple[str, ...]] = ("video.mp4", "pose.npz")
    full_precision = "the coordinates of warps have 8 bits in bf16, half a pixel of 128: compare a short run in fp32"
    kind: ClassVar[type[Renderer]] = Renderer
    region: ClassVar[str] = "hand"
    """Name of the perceptual loss of a region."""
    network: Renderer

    def __init__(
        self,
        *,
        network: Annotated[dict, Section(Renderer)] = DEFAULTS,
        frames: Count = 1,
        perceptual: Literal["vgg19", "structural", "l1"] = "vgg19",
        vgg_weights: str | None = None,
        adversarial: Literal["hinge", "lsgan"] = "hinge",
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
        self.automatic_optimization = False
        self.network = build_network(self.kind, network)
        try:
            self.discriminator = PatchDiscriminator(width=discriminator_width, layers=discriminator_layers)
            if vgg_weights is not None and perceptual != "vgg19":
                raise ValueError(f"the loss '{perceptual}' takes no weights; 'vgg19' does")
            features = vgg_features(vgg_weights) if perceptual == "vgg19" else None
            self.perceptual = build_reconstruction_loss(perceptual, features)
        except ValueError as error:
            raise ConfigError(f"stage: {error}") from None
        self.drawn = self.network.injections is not None
        if hand_weight and not self.drawn:
            raise ConfigError(
                f"stage.hand_weight is {hand_weight:g}, but stage.network.hands=false draws none: set "
                "stage.hand_weight=0"
            )
        self.frames, self.adversarial, self.motion_weight = frames, adversarial, motion_weight
        self.distance, self.turn = distance, turn
        weights = {
            "equivariance": equivariance_weight,
            "keypoint_prior": keypoint_prior_weight,
            "deformation_prior": deformation_prior_weight,
            "perceptual": perceptual_weight,
            "adversarial": adversarial_weight,
            "reconstruction": reconstruction_weight,
            "landmark": landmark_weight,
            self.region: hand_weight,
        }
        missing = () if self.network.body_points else BODY
        self.weights = {name: weight for name, weight in weights.items() if weight and name not in missing}

    def parts(self) -> dict[str, nn.Module]:
        return {"network": self.network, "discriminator": self.discriminator}

    def frozen(self) -> dict[str, str]:
        """VGG-19, by the option that says where it is."""
        return {
            "vgg_weights" if name.startswith("perceptual") else name: held for name, held in super().frozen().items()
        }

    def expects(self) -> list[Expected]:
        """The size of pictures."""
        height, width = self._size
        return [picture_size((height, width), f"stage.network.height and width are {height} and {width}")]

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Raises ConfigError where the clips show no head, or no hand that is to be drawn."""
        check_seen(statistics, "hands" in self.measured)

    def figures(self) -> tuple[str, ...]:
        """The losses that count; PSNR of all, of mouth and hands, and that of the source frame held."""
        places = ("", *(f"_{part}" for part in self.measured))
        held = tuple(f"val/psnr{whose}{place}" for place in places for whose in ("", "_source"))
        return (*both("loss", *self.weights), "train/discriminator", *held)

    def training_step(self, batch: Any, batch_index: int) -> None:
        """One step of the network and one of the discriminator."""
        draw = self.generator(batch)
        given = self._pair(batch, draw)
        pictures = self._pictures(given)
        with self.only("network"):
            output = self._rendered(given, pictures, self._turns(draw))
            losses = self._losses(output, given, pictures)
            self.update("network", losses["loss"])
        with self.only("discriminator"):
            fake, truth = output["frames"].detach().flatten(0, 1), given.driving.flatten(0, 1)
            real, generated = self.discriminator(truth).logits, self.discriminator(fake).logits
            judged = discriminator_loss(self.adversarial, real, generated)
            self.update("discriminator", judged)
        self.log_each("train", losses | {"discriminator": judged}, len(batch))

    def validation_step(self, batch: Any, batch_index: int) -> Tensor:
        """The network's loss on held-out windows, and PSNR beside that of the source frame held."""
        draw = self.generator(batch)
        given = self._pair(batch, draw)
        pictures = self._pictures(given)
        output = self._rendered(given, pictures, self._turns(draw))
        losses = self._losses(output, given, pictures)
        self.log_each("val", losses, len(batch))
        truth, frames = given.driving.flatten(0, 1), output["frames"].flatten(0, 1)
        held = given.image[:, None].expand_as(given.driving).flatten(0, 1)
        places = {"": None} | {
            f"_{part}": boxes(given.driving_pose.flatten(0, 1), part, *self._size) for part in self.measured
        }
        for place, mask in places.items():
            for whose, shown in (("", frames), ("_source", held)):
                value, count = psnr(shown, truth, mask)
                self.log(f"val/psnr{whose}{place}", value, batch_size=_whole(count))
        return losses["loss"]

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """The first frame, the truth and what is rebuilt from the first: `beside` (B, T, 3, H, 3 W) in [0, 1]."""
        given = self._prepared(whole_window(batch, self._frame_size(batch), self._floats))
        source = self.network.encode_source(given.image, given.image_head)
        output = []
        for first in range(0, given.driving.shape[1], 8):  # as many as fit beside a training step
            frames, head, pose = (
                part[:, first : first + 8] for part in (given.driving, given.driving_head, given.driving_pose)
            )
            some = given._replace(driving=frames, driving_head=head, driving_pose=pose)
            motion = self.network.encode_motion(frames.flatten(0, 1), head.flatten(0, 1))
            moved = type(motion)(*(part.unflatten(0, frames.shape[:2]) for part in motion))
            canonical = source.canonical[:, None].expand_as(moved.movement)
            driving = self.network.control(canonical, head, moved)
            output.append(self.network.render(source, driving, self._pictures(some)))
        held = given.image[:, None].expand_as(given.driving)
        return {"beside": torch.cat([held, given.driving, torch.cat(output, 1)], -1)}

    @property
    def measured(self) -> tuple[str, ...]:
        """Parts of the picture in which figures are taken."""
        return ("mouth", "hands") if self.drawn else ("mouth",)

    @property
    def _size(self) -> tuple[int, int]:
        return self.network.height, self.network.width

    @property
    def _floats(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def _frame_size(self, batch: Any) -> tuple[int, int]:
        """Height and width that frames of a batch have to have."""
        return self._size

    def _prepared(self, given: Pair) -> Pair:
        """Frames as the network takes them."""
        return given

    def _pair(self, batch: Any, draw: SampleGenerator) -> Pair:
        """A source frame and driving frames of each window: any in training, evenly spread in validation."""
        if self.training:
            where = draw.uniform(self.frames + 1)
        else:
            where = torch.linspace(0, 1, self.frames + 1, device=batch.pose.device).expand(len(batch), -1)
        return self._prepared(pair(batch, self._frame_size(batch), self._floats, where))

    def _pictures(self, given: Pair) -> Tensor | None:
        """What is brought into the generator: pictures of the hands (B, N, 3, H, W), where they are drawn."""
        if not self.drawn:
            return None
        hands = hand_images(hands_of(given.driving_pose).flatten(0, 1), *self._size)
        return hands.unflatten(0, given.driving.shape[:2])

    def _region(self, given: Pair, pictures: Tensor | None) -> Tensor:
        """Where the loss of a region counts, (R, 1, H, W): hands and two pixels about them."""
        drawn = (pictures.flatten(0, 1)[:, :1] > 0).to(given.driving)  # type: ignore[union-attr]
        return max_pool2d(drawn, 5, stride=1, padding=2)

    def _turns(self, draw: SampleGenerator) -> Tensor | None:
        """Affine maps (B, N, 2, 3) by which driving frames are turned, scaled and moved (L_E)."""
        if "equivariance" not in self.weights:
            return None
        numbers = 2 * draw.uniform(self.frames, 4) - 1
        return turns(self.turn * numbers, self.network.width / self.network.height)

    def _rendered(self, given: Pair, pictures: Tensor | None, turned: Tensor | None) -> dict[str, Tensor]:
        return self.network(given.image, given.image_head, given.driving, given.driving_head, pictures, turned)

    def _losses(self, output: dict[str, Tensor], given: Pair, pictures: Tensor | None) -> dict[str, Tensor]:
        """The network's loss and its parts (Eq. 6)."""
        frames, truth = output["frames"].flatten(0, 1), given.driving.flatten(0, 1)
        weight = given.shown.flatten()[:, None, None, None].to(truth).expand(-1, 1, *truth.shape[-2:])
        where = weight
        if self.motion_weight:
            still = given.image[:, None].expand_as(given.driving).flatten(0, 1)
            where = weight * movement_weight(truth, still, self.motion_weight)
        known = self.network.head_points
        body = torch.cat([output["source_points"][:, None], output["points"]], 1)[:, :, known:]
        losses: dict[str, Tensor] = {}
        for name in self.weights:
            match name:
                case "equivariance":
                    losses[name] = equivariance_loss(output["detected"], output["returned"])
                case "keypoint_prior":
                    losses[name] = keypoint_prior_loss(body, self.distance)
                case "deformation_prior":
                    losses[name] = deformation_prior_loss(output["movement"], output["offset"])
                case "perceptual":
                    losses[name] = self.perceptual(frames, truth, where)
                case "adversarial":
                    losses[name] = generator_loss(self.adversarial, self.discriminator(frames).logits)
                case "reconstruction":
                    losses[name] = pixel_error(frames, truth, where)
                case "landmark":
                    poses = torch.cat([given.image_pose[:, None], given.driving_pose], 1)
                    wanted, seen = limbs(poses, self.network.body_points)
                    losses[name] = landmark_loss(body[:, :, : wanted.shape[2], :2], wanted.to(body), seen)
                case self.region:
                    losses[name] = self.perceptual(frames, truth, weight * self._region(given, pictures))
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **losses}


def _whole(count: Tensor) -> int:
    """A number of frames; 1 where there is none to be counted, on the meta device."""
    return 1 if count.device.type == "meta" else int(count)
