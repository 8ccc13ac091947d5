"""The classifiers of parts consistency enhancement (PCE): do a region and its speech go together? (PAHA, 4.1.3)"""

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.rotary import rotary_freqs, rotate
from models.paha.regions import Region
from models.paha.univdm import UniVDM, UniVDMInputs
from models.saved import SavedNetwork
from models.video.audio_projection import AudioProjection
from models.video.network import LatentNetwork
from settings.ranges import Count, Fraction

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
        # The way up has no part in it, nor has what hears: parameters without a gradient would hold up ranks.
        self.encoder.up_blocks = nn.ModuleList()
        for block in (*self.encoder.down_blocks, self.encoder.mid_block):
            if hasattr(block, "audio_modules"):
                block.audio_modules = nn.ModuleList()
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
            weights = getattr(univdm.denoiser, name).state_dict()
            heard = [key for key in weights if "audio_modules." in key]
            getattr(self.encoder, name).load_state_dict({k: v for k, v in weights.items() if k not in heard})
        if self.image_channels:
            self.image_projection.load_state_dict(univdm.image_projection.state_dict())
        else:
            self.image_token.copy_(univdm.image_token)

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of all layers of the encoder in the backward pass, to save memory."""
        self.encoder.recompute = True

    def forward(
        self,
        noisy: Tensor,
        levels: Tensor,
        inputs: UniVDMInputs,
        video_frames: Tensor | None = None,
        audio_frames: Tensor | None = None,
    ) -> Tensor:
        """Scores (K B,), logits: above zero where region and speech go together.

        Args:
            noisy: (B, C, T, h, w) noisy latents, of which what it does not judge is masked.
            levels: (B,) diffusion steps.
            inputs: the reference, and speech (K B, S, 2 m + 1, L, A) of as many frames as there are: each video is
                judged with K speeches, B of them one after the other.
            video_frames: (B,) how many of the T count in each sample; all where None.
            audio_frames: (K B,) how many of the S.

        Raises:
            ValueError: no speech.
        """
        if inputs.audio is None:
            raise ValueError("a classifier of picture and speech was given no speech")
        video, audio = self._video(noisy, levels, inputs, video_frames), self.audio_projection(inputs.audio)[:, :, 0]
        times = len(audio) // len(video)
        video = video.repeat(times, 1, 1)
        counted = None if video_frames is None else video_frames.repeat(times)
        tokens, left_out = [self.cls.expand(len(video), 1, -1)], [video.new_zeros(len(video), 1, dtype=torch.bool)]
        for modality, each, count in zip(self.modality, (video, audio), (counted, audio_frames), strict=True):
            at = torch.arange(each.shape[1], device=each.device)
            tokens.append(each + modality + _sinusoids(at, each.shape[-1]).to(each.dtype))
            behind = at[None] >= (each.shape[1] if count is None else count[:, None])
            left_out.append(behind.expand(len(video), -1))
        masked = None if video_frames is None and audio_frames is None else torch.cat(left_out, 1)
        return self.head(self.transformer(torch.cat(tokens, 1), src_key_padding_mask=masked)[:, 0])[:, 0]

    def loss(self, noisy: Tensor, levels: Tensor, inputs: UniVDMInputs) -> Tensor:
        """(B,): less where they go together better, what guidance follows downwards (PH-15)."""
        return F.softplus(-self(noisy, levels, inputs))

    def _video(self, noisy: Tensor, levels: Tensor, inputs: UniVDMInputs, video_frames: Tensor | None = None) -> Tensor:
        """(B, T, width) of noisy latents (B, C, T, h, w): each frame pooled; zeros where frames do not count.

        Frames go through the encoder in windows of one length, which is no more than it knows, all in one pass, each
        with its reference; the last of a clip may begin before the one before it ends.
        """
        image, frames = self.image_tokens(inputs), noisy.shape[2]
        all_count = video_frames is None or video_frames.is_meta  # a plan counts on
        counted = [frames] * len(noisy) if all_count or video_frames is None else video_frames.tolist()
        size = min(-(-frames // -(-frames // self.motion_frames)), *counted)
        windows = [
            (row, begin, min(begin, count - size))
            for row, count in enumerate(counted)
            for begin in range(0, count, size)
        ]
        device = noisy.device
        rows, begins, firsts = torch.tensor(windows, device="cpu").unbind(1)
        at = firsts[:, None] + torch.arange(size, device="cpu")
        fresh = (at >= begins[:, None]).flatten().nonzero()[:, 0]
        places = (rows[:, None].expand_as(at).flatten()[fresh].to(device), at.flatten()[fresh].to(device))
        rows, at, fresh = rows.to(device), at.to(device), fresh.to(device)
        some = noisy.transpose(1, 2)[rows[:, None], at].transpose(1, 2)
        steps = levels[rows, None].expand(-1, size)
        hidden = self.encoder.encode(
            torch.cat([inputs.reference[rows][:, :, None], some], 2),
            torch.cat([torch.zeros_like(steps[:, :1]), steps], 1),
            image[rows],
            None,
            None,
        )
        pooled = self.video(_turned(hidden, at).amax((-2, -1)))
        output = pooled.new_zeros(len(noisy), frames, pooled.shape[-1])
        return output.index_put(places, pooled.flatten(0, 1)[fresh])


def _turned(hidden: Tensor, at: Tensor) -> Tensor:
    """Hidden states (N, T, c, h, w) turned by their place in time, of frames (N, T), rows and columns."""
    channels, height, width = hidden.shape[2:]
    part = channels // 3 // 2 * 2
    rows, columns = (torch.arange(n, device=hidden.device) for n in (height, width))
    places = (at[..., None, None], rows[:, None], columns)
    output = []
    shape = (*at.shape, height, width)
    for axis, some in zip(places, hidden.permute(0, 1, 3, 4, 2).split((channels - 2 * part, part, part), -1)):
        freqs = rotary_freqs(axis.expand(shape).flatten(), some.shape[-1], hidden.device)
        output.append(rotate(some.reshape(1, -1, 1, some.shape[-1]).contiguous(), freqs).view(some.shape))
    return torch.cat(output, -1).permute(0, 1, 4, 2, 3)


def _sinusoids(at: Tensor, width: int) -> Tensor:
    """(T, width) of positions (T,)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(0, width, 2, device=at.device) / width)
    angles = at[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
