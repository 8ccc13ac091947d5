"""MMGT's second stage: a picture, poses, masks and speech to a video, by diffusion of latents (MMGT-14 .. MMGT-20)."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Literal

from torch import Tensor, nn

from models.diffusion.noise.ddpm import DDPMNoise, Schedule
from models.diffusion.preconditioning import preconditioning
from models.saved import SavedNetwork
from models.video.audio_projection import AudioProjection
from models.video.conditions import NAMES, VideoConditions, VideoInputs
from models.video.lora import lora_parameters
from models.video.masks import Masking, mask_pyramid
from models.video.network import LatentNetwork, check_known, check_pose_guider, check_sizes
from models.video.pose_guider import PoseGuider
from models.video.unets import UNetSizes, level_sizes, motion_unet, reference_unet
from settings.ranges import Count, Fps, NonNegative, Positive, Whole


class MMGTVideo(
    LatentNetwork,
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "mmgt", "mmgt.video_pose", "mmgt.video_audio"],
    license="other",
):
    """A motion UNet that reads a reference UNet, poses, and speech through the masks of regions (MM-HAA).

    Each block is resnet, spatial attention with the reference's keys and image tokens, MM-HAA, temporal attention
    (MMGT-16, MMGT-17, MMGT-19); pose features are added after the first convolution.

    Args:
        channels: of each level of both UNets; the deepest has no attention of its own.
        layers: of each level.
        heads: of spatial attention.
        cross_channels: of the tokens that cross-attention reads.
        norm_groups: of group norms.
        latent_channels: of latents.
        latent_scale: what the autoencoder's latents are multiplied with.
        downscaling: pixels of a side that one latent stands for.
        motion_heads: of temporal attention.
        motion_layers: transformer layers of a motion module.
        motion_frames: frames that temporal attention has positions for; published motion modules have 32.
        image_channels: of the image encoder's tokens; 0 is no image encoder, and one learned token in its place.
        audio_layers: of the speech network; 1 for hand-crafted features.
        audio_channels: of each layer; 35 is hand-crafted features.
        audio_context: frames of speech on either side of a frame (MMGT-18).
        audio_tokens: that a frame's speech becomes.
        audio_width: hidden channels of the projection to them.
        use_audio: false replaces cross-attention to audio by self-attention (MMGT-24).
        masks: what the network is told of motion masks: all of them, those of the reference's frame ("still"), or
            none (MMGT-24).
        reference_pose: gives the reference UNet its picture's pose features too (MMGT-16).
        lora_rank: of LoRA's additions to the spatial attentions of both UNets, which `video_pose` then trains in place
            of their weights; 0 is none.
        pose_channels: widths of the pose guider, one more than it halves the picture.
        predict: the noise (the paper), the velocity or the clean latents (MMGT-20).
        noise_schedule: name of the noise schedule (MMGT-20).
        train_steps: diffusion steps in training.
        zero_terminal_snr: nothing of the picture is left at the last step; wants predict "v" or "x0".
        sampling_steps: diffusion steps when sampling, unless told otherwise.
        guidance_reference: weight of guidance by the reference, unless told otherwise; 1 is none.
        guidance_pose: by the poses.
        guidance_audio: by the speech.
        window: frames of a training window (MMGT-14).
        fps: frames a second that it was trained at.
        autoencoder: SHA-256 of the autoencoder whose latents it knows.
    """

    def __init__(
        self,
        *,
        channels: tuple[Count, ...] = (320, 640, 1280, 1280),
        layers: Count = 2,
        heads: Count = 8,
        cross_channels: Count = 768,
        norm_groups: Count = 32,
        latent_channels: Count = 4,
        latent_scale: Positive = 0.18215,
        downscaling: Count = 8,
        motion_heads: Count = 8,
        motion_layers: Count = 1,
        motion_frames: Count = 32,
        image_channels: Whole = 768,
        audio_layers: Count = 12,
        audio_channels: Count = 768,
        audio_context: Whole = 2,
        audio_tokens: Count = 32,
        audio_width: Count = 512,
        use_audio: bool = True,
        masks: Masking = "motion",
        reference_pose: bool = False,
        lora_rank: Whole = 0,
        pose_channels: tuple[Count, ...] = (16, 32, 96, 256),
        predict: Literal["epsilon", "v", "x0"] = "epsilon",
        noise_schedule: Schedule = "scaled_linear",
        train_steps: Count = 1000,
        zero_terminal_snr: bool = False,
        sampling_steps: Count = 20,
        guidance_reference: NonNegative = 3.5,
        guidance_pose: NonNegative = 3.5,
        guidance_audio: NonNegative = 3.5,
        window: Count = 12,
        fps: Fps = 25.0,
        autoencoder: str = "",
    ):
        super().__init__()
        _check(channels, heads, norm_groups, motion_heads, pose_channels, downscaling, window, motion_frames)
        self.latent_channels, self.latent_scale, self.downscaling = latent_channels, latent_scale, downscaling
        self.levels, self.motion_frames, self.window, self.fps = len(channels), motion_frames, window, fps
        self.audio_context, self.use_audio = audio_context, use_audio
        self.masks, self.reference_pose, self.autoencoder = masks, reference_pose, autoencoder
        self.predict, self.sampling_steps, self.lora_rank = predict, sampling_steps, lora_rank
        self.guidance = {"reference": guidance_reference, "pose": guidance_pose, "audio": guidance_audio}
        self.noise = DDPMNoise(noise_schedule, train_steps, zero_terminal_snr)
        self.preconditioning = preconditioning(predict, self.noise)

        sizes = UNetSizes(channels, layers, heads, cross_channels, norm_groups, latent_channels)
        self.denoiser: Any = motion_unet(
            sizes, motion_heads=motion_heads, motion_layers=motion_layers, frames=motion_frames, use_audio=use_audio,
            lora_rank=lora_rank,
        )  # fmt: skip
        self.reference_unet: Any = reference_unet(sizes, lora_rank)
        # A copy (MMGT-16): where both start alike, what is the same in both pictures finds itself.
        own, there = self.reference_unet.state_dict(), self.denoiser.state_dict()
        self.reference_unet.load_state_dict({name: there.get(name, tensor) for name, tensor in own.items()})
        self.pose_guider = PoseGuider(pose_channels, channels[0])
        self.put_image_tokens(image_channels, cross_channels)
        if use_audio:
            self.audio_projection = AudioProjection(
                audio_layers, audio_channels, audio_context, audio_tokens, cross_channels, audio_width
            )

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of every level of the UNets for latents of a size, which nothing has to divide."""
        return level_sizes(height, width, self.levels)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of both UNets and of the pose guider in the backward pass, to save memory."""
        self.denoiser.recompute = self.reference_unet.recompute = True

    def encode(self, inputs: VideoInputs, before: VideoConditions | None = None) -> VideoConditions:
        """Conditions as the denoising UNet takes them; for all steps of sampling they are made once.

        Args:
            inputs: the picture and what drives some frames.
            before: those of other frames of the same picture, of which what comes from the picture is taken.

        Raises:
            ValueError: sizes that do not go together.
        """
        image = self.image_tokens(inputs) if before is None else before.image
        return VideoConditions(
            reference=self.encode_reference(inputs, image) if before is None else before.reference,
            image=image,
            pose=None if inputs.skeletons is None else self.encode_poses(inputs.skeletons, inputs.reference),
            audio=self.encode_audio(inputs.audio),
            masks=self.encode_masks(inputs.masks, inputs.reference),
        )

    def encode_reference(self, inputs: VideoInputs, image: Tensor) -> Mapping[str, Tensor]:
        """The reference UNet's hidden states, (B, h w, c) by place."""
        pose = None
        if self.reference_pose and inputs.reference_skeleton is not None:
            pose = self.encode_poses(inputs.reference_skeleton[:, None], inputs.reference)[:, 0]
        return self.reference_unet(inputs.reference, image, pose)

    def encode_audio(self, audio: Tensor | None) -> Tensor | None:
        """Speech (B, T, 2 m + 1, L, A) to tokens (B, T, K, D)."""
        return None if audio is None or not self.use_audio else self.audio_projection(audio)

    def encode_masks(self, masks: Tensor | None, latents: Tensor) -> Mapping[str, Tensor]:
        """Masks (B, T, 3, H, W) at each level, for latents (B, C, h, w) (MMGT-15)."""
        if masks is None or self.masks == "none":
            return {}
        return mask_pyramid(masks, self.sizes(*latents.shape[-2:]))

    def forward(
        self,
        noisy: Tensor,
        levels: Tensor,
        conditions: VideoInputs | VideoConditions,
        left_out: Mapping[str, Tensor] = {},
        temporal: bool = True,
    ) -> Tensor:
        """What the network predicts, by `self.preconditioning` to be read, (B, C, T, h, w).

        Args:
            noisy: (B, C, T, h, w) noisy latents.
            levels: (B,) diffusion steps.
            conditions: encoded, or to be encoded here: a training step is one call of the whole network.
            left_out: (B,) bool by name ("reference", "pose", "audio"), true where the null stands for a condition.
            temporal: false passes over the motion modules (MMGT-21, `video_pose`).

        Raises:
            ValueError: more frames than temporal attention has positions for, or an unknown condition.
        """
        frames = noisy.shape[2]
        if temporal and frames > self.motion_frames:
            raise ValueError(
                f"{frames} frames at once, but temporal attention has positions for {self.motion_frames}: generate "
                "longer videos in windows"
            )
        check_known(left_out, NAMES)
        if isinstance(conditions, VideoInputs):
            conditions = self.encode(conditions)
        keep = {name: ~left for name, left in left_out.items()}
        image, pose = conditions.image, conditions.pose
        if "reference" in keep:
            image = image * keep["reference"][:, None, None]
        if "pose" in keep and pose is not None:
            pose = pose * keep["pose"][:, None, None, None, None]
        return self.denoiser(
            noisy, levels, image, reference=conditions.reference, pose=pose, audio=conditions.audio,
            masks=conditions.masks, keep={name: keep[name] for name in ("reference", "audio") if name in keep},
            temporal=temporal,
        )  # fmt: skip

    def spatial_parameters(self) -> list[nn.Parameter]:
        """What `video_pose` trains: both UNets but for audio and motion modules, pose guider, the image's tokens.

        Of UNets with LoRA its additions alone; what gets no gradient is never among them.
        """
        left_out = [*self.audio_parameters(), *self.motion_parameters(), *self.reference_unet.unread()]
        if self.lora_rank:
            added = {id(parameter) for parameter in lora_parameters(self)}
            unets = (*self.denoiser.parameters(), *self.reference_unet.parameters())
            left_out += [parameter for parameter in unets if id(parameter) not in added]
        others = {id(parameter) for parameter in left_out}
        return [parameter for parameter in self.parameters() if id(parameter) not in others]

    def audio_parameters(self) -> list[nn.Parameter]:
        """The audio projection and MM-HAA of every block."""
        projection = self.audio_projection.parameters() if self.use_audio else ()
        return [*projection, *self._of_blocks("audio_modules")]

    def motion_parameters(self) -> list[nn.Parameter]:
        """The motion modules."""
        return self._of_blocks("motion_modules")

    def train_only(self, part: Literal["spatial", "audio_motion"]) -> None:
        """Let one stage's parameters take gradients, and no others (MMGT-21)."""
        self.requires_grad_(False)
        trained: Iterable[nn.Parameter] = self.spatial_parameters()
        if part == "audio_motion":
            trained = chain(self.audio_parameters(), self.motion_parameters())
        for parameter in trained:
            parameter.requires_grad_(True)

    def _of_blocks(self, kind: str) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.denoiser.named_parameters() if f".{kind}." in name]


def _check(
    channels: tuple[int, ...], heads: int, norm_groups: int, motion_heads: int, pose_channels: tuple[int, ...],
    downscaling: int, window: int, motion_frames: int,
) -> None:  # fmt: skip
    """Raises ValueError for sizes that do not go together."""
    check_sizes(channels, window, motion_frames, heads=heads, norm_groups=norm_groups, motion_heads=motion_heads)
    check_pose_guider(pose_channels, downscaling)
