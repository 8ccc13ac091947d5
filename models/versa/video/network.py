"""VersaAnimator's video network: poses, a face and speech to frames of a picture (VA-11 .. VA-16)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.diffusion.noise.edm import EDMNoise
from models.diffusion.preconditioning import V
from models.human.expressions import EXPRESSIONS
from models.saved import SavedNetwork
from models.versa.video.conditions import NAMES, VersaConditions, VersaInputs
from models.versa.video.face_attention import face_attentions
from models.versa.video.face_tokens import FaceTokens
from models.versa.video.pose_picture import HEAD
from models.versa.video.unet import GROUPS, pose_video_unet
from models.video.audio_projection import AudioProjection
from models.video.network import LatentNetwork, check_known, check_pose_guider, check_sizes
from models.video.pose_guider import PoseGuider
from settings.ranges import Count, Fps, Fraction, NonNegative, Number, Positive, Whole

_BUCKETS: Final = 255


class VersaVideo(
    LatentNetwork,
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "versa", "versa.pose_video", "versa.audio_video"],
    license="other",
):
    """Stable Video Diffusion's UNet with poses and a face (VA-11 .. VA-14).

    It is given noisy latents beside those of the reference, the picture's token in its cross-attention, and the frame
    rate, motion bucket and noise on the reference as further times. Poses are added to what its first convolution
    gives out; behind each spatial cross-attention stands one to the tokens of the face. Any size of latents will do.

    Args:
        channels: of each level, multiples of 32; the deepest has no attention of its own.
        layers: of each level.
        head_channels: of an attention head.
        cross_channels: of the tokens that cross-attention reads.
        time_channels: that each of the further times becomes.
        norm_groups: of group norms; SVD's weights want its 32, narrow networks fewer.
        latent_channels: of latents.
        latent_scale: what the autoencoder's latents are multiplied with.
        downscaling: pixels of a side that one latent stands for.
        pose_channels: widths of the pose guider (PoseNet, VA-12), one more than it halves the picture.
        head: radius of the disc that stands for the head in pictures of poses, in shorter sides (VA-12).
        image_channels: of the image encoder's token; 0 is no image encoder, and a learned token in its place.
        face_attention: attention to the face (VA-14); false is `versa.pose_video`, and the ablation.
        identity_channels: of the face network's embedding (VA-13).
        identity_tokens: that it becomes.
        expressions: labels of expressions, in the order of their numbers.
        audio_layers: of the speech network; 1 for hand-crafted features.
        audio_channels: of each layer; 35 is hand-crafted features.
        audio_context: frames of speech on either side of a frame.
        audio_tokens: that a frame's speech becomes.
        audio_width: hidden channels of the projection to them.
        sigma_min: smallest level of noise in sampling.
        sigma_max: largest.
        sigma_mean: of the logarithm of noise levels in training.
        sigma_std: of the same.
        motion_bucket: how much moves, as SVD is told, unless told otherwise.
        noise_augmentation: noise on the reference in sampling, as SVD is told, unless told otherwise.
        sampling_steps: steps of sampling, unless told otherwise.
        guidance_first: weight of guidance by the reference in the first frame, unless told otherwise; 1 is none.
        guidance_reference: in the last frame of the first window, and from there on.
        guidance_pose: by the poses; null is as by the reference, frame by frame.
        guidance_identity: by the face's identity, likewise.
        guidance_audio: by the speech, likewise.
        guidance_expression: by the expression, likewise.
        guidance_blink: by the blink ratio, likewise.
        window: frames of a training window (VA-15).
        fps: frames a second that it was trained at.
        autoencoder: SHA-256 of the autoencoder whose latents it knows.
        face_network: SHA-256 of the face network whose embeddings it knows.

    Raises:
        ValueError: sizes that do not go together.
    """

    predict: Final = "v"

    def __init__(
        self,
        *,
        channels: tuple[Count, ...] = (320, 640, 1280, 1280),
        layers: Count = 2,
        head_channels: Count = 64,
        cross_channels: Count = 1024,
        time_channels: Count = 256,
        norm_groups: Count = GROUPS,
        latent_channels: Count = 4,
        latent_scale: Positive = 0.18215,
        downscaling: Count = 8,
        pose_channels: tuple[Count, ...] = (16, 32, 96, 256),
        head: Fraction = HEAD,
        image_channels: Whole = 1024,
        face_attention: bool = True,
        identity_channels: Count = 512,
        identity_tokens: Count = 4,
        expressions: tuple[str, ...] = EXPRESSIONS,
        audio_layers: Count = 12,
        audio_channels: Count = 768,
        audio_context: Whole = 2,
        audio_tokens: Count = 32,
        audio_width: Count = 512,
        sigma_min: Positive = 0.002,
        sigma_max: Positive = 700.0,
        sigma_mean: Number = 0.7,
        sigma_std: Positive = 1.6,
        motion_bucket: NonNegative = 127.0,
        noise_augmentation: NonNegative = 0.02,
        sampling_steps: Count = 25,
        guidance_first: NonNegative = 1.0,
        guidance_reference: NonNegative = 3.0,
        guidance_pose: NonNegative | None = None,
        guidance_identity: NonNegative | None = None,
        guidance_audio: NonNegative | None = None,
        guidance_expression: NonNegative | None = None,
        guidance_blink: NonNegative | None = None,
        window: Count = 16,
        fps: Fps = 25.0,
        autoencoder: str = "",
        face_network: str = "",
    ):
        super().__init__()
        _check(channels, head_channels, pose_channels, downscaling, expressions, motion_bucket)
        self.latent_channels, self.latent_scale, self.downscaling = latent_channels, latent_scale, downscaling
        self.head, self.window, self.fps, self.autoencoder = head, window, fps, autoencoder
        self.face_network = face_network
        self.audio_context, self.face_attention, self.expressions = audio_context, face_attention, tuple(expressions)
        self.motion_bucket, self.noise_augmentation = motion_bucket, noise_augmentation
        self.sampling_steps = sampling_steps
        self.guidance: dict[str, float | None] = {"first": guidance_first, "reference": guidance_reference}
        self.guidance |= {"pose": guidance_pose}
        if face_attention:
            self.guidance |= {"identity": guidance_identity, "audio": guidance_audio}
            self.guidance |= {"expression": guidance_expression, "blink": guidance_blink}
        self.noise = EDMNoise(sigma_min, sigma_max, sigma_mean, sigma_std)
        self.preconditioning = V()

        self.denoiser: Any = pose_video_unet(
            channels=channels,
            layers=layers,
            head_channels=head_channels,
            cross_channels=cross_channels,
            time_channels=time_channels,
            latent_channels=latent_channels,
            face=face_attention,
            norm_groups=norm_groups,
        )
        self.pose_guider = PoseGuider(pose_channels, channels[0])
        self.put_image_tokens(image_channels, cross_channels, plain=True)
        if face_attention:
            self.face_tokens = FaceTokens(
                identity_channels, identity_tokens, audio_tokens, len(expressions), cross_channels
            )
            self.audio_projection = AudioProjection(
                audio_layers, audio_channels, audio_context, audio_tokens, cross_channels, audio_width
            )

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of all layers in the backward pass, to save memory."""
        self.denoiser.recompute = True

    def use_face_network(self: Any, sha256: str) -> None:
        """Remember whose embeddings of faces it learns, by the SHA-256 of the weights."""
        self.face_network = sha256
        self._hub_mixin_config |= {"face_network": sha256}  # saved as config.json

    def expression(self, label: str) -> int:
        """Number of a label. Raises ValueError for one that it does not know; names those it does."""
        if label not in self.expressions:
            raise ValueError(f"no expression is called '{label}'; the network knows {', '.join(self.expressions)}")
        return self.expressions.index(label)

    def face_parameters(self) -> list[nn.Parameter]:
        """What `versa.audio_video` adds: tokens of the face, and attention to them."""
        if not self.face_attention:
            return []
        parts = [self.face_tokens, self.audio_projection, *face_attentions(self.denoiser)]
        return [parameter for part in parts for parameter in part.parameters()]

    def encode(self, inputs: VersaInputs, before: VersaConditions | None = None) -> VersaConditions:
        """Conditions as the denoising UNet takes them; for all steps of sampling they are made once.

        Args:
            inputs: the picture and what drives some frames.
            before: those of other frames of the same picture, of which what comes from the picture is taken.

        Raises:
            ValueError: sizes that do not go together.
        """
        of_picture = self._of_picture(inputs) if before is None else before
        tokens: dict[str, Tensor] = {}
        if self.face_attention:
            if inputs.audio is not None:
                tokens["audio"] = self.audio_projection(inputs.audio)
            if inputs.expression is not None:
                tokens["expression"] = self.face_tokens.of_expression(inputs.expression)
            if inputs.blink is not None:
                tokens["blink"] = self.face_tokens.of_blink(inputs.blink)
        pose = None if inputs.skeletons is None else self.encode_poses(inputs.skeletons, inputs.reference)
        every: Any = {"pose": pose, "audio": None, "expression": None, "blink": None, **tokens}
        return replace(of_picture, **every)

    def _of_picture(self, inputs: VersaInputs) -> VersaConditions:
        if inputs.image is not None and inputs.image.shape[1] != 1:
            raise ValueError(f"SVD reads one token of the picture, got {inputs.image.shape[1]}")
        size, device = len(inputs.reference), inputs.reference.device
        times = torch.empty(size, 3, device=device)
        times[:, 0] = self.fps - 1  # as SVD was trained
        times[:, 1] = self.motion_bucket if inputs.motion is None else inputs.motion
        times[:, 2] = 0.0 if inputs.augmentation is None else inputs.augmentation
        identity = None
        if self.face_attention and inputs.identity is not None:
            identity = self.face_tokens.of_identity(inputs.identity)
        # SVD was trained on latents of the reference that are not scaled.
        reference = inputs.reference / self.latent_scale
        return VersaConditions(reference, self.image_tokens(inputs), times, identity=identity)

    def forward(
        self,
        noisy: Tensor,
        levels: Tensor,
        conditions: VersaInputs | VersaConditions,
        left_out: Mapping[str, Tensor] = {},
    ) -> Tensor:
        """What the network predicts, by `self.preconditioning` to be read, (B, C, T, h, w).

        Args:
            noisy: (B, C, T, h, w) noisy latents, as large as their noise makes them; in float32.
            levels: (B,) sigma.
            conditions: encoded, or to be encoded here: a training step is one call of the whole network.
            left_out: (B,) bool by name (`conditions.NAMES`), true where the null stands for a condition.

        Raises:
            ValueError: an unknown condition, or conditions of other sizes or of another number of frames.
        """
        check_known(left_out, NAMES)
        if isinstance(conditions, VersaInputs):
            conditions = self.encode(conditions)
        frames = noisy.shape[2]
        _check_frames(conditions, noisy)
        reference, image, pose = conditions.reference, conditions.image, conditions.pose
        if "reference" in left_out:
            keep = ~left_out["reference"]
            reference, image = reference * keep[:, None, None, None], image * keep[:, None, None]
        if "pose" in left_out and pose is not None:
            pose = pose * ~left_out["pose"][:, None, None, None, None]
        face = self.face_tokens(conditions, frames, left_out) if self.face_attention else None
        levels = levels.float()
        inputs = self.preconditioning.inputs(noisy.float(), self.noise.scales(levels, noisy)).transpose(1, 2)
        sample = torch.cat([inputs, reference[:, None].expand(-1, frames, -1, -1, -1).to(inputs)], 2)
        sample = sample.to(self.denoiser.conv_in.weight.dtype)
        output = self.denoiser(sample, levels.log() / 4, conditions.times, image, face, pose)
        return output.transpose(1, 2)


def _check(
    channels: tuple[int, ...], head_channels: int, pose_channels: tuple[int, ...], downscaling: int,
    expressions: tuple[str, ...], motion_bucket: float,
) -> None:  # fmt: skip
    """Raises ValueError for sizes that do not go together."""
    check_sizes(channels, 1, 1, head_channels=head_channels)
    check_pose_guider(pose_channels, downscaling)
    if not expressions or len(set(expressions)) != len(expressions):
        raise ValueError(f"expressions have to be one label or more, each once, got {', '.join(expressions) or 'none'}")
    if motion_bucket > _BUCKETS:
        raise ValueError(f"motion_bucket has to be from 0 to {_BUCKETS}, as SVD was trained, got {motion_bucket}")


def _check_frames(conditions: VersaConditions, noisy: Tensor) -> None:
    """Raises ValueError unless all conditions are of the noisy frames."""
    if conditions.reference.shape[-2:] != noisy.shape[-2:]:
        there, wanted = conditions.reference.shape[-2:], noisy.shape[-2:]
        raise ValueError(
            f"the reference has {there[0]} x {there[1]} latents, the frames {wanted[0]} x {wanted[1]}: one size is "
            "needed for both"
        )
    for name in ("pose", "audio", "expression", "blink"):
        value = getattr(conditions, name)
        if value is not None and value.shape[1] != noisy.shape[2]:
            raise ValueError(f"{name} is of {value.shape[1]} frames, but {noisy.shape[2]} are to be made")
