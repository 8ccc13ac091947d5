"""The classifiers of parts consistency enhancement (PCE): do a region and its speech go together? (PAHA, 4.1.3)"""

import math
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.rotary import rotary_freqs, rotate
from models.paha.univdm import UniVDM, UniVDMInputs
from models.saved import SavedNetwork
from models.video.audio_projection import AudioProjection
from models.video.network import LatentNetwork
from settings.ranges import Count, Fraction

Region = Literal["face", "nonface"]
_ENCODER: Final = ("conv_in", "time_embedding", "down_blocks", "mid_block")
"""What of UniVDM's network the video encoder is."""


class PCEClassifier(
    LatentNetwork,
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "paha", "paha.pce_face", "paha.pce_nonface"],
    license="other",
):
    """Noisy latents and clean speech to how well they go together (PH-10, Eq. 4 to 6).

    The encoder of a UniVDM sees the frames with their reference; its hidden states are turned by their place (3D rotary
    positions, ours: before the pooling that takes rows and columns away), each frame is pooled to its largest values,
    and [CLS], frames of video and frames of speech pass one transformer: t_v + t_a + 1 places in place of h w t_v +
    t_a. The encoder hears nothing itself (ours): picture and speech meet in the transformer alone, whatever their
    lengths.

    Args:
        univdm: options of the UniVDM whose encoder it is.
        region: what it judges: the face, or all but it (PH-12).
        width: channels of the transformer.
        depth: its layers.
        heads: of its attention.
        dropout: in its layers.
    """

    def __init__(
        self,
        *,
        univdm: dict[str, Any],
        region: Region = "face",
        width: Count = 512,
        depth: Count = 4,
        heads: Count = 8,
        dropout: Fraction = 0.1,
    ):
        super().__init__()
        if width % heads or width % 2:
            raise ValueError(f"width={width} has to be even and divided by heads={heads}")
        whole = UniVDM(**univdm)
        self.region = region
        self.latent_channels, self.latent_scale = whole.latent_channels, whole.latent_scale
        self.downscaling, self.fps, self.autoencoder = whole.downscaling, whole.fps, whole.autoencoder
        self.motion_frames, self.window, self.audio_context = whole.motion_frames, whole.window, whole.audio_context
        self.image_channels, self.noise, self.predict = whole.image_channels, whole.noise, whole.predict
        self.encoder: Any = whole.denoiser
        # The way up has no part in it.
        self.encoder.up_blocks = nn.ModuleList()
        self.encoder.conv_norm_out = self.encoder.conv_out = nn.Identity()
        if whole.image_channels:
            self.image_projection: Any = whole.image_projection
        else:
            self.image_token = whole.image_token
        deepest = self.encoder.mid_block.resnets[-1].out_channels
        layers, channels = whole.audio_projection.shape[1:]
        self.video = nn.Sequential(nn.LayerNorm(deepest), nn.Linear(deepest, width))
        self.audio_projection = AudioProjection(layers, channels, whole.audio_context, 1, width, width)
        self.modality = nn.Parameter(0.02 * torch.randn(2, width))
        self.cls = nn.Parameter(0.02 * torch.randn(width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    @torch.no_grad()
    def take_encoder(self, univdm: UniVDM) -> None:
        """Copy the encoder's weights, and those of the picture's tokens, from a trained UniVDM (PH-10)."""
        for name in _ENCODER:
            getattr(self.encoder, name).load_state_dict(getattr(univdm.denoiser, name).state_dict())
        if self.image_channels:
            self.image_projection.load_state_dict(univdm.image_projection.state_dict())
        else:
            self.image_token.copy_(univdm.image_token)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of all layers of the encoder in the backward pass, to save memory."""
        self.encoder.recompute = True

    def forward(
        self, noisy: Tensor, levels: Tensor, inputs: UniVDMInputs, audio_frames: Tensor | None = None
    ) -> Tensor:
        """Scores (B,), logits: above zero where region and speech go together.

        Args:
            noisy: (B, C, T, h, w) noisy latents, of which what it does not judge is masked.
            levels: (B,) diffusion steps.
            inputs: the reference, and speech (B, S, 2 m + 1, L, A) of as many frames as there are.
            audio_frames: (B,) how many of the S count in each sample; all where None.

        Raises:
            ValueError: no speech.
        """
        if inputs.audio is None:
            raise ValueError("a classifier of picture and speech was given no speech")
        video = self._video(noisy, levels, inputs)
        audio = self.audio_projection(inputs.audio)[:, :, 0]
        tokens = [self.cls.expand(len(noisy), 1, -1)]
        for modality, each in zip(self.modality, (video, audio), strict=True):
            at = torch.arange(each.shape[1], device=each.device)
            tokens.append(each + modality + _sinusoids(at, each.shape[-1]).to(each.dtype))
        sequence = torch.cat(tokens, 1)
        left_out = None
        if audio_frames is not None:
            at = torch.arange(sequence.shape[1], device=sequence.device)
            left_out = at >= 1 + video.shape[1] + audio_frames[:, None]
        return self.head(self.transformer(sequence, src_key_padding_mask=left_out)[:, 0])[:, 0]

    def loss(self, noisy: Tensor, levels: Tensor, inputs: UniVDMInputs) -> Tensor:
        """(B,): less where they go together better, what guidance follows downwards (PH-15)."""
        return F.softplus(-self(noisy, levels, inputs))

    def _video(self, noisy: Tensor, levels: Tensor, inputs: UniVDMInputs) -> Tensor:
        """(B, T, width): frames in windows of as many as the encoder knows, each with its reference."""
        image = self.image_tokens(inputs)
        pooled = []
        for begin in range(0, noisy.shape[2], self.motion_frames):
            some = noisy[:, :, begin : begin + self.motion_frames]
            each = levels[:, None].expand(-1, some.shape[2])
            sample = torch.cat([inputs.reference[:, :, None], some], 2)
            steps = torch.cat([torch.zeros_like(each[:, :1]), each], 1)
            hidden = self.encoder.encode(sample, steps, image, None, None)
            pooled.append(_turned(hidden, begin).amax((-2, -1)))
        return self.video(torch.cat(pooled, 1))


def _turned(hidden: Tensor, begin: int) -> Tensor:
    """Hidden states (B, T, c, h, w) turned by their place in time (from `begin` on), rows and columns."""
    frames, channels, height, width = hidden.shape[1:]
    part = channels // 3 // 2 * 2
    sizes = (channels - 2 * part, part, part)
    positions = [torch.arange(n, device=hidden.device) for n in (frames, height, width)]
    positions[0] = positions[0] + begin
    freqs = [rotary_freqs(at, size, hidden.device) for at, size in zip(positions, sizes, strict=True)]
    shape = (frames, height, width, -1)
    time, rows, columns = freqs[0][:, None, None], freqs[1][None, :, None], freqs[2][None, None]
    turn = torch.cat([each.expand(shape) for each in (time, rows, columns)], -1).flatten(0, 2)
    flat = hidden.permute(0, 1, 3, 4, 2).flatten(1, 3)[:, :, None].contiguous()
    turned = rotate(flat, turn)[:, :, 0].unflatten(1, (frames, height, width))
    return turned.permute(0, 1, 4, 2, 3)


def _sinusoids(at: Tensor, width: int) -> Tensor:
    """(T, width) of positions (T,)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(0, width, 2, device=at.device) / width)
    angles = at[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
