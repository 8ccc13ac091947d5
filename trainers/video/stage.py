"""What stages that denoise latents of frames share: a step, a validation, a sample, the autoencoder."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from models.diffusion.weighting import loss_weight
from models.video.audio_projection import HANDCRAFTED
from models.video.latents import sampled
from models.video.loss import latent_loss
from trainers.stage.agreement import Expected, frame_rate, window_at_least
from trainers.stage.base import LossStage, both, check_chances, check_sampling
from trainers.stage.latents import latents_of
from trainers.video.batch import Frames, Picked, Reference, pick, picked_of, poses_of

Weighting = Literal["uniform", "min_snr"]


class Told(NamedTuple):
    """What a step knows of its frames.

    Attributes:
        inputs: what the network is told.
        places: (B, 1, T, h, w) what each place counts; None where all count the same.
        counted: (B, T) bool, false for frames outside of the loss; None where all are in it.
        areas: (B, 1, T, h, w) bool by name, in which a validation tells errors apart.
    """

    inputs: Any
    places: Tensor | None = None
    counted: Tensor | None = None
    areas: Mapping[str, Tensor] = {}


class LatentStage(LossStage):
    """Denoises latents of frames.

    A subclass says what the network is told (`tell`), asks it (`predict`) and samples (`generate`).

    Args:
        network: with `noise`, `preconditioning`, `predict`, `window`, `fps`, `audio_projection`, `use_autoencoder`.
        autoencoder: whose latents.
        reference, frames: which frames of a window are taken (`pick`).
        dropped: probability of training without a condition, by its name.
        weighting, noise_offset: of the loss.
        optimizer, schedule: as every stage has them.
    """

    network: Any
    hears: bool = True
    relative: ClassVar[bool] = True
    """Whether places count against the others of their sample (`latent_loss`)."""

    def __init__(
        self,
        network: Any,
        *,
        autoencoder: str | None,
        reference: Reference,
        frames: Frames,
        dropped: dict[str, float],
        weighting: Weighting,
        noise_offset: float,
        optimizer: dict,
        schedule: dict,
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(**{f"drop_{name}": chance for name, chance in dropped.items()})
        self.network = network
        check_sampling(network)
        self.latents = latents_of(network, autoencoder)
        self.reference, self.frames, self.dropped = reference, frames, dropped
        self.weighting, self.noise_offset = weighting, noise_offset
        self.needs = self._needs()  # type: ignore[misc]

    @abstractmethod
    def tell(self, batch: Any, picked: Picked, latents: Tensor, random: Any, left_out: dict[str, Tensor]) -> Told:
        """What the network is told of the picked frames, whose scaled latents are (B, T + 1, C, h, w).

        Args:
            batch: windows.
            picked: which of their frames; the reference's is the last of the latents.
            latents: of the picked frames.
            random: the step's random numbers; None where nothing is drawn.
            left_out: (B,) bool by condition.
        """

    @abstractmethod
    def predict(self, noisy: Tensor, levels: Tensor, inputs: Any, left_out: dict[str, Tensor]) -> Tensor:
        """The network's output (B, C, T, h, w)."""

    @abstractmethod
    def generate(self, inputs: Any, noise: Tensor) -> Tensor:
        """Scaled latents (B, C, T, h, w) from noise of their shape."""

    def frozen(self) -> dict[str, str]:
        """The autoencoder, by the option that says where it is."""
        return {} if self.latents is None else {"autoencoder": self.latents.sha256}

    def expects(self) -> list[Expected]:
        """Frame rate, windows that are long enough, and latents of this autoencoder."""
        latents = [] if self.latents is None else self.latents.expects()
        return [frame_rate(self.network.fps), window_at_least(self.network.window), *latents]

    def figures(self) -> tuple[str, ...]:
        """The loss, and in validation the error of the clean latents."""
        return (*both("loss"), "val/rmse")

    def step(self, batch: Any, part: str) -> Tensor:
        """The loss of one batch; logs it, and in validation `rmse`, that of clean latents in units of their spread.

        Validation is told all conditions, and draws the same frames, noise and noise levels every time.
        """
        random, network = self.generator(batch), self.network
        margin = network.audio_context if self.hears else 0
        picked = pick(random, batch.pose.shape[1], network.window, margin, self.frames, self.reference)
        left_out = {name: random.uniform() < chance for name, chance in self.dropped.items() if self.training}
        latents = self._of(batch, picked, random)
        told = self.tell(batch, picked, latents, random, left_out)
        x0 = latents[:, :-1].transpose(1, 2)
        levels = network.noise.draw(random)
        noise = random.normal(*x0.shape[1:])
        if self.noise_offset:  # one number for a channel of the whole video
            noise = noise + self.noise_offset * random.normal(x0.shape[1], 1, 1, 1)
        noisy, scales = network.noise.add(x0, noise, levels), network.noise.scales(levels, x0)
        output = self.predict(noisy, levels, told.inputs, left_out)
        loss = latent_loss(
            output,
            network.preconditioning.target(x0, noise, scales),
            loss_weight(self.weighting, network.noise, levels, network.predict),
            told.places,
            relative=self.relative,
            counted=told.counted,
        )
        self.log(f"{part}/loss", loss, batch_size=len(batch))
        if part == "val":
            error = network.preconditioning.x0(output.float(), noisy, scales) - x0
            self.log("val/rmse", error.square().mean((1, 2, 3, 4)).sqrt().mean(), batch_size=len(batch))
            for name, area in told.areas.items():
                inside = (error.square().mean(1, keepdim=True) * area).sum((1, 2, 3, 4))
                there = area.sum((1, 2, 3, 4))
                each = (inside / there.clamp(min=1)).sqrt()
                # Of the samples that have such an area.
                self.log(f"val/rmse_{name}", each.sum() / (there > 0).sum().clamp(min=1), batch_size=len(batch))
        return loss

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Reference, true and generated frames beside each other, `beside` (B, T, 3, H, 3 W) in [0, 1].

        The true ones have passed the autoencoder, as the best that the network could make.
        """
        random = self.generator(batch)
        picked = pick(random, batch.pose.shape[1], self.network.window, 0, "consecutive", "first")
        latents = self._of(batch, picked, None)
        x0 = latents[:, :-1].transpose(1, 2)
        told = self.tell(batch, picked, latents, None, {})
        generated = self.generate(told.inputs, random.normal(*x0.shape[1:]))
        assert self.latents is not None  # a plan does not sample
        size = self.latents.size(batch)
        reference = self.latents.decode(latents[:, -1:], size)
        true, generated = (self.latents.decode(each.transpose(1, 2), size) for each in (x0, generated))
        return {"beside": torch.cat([reference.expand_as(true), true, generated], -1)}

    def poses(self, batch: Any, picked: Picked, latents: Tensor) -> Tensor:
        """Poses (B, T + 1, 134, 3) of the picked frames as fractions of what their latents cover."""
        covered = tuple(self.network.downscaling * side for side in latents.shape[-2:])
        size = covered if self.latents is None else self.latents.size(picked_of(batch, picked))
        return poses_of(batch, picked, size, (covered[0], covered[1]))

    def _of(self, batch: Any, picked: Picked, random: Any) -> Tensor:
        """Scaled latents (B, T + 1, C, h, w) of the picked frames, drawn by `random`, the most likely where None."""
        some = picked_of(batch, picked)
        if self.latents is None:
            cached = some.arrays["latents"]
            noise = random.normal(*cached["mean"].shape[1:])
            return sampled(cached["mean"], cached["log_variance"], noise) * self.network.latent_scale
        return self.latents.mean(some) if random is None else self.latents.of(some, random)

    def _needs(self) -> tuple[str, ...]:
        image = ("image.npz",) if self.network.image_channels else ()
        heard = ("speech.npz",) if self.hears else ()
        if heard:
            _, layers, channels = self.network.audio_projection.shape
            self.speech_layers = None if (layers, channels) == (1, HANDCRAFTED) else (layers, channels)
        return ("latents.npz", *image, "pose.npz", *heard, "audio.flac")
