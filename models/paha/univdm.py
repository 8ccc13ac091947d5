"""UniVDM: one network over reference and video together (PAHA, 4.1.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from models.diffusion.noise.ddpm import DDPMNoise, Schedule
from models.diffusion.preconditioning import preconditioning
from models.paha.unet import unified_unet
from models.saved import SavedNetwork
from models.video.audio_projection import AudioProjection
from models.video.network import LatentNetwork, check_known, check_sizes
from models.video.unets import UNetSizes
from settings.ranges import Count, Fps, NonNegative, Positive, Whole

NAMES: Final = ("reference", "audio")
"""Conditions that can be left out, in the order in which guidance puts them on one another."""


@dataclass(frozen=True)
class UniVDMInputs:
    """What goes in beside the noisy latents. None is the null of a condition.

    Attributes:
        reference: (B, C, h, w) scaled latents of the reference picture.
        image: (B, K, A) the image encoder's tokens of it.
        audio: (B, T, 2 m + 1, L, A) speech of the frames around each frame, by layer.
        first: (B, C, h, w) scaled latents of the first frame, where it is given.
        given: (B,) bool, where it is; None is everywhere.
    """

    reference: Tensor
    image: Tensor | None = None
    audio: Tensor | None = None
    first: Tensor | None = None
    given: Tensor | None = None


class UniVDM(
    LatentNetwork,
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "paha", "paha.univdm"],
    license="other",
):
    """Pictures and speech to frames; the reference's latents stand in front of the noisy ones, along time (PH-1).

    Args:
        channels: of each level; the deepest has no attention of its own.
        layers: of each level.
        head_channels: of a head of spatial attention, the same at every level, as Stable Diffusion 2.1 has it.
        cross_channels: of the tokens that cross-attention reads.
        norm_groups: of group norms.
        latent_channels: of latents.
        latent_scale: what the autoencoder's latents are multiplied with.
        downscaling: pixels of a side that one latent stands for.
        motion_heads: of temporal attention.
        motion_layers: transformer layers of a motion module.
        motion_frames: frames that temporal attention has positions for; the reference has one of its own.
        image_channels: of the image encoder's tokens; 0 is no image encoder, and one learned token in its place.
        audio_layers: of the speech network; 1 for hand-crafted features.
        audio_channels: of each layer; 35 is hand-crafted features.
        audio_context: frames of speech on either side of a frame, m (PH-3).
        audio_tokens: that a frame's speech becomes.
        audio_width: hidden channels of the projection to them.
        predict: the noise (the paper), the velocity or the clean latents (PH-4).
        noise_schedule: name of the noise schedule.
        train_steps: diffusion steps in training (PH-4).
        zero_terminal_snr: nothing of the picture is left at the last step; wants predict "v" or "x0".
        sampling_steps: diffusion steps when sampling, unless told otherwise (PH-5).
        guidance_reference: weight of guidance by the reference, unless told otherwise; 1 is none.
        guidance_audio: by the speech.
        window: frames of a segment (PH-5).
        fps: frames a second that it was trained at.
        autoencoder: SHA-256 of the autoencoder whose latents it knows.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        *,
        channels: tuple[Count, ...] = (320, 640, 1280, 1280),
        layers: Count = 2,
        head_channels: Count = 64,
        cross_channels: Count = 1024,
        norm_groups: Count = 32,
        latent_channels: Count = 4,
        latent_scale: Positive = 0.18215,
        downscaling: Count = 8,
        motion_heads: Count = 8,
        motion_layers: Count = 1,
        motion_frames: Count = 32,
        image_channels: Whole = 1024,
        audio_layers: Count = 12,
        audio_channels: Count = 768,
        audio_context: Whole = 2,
        audio_tokens: Count = 32,
        audio_width: Count = 512,
        predict: Literal["epsilon", "v", "x0"] = "epsilon",
        noise_schedule: Schedule = "scaled_linear",
        train_steps: Count = 1000,
        zero_terminal_snr: bool = False,
        sampling_steps: Count = 30,
        guidance_reference: NonNegative = 1.0,
        guidance_audio: NonNegative = 1.0,
        window: Count = 32,
        fps: Fps = 25.0,
        autoencoder: str = "",
    ):
        super().__init__()
        check_sizes(
            channels, window, motion_frames,
            head_channels=head_channels, norm_groups=norm_groups, motion_heads=motion_heads,
        )  # fmt: skip
        self.latent_channels, self.latent_scale, self.downscaling = latent_channels, latent_scale, downscaling
        self.motion_frames, self.window, self.fps = motion_frames, window, fps
        self.audio_context, self.autoencoder = audio_context, autoencoder
        self.predict, self.sampling_steps = predict, sampling_steps
        self.guidance = {"reference": guidance_reference, "audio": guidance_audio}
        self.noise = DDPMNoise(noise_schedule, train_steps, zero_terminal_snr)
        self.preconditioning = preconditioning(predict, self.noise)
        sizes = UNetSizes(channels, layers, 0, cross_channels, norm_groups, latent_channels)
        self.denoiser: Any = unified_unet(
            sizes,
            head_channels=head_channels,
            motion_heads=motion_heads,
            motion_layers=motion_layers,
            frames=motion_frames,
        )
        self.put_image_tokens(image_channels, cross_channels)
        self.audio_projection = AudioProjection(
            audio_layers, audio_channels, audio_context, audio_tokens, cross_channels, audio_width
        )

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of all layers in the backward pass, to save memory."""
        self.denoiser.recompute = True

    def forward(
        self, noisy: Tensor, levels: Tensor, inputs: UniVDMInputs, left_out: Mapping[str, Tensor] = {}
    ) -> Tensor:
        """What the network predicts, by `self.preconditioning` to be read, (B, C, T, h, w).

        Reference and given first frames go in clean, at level 0; what comes out for a given first frame means nothing
        (PH-1, PH-2).

        Args:
            noisy: (B, C, T, h, w) noisy latents.
            levels: (B,) diffusion steps.
            inputs: the picture, its speech, a first frame.
            left_out: (B,) bool by name ("reference", "audio"), true where the null stands for a condition.

        Raises:
            ValueError: more frames than there are positions for, or an unknown condition.
        """
        frames = noisy.shape[2]
        if frames > self.motion_frames:
            raise ValueError(
                f"{frames} frames at once, but temporal attention has positions for {self.motion_frames}: generate "
                "longer videos in segments"
            )
        check_known(left_out, NAMES)
        reference, image = inputs.reference, self.image_tokens(inputs)
        if "reference" in left_out:
            keep = ~left_out["reference"]
            reference, image = reference * keep[:, None, None, None], image * keep[:, None, None]
        each = levels[:, None].expand(-1, frames)
        if inputs.first is not None:
            given = inputs.given
            if given is None:
                given = torch.ones(len(noisy), dtype=torch.bool, device=noisy.device)
            first = torch.where(given[:, None, None, None], inputs.first, noisy[:, :, 0])
            noisy = torch.cat([first[:, :, None], noisy[:, :, 1:]], 2)
            each = torch.cat([torch.where(given, 0, each[:, 0])[:, None], each[:, 1:]], 1)
        audio = None if inputs.audio is None else self.audio_projection(inputs.audio)
        return self.denoiser(
            torch.cat([reference[:, :, None], noisy], 2),
            torch.cat([torch.zeros_like(each[:, :1]), each], 1),
            image,
            audio,
            None if "audio" not in left_out else ~left_out["audio"],
        )
