"""What both stages of MMGT's video diffusion share: a step, a validation, a sample."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from models.diffusion.weighting import loss_weight
from models.mmgt.smga import HANDCRAFTED
from models.mmgt.video import MMGTVideo
from models.mmgt.video_loss import video_loss
from models.mmgt.video_sample import sample_window
from models.video.conditions import VideoInputs
from models.video.latents import sampled
from settings import ConfigError
from trainers.mmgt.video_batch import Frames, Picked, Reference, inputs_of, pick, picked_of, places_of, poses_of
from trainers.stage.agreement import Expected, frame_rate, window_at_least
from trainers.stage.base import LossStage, both, build_network, check_chances, check_sampling
from trainers.stage.latents import Latents

Weighting = Literal["uniform", "min_snr"]


class VideoStage(LossStage):
    """Denoises latents of frames (MMGT-20).

    A subclass says what is trained, and whether the network looks along time and hears.

    Args:
        network: options of `MMGTVideo`.
        trains: "spatial" or "audio_motion".
        autoencoder: whose latents.
        reference, frames: which frames of a window are taken (`pick`).
        dropped: probability of training without a condition, by its name.
        hold_masks: whether masks are held at the reference's frame where poses are left out.
        weighting, noise_offset, region_weight: of the loss.
        optimizer, schedule: as every stage has them.
    """

    network: MMGTVideo
    trains: ClassVar[Literal["spatial", "audio_motion"]]

    def __init__(
        self,
        network: dict[str, Any],
        *,
        autoencoder: str | None,
        reference: Reference,
        frames: Frames,
        dropped: dict[str, float],
        hold_masks: bool = False,
        weighting: Weighting,
        noise_offset: float,
        region_weight: float,
        optimizer: dict,
        schedule: dict,
    ):
        super().__init__(optimizer=optimizer, schedule=schedule)
        check_chances(**{f"drop_{name}": chance for name, chance in dropped.items()})
        self.network = build_network(MMGTVideo, network)
        check_sampling(self.network)
        self.network.train_only(self.trains)
        self.temporal = self.trains == "audio_motion"
        self.latents = self._latents(autoencoder)
        self.reference, self.frames, self.dropped, self.hold_masks = reference, frames, dropped, hold_masks
        self.weighting, self.noise_offset, self.region_weight = weighting, noise_offset, region_weight
        self.needs = self._needs()  # type: ignore[misc]

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
        margin = network.audio_context if self.temporal else 0
        picked = pick(random, batch.pose.shape[1], network.window, margin, self.frames, self.reference)
        left_out = {name: random.uniform() < chance for name, chance in self.dropped.items() if self.training}
        x0, inputs, places = self._inputs(batch, picked, random, left_out.get("pose") if self.hold_masks else None)
        levels = network.noise.draw(random)
        noise = random.normal(*x0.shape[1:])
        if self.noise_offset:  # one number for a channel of the whole video
            noise = noise + self.noise_offset * random.normal(x0.shape[1], 1, 1, 1)
        noisy, scales = network.noise.add(x0, noise, levels), network.noise.scales(levels, x0)
        output = network(noisy, levels, inputs, left_out, temporal=self.temporal)
        weight = loss_weight(self.weighting, network.noise, levels, network.predict)
        loss = video_loss(output, network.preconditioning.target(x0, noise, scales), weight, places)
        self.log(f"{part}/loss", loss, batch_size=len(batch))
        if part == "val":
            error = network.preconditioning.x0(output.float(), noisy, scales) - x0
            self.log("val/rmse", error.square().mean((1, 2, 3, 4)).sqrt().mean(), batch_size=len(batch))
        return loss

    def sample(self, batch: Any) -> dict[str, Tensor]:
        """Reference, true and generated frames beside each other, `beside` (B, T, 3, H, 3 W) in [0, 1].

        The true ones have passed the autoencoder, as the best that the network could make.
        """
        random = self.generator(batch)
        picked = pick(random, batch.pose.shape[1], self.network.window, 0, "consecutive", "first")
        x0, inputs, _ = self._inputs(batch, picked, None)
        generated = sample_window(self.network, inputs, random.normal(*x0.shape[1:]), temporal=self.temporal)
        assert self.latents is not None  # a plan does not sample
        size = self.latents.size(batch)
        reference = self.latents.decode(inputs.reference[:, None], size)
        true, generated = (self.latents.decode(each.transpose(1, 2), size) for each in (x0, generated))
        return {"beside": torch.cat([reference.expand_as(true), true, generated], -1)}

    def _inputs(
        self, batch: Any, picked: Picked, random: Any, held: Tensor | None = None
    ) -> tuple[Tensor, VideoInputs, Tensor | None]:
        """Latents (B, C, T, h, w) of the picked frames, what the network is told, what each place counts.

        Latents are drawn by `random`, or the most likely ones where None; masks are held where `held` (B,) is true.
        """
        some, factor = picked_of(batch, picked), self.network.downscaling
        if self.latents is None:
            cached = some.arrays["latents"]
            noise = random.normal(*cached["mean"].shape[1:])
            latents = sampled(cached["mean"], cached["log_variance"], noise) * self.network.latent_scale
        else:
            latents = self.latents.mean(some) if random is None else self.latents.of(some, random)
        height, width = latents.shape[-2:]
        covered = (height * factor, width * factor)
        pose = poses_of(batch, picked, covered if self.latents is None else self.latents.size(some), covered)
        inputs = inputs_of(batch, self.network, picked, latents[:, -1], pose, self.temporal, held)
        places = None
        if self.region_weight:
            places = places_of(pose[:, :-1], factor, height, width, self.region_weight)
        return latents[:, :-1].transpose(1, 2), inputs, places

    def _latents(self, where: str | None) -> Latents | None:
        """The autoencoder; the network is told whose latents it is going to know. A plan may do without."""
        planned = torch.get_default_device().type == "meta"
        if where is None:
            if planned:
                return None
            raise ConfigError(
                "stage.autoencoder is needed: the run folder of a video.autoencoder, or the path or hub name of a "
                "published AutoencoderKL; latents.npz has to come from the same"
            )
        found, network = Latents("stage.autoencoder", where), self.network
        for option, own, there in (
            ("latent_channels", network.latent_channels, found.channels),
            ("downscaling", network.downscaling, found.factor),
        ):
            if own != there and not planned:
                raise ConfigError(
                    f"stage.network.{option} is {own}, but {there} for the autoencoder of stage.autoencoder={where}: "
                    f"set stage.network.{option}={there}"
                )
        network.use_autoencoder(found.sha256, found.scale)
        return found

    def _needs(self) -> tuple[str, ...]:
        image = ("image.npz",) if self.network.image_channels else ()
        heard = ("speech.npz",) if self.temporal and self.network.use_audio else ()
        if heard:
            _, layers, channels = self.network.audio_projection.shape
            self.speech_layers = None if (layers, channels) == (1, HANDCRAFTED) else (layers, channels)
        return ("latents.npz", *image, "pose.npz", *heard, "audio.flac")
