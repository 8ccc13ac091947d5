"""What ChatAnyone's renderer and its refinement of faces train alike: frames of a clip rebuilt from another one."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from models.chatanyone.renderer import Renderer
from models.losses.pixels import pixel_error
from trainers.chatanyone.heads import TemplateHeads, heads, remember
from trainers.chatanyone.renderer_batch import Pair, boxes, check_seen, pair, psnr, whole_window
from trainers.stage.adversarial import AdversarialStage
from trainers.stage.base import SampleGenerator, both
from trainers.stage.pictures import moved

Terms = dict[str, Callable[[], Tensor]]
"""Losses by name, each a scalar before its weight."""


class RenderingStage(AdversarialStage):
    """Trains a network to rebuild driving frames from a source frame of the same window, moved by key points.

    A subclass makes the networks and sets the attributes below. It says which frames the network takes (`_frame_size`,
    `_prepared`), what is brought into them (`_pictures`), where the perceptual loss of a region counts (`_region`), and
    may have losses of key points (`_point_losses`).
    """

    needs: ClassVar[tuple[str, ...]] = ("video.mp4", "pose.npz")
    full_precision = "the coordinates of warps have 8 bits in bf16, half a pixel of 128: compare a short run in fp32"
    region: ClassVar[str]
    """Name of the perceptual loss of a region."""
    network: Renderer
    template: TemplateHeads | None
    """By whose key points heads are moved; by the landmarks of faces where None."""
    perceptual: torch.nn.Module
    frames: int
    """Driving frames of each window in a step."""
    motion_weight: float
    """How much more pixels count in which source and driving frame differ."""
    weights: dict[str, float]
    """Of each loss that counts, by name."""

    @property
    def measured(self) -> tuple[str, ...]:
        """Parts of the picture in which figures are taken."""
        return ("mouth",)

    def on_fit_start(self) -> None:
        """Weights to start from may be those of another template's key points."""
        remember(self.network, self.template)

    def use_statistics(self, statistics: Mapping[str, Any]) -> None:
        """Raises ConfigError where the clips show no head, or no hand that is to be drawn."""
        check_seen(statistics, "hands" in self.measured)

    def figures(self) -> tuple[str, ...]:
        """The losses that count; PSNR of all and of parts of the picture, and that of the source frame held."""
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
        judged = self.judge(given.driving.flatten(0, 1), output["frames"].flatten(0, 1))
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
        given = self._prepared(whole_window(batch, heads(batch, self.template), self._frame_size(batch), self._floats))
        source = self.network.encode_source(given.image, given.image_head)
        output = []
        for first in range(0, given.driving.shape[1], 8):  # as many as fit beside a training step
            frames, head, pose = (
                part[:, first : first + 8] for part in (given.driving, given.driving_head, given.driving_pose)
            )
            some = given._replace(driving=frames, driving_head=head, driving_pose=pose)
            motion = self.network.encode_motion(frames.flatten(0, 1), head.flatten(0, 1))
            moving = type(motion)(*(part.unflatten(0, frames.shape[:2]) for part in motion))
            canonical = source.canonical[:, None].expand_as(moving.movement)
            driving = self.network.control(canonical, head, moving)
            output.append(self.network.render(source, driving, self._pictures(some)))
        held = given.image[:, None].expand_as(given.driving)
        return {"beside": torch.cat([held, given.driving, torch.cat(output, 1)], -1)}

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
        return self._prepared(pair(batch, heads(batch, self.template), self._frame_size(batch), self._floats, where))

    def _pictures(self, given: Pair) -> Tensor | None:
        """What is brought into the generator, (B, N, ...)."""
        return None

    def _region(self, given: Pair, pictures: Tensor | None) -> Tensor:
        """Where the loss of the region counts, (R, 1, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} has a loss of a region and needs to say where it counts")

    def _turns(self, draw: SampleGenerator) -> Tensor | None:
        """Affine maps (B, N, 2, 3) by which driving frames are turned as well, where a loss compares both."""
        return None

    def _rendered(self, given: Pair, pictures: Tensor | None, turned: Tensor | None) -> dict[str, Tensor]:
        return self.network(given.image, given.image_head, given.driving, given.driving_head, pictures, turned)

    def _losses(self, output: dict[str, Tensor], given: Pair, pictures: Tensor | None) -> dict[str, Tensor]:
        """The network's loss and its parts (CA-12, Eq. 6)."""
        frames, truth = output["frames"].flatten(0, 1), given.driving.flatten(0, 1)
        # A frame without a head counts nothing.
        shown = given.shown.flatten()[:, None, None, None].to(truth).expand(-1, 1, *truth.shape[-2:])
        movement = moved(given.driving, given.image, self.motion_weight)
        weight = shown if movement is None else shown * movement
        terms: Terms = {
            "perceptual": lambda: self.perceptual(frames, truth, weight),
            "adversarial": lambda: self.fooled(frames),
            "reconstruction": lambda: pixel_error(frames, truth, weight),
            self.region: lambda: self.perceptual(frames, truth, shown * self._region(given, pictures)),
            **self._point_losses(output, given),
        }
        losses = {name: terms[name]() for name in self.weights}
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **losses}

    def _point_losses(self, output: dict[str, Tensor], given: Pair) -> Terms:
        """Losses of key points, by name; computed where they have a weight."""
        return {}


def _whole(count: Tensor) -> int:
    """A number of frames; 1 where there is none to be counted, on the meta device."""
    return 1 if count.device.type == "meta" else int(count)
