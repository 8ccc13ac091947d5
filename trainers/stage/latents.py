"""Latents of a batch for a stage: cached in shards, or encoded of its frames, by one frozen autoencoder."""

from typing import Any

import torch
from torch import Tensor

from datamodules.keys import LATENTS
from models.losses.gaussian import full_precision
from models.video.latents import decode, downscaling, encode, sampled
from pretrained.autoencoders import load_autoencoder
from pretrained.frozen import Frozen
from pretrained.hashes import short
from settings import ConfigError
from trainers.stage.agreement import Expected, made_by


class Latents(Frozen[Any]):
    """The autoencoder of a stage that works on latents, and the latents themselves.

    The stage names "latents.npz" in `needs`, puts `expects` into its own, and asks `of` for every batch; data.latents
    says whether they were cached by `preprocessing.features writer=latents` or are encoded of the batch's frames. For
    the same random numbers both give the same latents, but for the half precision in which they are stored.

    Args:
        option: of the stage that says where the autoencoder is, such as "stage.autoencoder", for messages.
        where: a run of video.autoencoder, a folder that diffusers saved it in, a pipeline's with `vae/`, or a hub name.

    Attributes:
        scale: latents are multiplied by it: the autoencoder's `scaling_factor`.
        factor: f, pixels of a side that one latent stands for.
        channels: C.

    Raises:
        ConfigError: none there, or another network.
    """

    def __init__(self, option: str, where: str):
        super().__init__(*load_autoencoder(option, where))
        self.option, self.where = option, where
        self.scale = float(self.network.config.scaling_factor)
        self.factor, self.channels = downscaling(self.network), int(self.network.config.latent_channels)

    def of(self, batch: Any, generator: Any) -> Tensor:
        """Latents (B, T, C, h, w) float32 of a batch's frames, drawn from their posterior and scaled.

        Args:
            batch: with `arrays["latents"]`, or with `video`.
            generator: the stage's, of this batch (`Stage.generator`): (B, T, C, h, w) normal numbers are taken.

        Raises:
            ConfigError: cached latents of another autoencoder.
        """
        mean, log_variance = self.moments(batch)
        return sampled(mean, log_variance, generator.normal(*mean.shape[1:])) * self.scale

    def mean(self, batch: Any) -> Tensor:
        """The most likely latents (B, T, C, h, w) float32, scaled: nothing is drawn. Raises ConfigError like `of`."""
        return self.moments(batch)[0].float() * self.scale

    def moments(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of a batch's frames, not scaled. Raises ConfigError like `of`."""
        cached = batch.arrays.get("latents")
        if cached is None:
            with full_precision(batch.video.device):
                return encode(self.network, batch.video)
        self._check(cached["network"])
        return cached["mean"], cached["log_variance"]

    def of_pictures(self, pictures: Tensor) -> Tensor:
        """The most likely latents (..., C, h, w), scaled, of pictures (..., 3, H, W) uint8: a reference's."""
        with full_precision(pictures.device):
            return encode(self.network, pictures)[0].float() * self.scale

    def decode(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Frames (..., 3, H, W) in [0, 1] of scaled latents (..., C, h, w); `size` cuts off what padding added."""
        with full_precision(latents.device):
            return decode(self.network, latents.float() / self.scale, size)

    @torch.no_grad()
    def rebuild(self, frames: Tensor, batch: int) -> Tensor:
        """What the autoencoder alone makes of frames (T, 3, H, W) uint8, in [0, 1]: the most that latents can show.

        Args:
            frames: true ones.
            batch: frames at once.
        """
        parts = [self.of_pictures(part.to(self.network.device)) for part in frames.split(batch)]
        return torch.cat([self.decode(part, (frames.shape[2], frames.shape[3])).float().cpu() for part in parts])

    def size(self, batch: Any) -> tuple[int, int]:
        """Height and width of the frames that a batch's latents stand for; latents cover that, rounded up to f."""
        if "latents" not in batch.arrays:
            return tuple(batch.video.shape[-2:])
        cached = batch.arrays["latents"]
        if "frame" not in cached or cached["frame"].is_meta:
            rows, columns = cached["mean"].shape[-2:]
            return rows * self.factor, columns * self.factor
        height, width = cached["frame"][0, :2].tolist()
        return height, width

    def expects(self) -> list[Expected]:
        """Cached latents have to come from this autoencoder."""
        return [made_by(LATENTS, self.sha256, self.option)] if self.sha256 else []

    def _check(self, network: Tensor) -> None:
        if network.is_meta or not self.sha256:
            return
        own = torch.tensor(list(bytes.fromhex(self.sha256)), dtype=torch.uint8, device=network.device)
        for row in network[(network != own).any(1)][:1].cpu():
            raise ConfigError(
                f"{self.option}={self.where} is a network with the hash {short(self.sha256)}, but latents.npz of "
                f"data.shards was made by {short(bytes(row.tolist()).hex())}: make it again with "
                "`python -m preprocessing.features writer=latents`, name the network that made it, or set "
                "data.latents=encode"
            )


def latents_of(network: Any, where: str | None) -> Latents | None:
    """The autoencoder of a network that is to learn its latents, which the network is told; a plan may do without.

    Args:
        network: with `latent_channels`, `downscaling` and `use_autoencoder`.
        where: `stage.autoencoder`.

    Raises:
        ConfigError: none is given, or one of other sizes than the network's.
    """
    planned = torch.get_default_device().type == "meta"
    if where is None:
        if planned:
            return None
        raise ConfigError(
            "stage.autoencoder is needed: the run folder of a video.autoencoder, or the path or hub name of a "
            "published AutoencoderKL; latents.npz has to come from the same"
        )
    found = Latents("stage.autoencoder", where)
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
