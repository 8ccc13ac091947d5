"""SMGA, MMGT's first stage: audio and a first pose to a pose sequence, by diffusion (MMGT-2 .. MMGT-9)."""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.diffusion.noise.ddpm import DDPMNoise, Schedule
from models.layers.attention import Attention
from models.layers.dropout import BranchDropout, Draw
from models.layers.embedding import TimestepEmbedding
from models.layers.film import FiLMBank, Modulation
from models.layers.rotary import rotary_freqs
from models.layers.transformer import EncoderLayer, FeedForward, normalise
from models.mmgt.pose_space import CHANNELS, PoseSpace, face_channels
from models.saved import SavedNetwork
from settings.ranges import Count, Decay, Fps, NonNegative

HANDCRAFTED = 35


class MotionBlock(nn.Module):
    """One motion block of one part of the body: self-attention, FiLM, cross-attention to audio, FiLM (MMGT-7).

    Each step is a residual branch over layer norm. Without audio the cross-attention is a second self-attention
    (MMGT-24).

    Args:
        width: channels W.
        heads: attention heads.
        feedforward: hidden channels of a feed-forward behind them (ours); none where 0.
        use_audio: whether there is audio to attend to.
    """

    FILMS = 2
    PLACES = 3

    def __init__(self, width: int, heads: int, feedforward: int = 0, use_audio: bool = True):
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.audio_attention = Attention(width, heads, cross=use_audio)
        self.feedforward = FeedForward(width, feedforward) if feedforward else None

    def forward(
        self, x: Tensor, audio: Tensor, films: list[Modulation], freqs: Tensor, dropout: Draw, place: int
    ) -> Tensor:
        """x (B, T, W) and audio (B, T, W) to (B, T, W)."""
        x = dropout.add(x, self.self_attention(normalise(x), freqs), place, films[0])
        x = dropout.add(x, self.audio_attention(normalise(x), freqs, audio), place + 1, films[1])
        return x if self.feedforward is None else dropout.add(x, self.feedforward(normalise(x)), place + 2)


class SMGA(
    nn.Module,
    SavedNetwork,
    library_name="cospeech",
    tags=["co-speech", "mmgt", "mmgt.smga"],
    license="other",
):
    """Spatial Mask-Guided Audio Pose Generation Network: predicts the clean pose sequence x0 from a noisy one.

    The noisy sequence and the repeated first pose are joined to 804 channels (MMGT-3), masked into face and body
    (MMGT-4), encoded by E_f and E_b, and pass 8 layers of two motion blocks that attend to the audio encoded by E_a
    (MMGT-5, MMGT-7). The two are merged, f = FiLM(MLP(f_face + f_body)) with a residual, and a linear map gives x0
    (MMGT-8). Statistics for normalisation are buffers, so a saved network needs nothing else.

    Args:
        width: channels of all layers.
        layers: number of layers.
        heads: attention heads.
        feedforward: hidden channels of feed-forwards and of the merging MLP.
        block_feedforward: a feed-forward behind each motion block (ours), which MMGT-7 does not have. On unless told
            otherwise, as networks saved before there was a choice have it.
        dropout: probability of dropout on residual branches.
        audio_channels: speech features a frame: 35, or 1,059 with WavLM (MMGT-6).
        audio_layers: transformer layers of E_a behind its linear map.
        blocks: "two" motion blocks a layer, or "one" for the whole body (MMGT-24).
        use_audio: false replaces cross-attention by self-attention (MMGT-24).
        predict: "pose" (the paper) or "offset" from the first pose (ours); see `PoseSpace`.
        reference: what `first_pose` was in training: always the "first" frame, or "any" frame of the window (ours).
            Decides how `generate` chains windows.
        window: frames of a training window.
        fps: frames a second that it was trained at.
        train_steps: diffusion steps in training (MMGT-9).
        noise_schedule: name of the noise schedule (MMGT-9).
        sampling_steps: diffusion steps when sampling, unless told otherwise.
        guidance: weight of classifier-free guidance, unless told otherwise.
    """

    masks: Tensor
    audio_mean: Tensor
    audio_std: Tensor

    def __init__(
        self,
        *,
        width: Count = 512,
        layers: Count = 8,
        heads: Count = 8,
        feedforward: Count = 1024,
        block_feedforward: bool = True,
        dropout: Decay = 0.1,
        audio_channels: Count = HANDCRAFTED,
        audio_layers: Count = 2,
        blocks: Literal["two", "one"] = "two",
        use_audio: bool = True,
        predict: Literal["pose", "offset"] = "pose",
        reference: Literal["first", "any"] = "first",
        window: Count = 80,
        fps: Fps = 25.0,
        train_steps: Count = 1000,
        noise_schedule: Schedule = "cosine",
        sampling_steps: Count = 50,
        guidance: NonNegative = 2.0,
    ):
        super().__init__()
        if blocks not in ("two", "one"):
            raise ValueError(f"blocks has to be 'two' or 'one', got '{blocks}'")
        if reference not in ("first", "any"):
            raise ValueError(f"reference has to be 'first' or 'any', got '{reference}'")
        self.use_audio, self.reference = use_audio, reference
        self.window, self.fps = window, fps
        self.noise = DDPMNoise(noise_schedule, train_steps)
        self.sampling_steps, self.guidance = sampling_steps, guidance
        self.head_width = width // heads
        self.poses = PoseSpace(predict)
        self.register_buffer("audio_mean", torch.zeros(audio_channels))
        self.register_buffer("audio_std", torch.ones(audio_channels))

        face = face_channels()
        masks = torch.stack([face, ~face]) if blocks == "two" else torch.ones(1, CHANNELS, dtype=torch.bool)
        self.register_buffer("masks", masks.repeat(1, 2)[:, None, None].float(), persistent=False)
        streams = len(masks)
        self.encoders = nn.ModuleList(nn.Linear(2 * CHANNELS, width) for _ in range(streams))  # E_f, E_b
        self.layers = nn.ModuleList(
            nn.ModuleList(
                MotionBlock(width, heads, feedforward if block_feedforward else 0, use_audio) for _ in range(streams)
            )
            for _ in range(layers)
        )
        self.merge = FeedForward(width, feedforward)
        self.head = nn.Linear(width, CHANNELS)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

        condition = max(16, width // 4)
        self.timestep = TimestepEmbedding(width, condition)
        self.films = FiLMBank(condition, width, layers * streams * MotionBlock.FILMS + 1)
        self.dropout = BranchDropout(dropout)
        if use_audio:
            self.audio_encoder = nn.Linear(audio_channels, width)  # E_a, with the layers that follow
            self.audio_layers = nn.ModuleList(EncoderLayer(width, heads, feedforward) for _ in range(audio_layers))
            self.audio_pool = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, condition))
            self.no_audio = nn.Parameter(torch.randn(width) * 0.02)
        self._checkpointing = False

    def set_statistics(self, statistics: dict[str, Any]) -> None:
        """Take the statistics of an index into the buffers.

        Args:
            statistics: "pose", "pose_motion" and "handcrafted" as `index.json` has them. Speech features beyond the
                hand-crafted ones are taken as they are.
        """
        self.poses.set_statistics(statistics)
        known = min(HANDCRAFTED, len(self.audio_mean))
        for buffer, moment in ((self.audio_mean, "mean"), (self.audio_std, "std")):
            buffer[:known] = torch.as_tensor(statistics["handcrafted"][moment], dtype=buffer.dtype)[:known]

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the layers' activations in the backward pass, to save memory."""
        self._checkpointing = True

    def forward(
        self, noisy: Tensor, timesteps: Tensor, first_pose: Tensor, audio: Tensor, drop_audio: Tensor | None = None
    ) -> Tensor:
        """Predict x0 (Eq. 10).

        Args:
            noisy: (B, T, 402) x_t in the space of `self.poses`.
            timesteps: (B,) diffusion steps.
            first_pose: (B, 402), from `self.poses.condition`.
            audio: (B, T, C) speech features as stored; normalised here.
            drop_audio: (B,) bool, true where the learned "no audio" stands in for the audio.

        Returns:
            (B, T, 402).
        """
        length = noisy.shape[1]
        freqs = rotary_freqs(length, self.head_width, noisy.device)
        dropout = self.dropout.draw(noisy.new_empty(1).expand(*noisy.shape[:2], self.head.in_features), self._places())
        condition = self.timestep(timesteps)
        memory = noisy
        if self.use_audio:
            memory, pooled = self._encode_audio(audio, drop_audio, freqs, dropout)
            condition = condition + pooled
        films = self.films(condition)

        joined = torch.cat([noisy, first_pose[:, None].expand(-1, length, -1)], -1)
        streams = [encoder(joined * mask) for encoder, mask in zip(self.encoders, self.masks, strict=True)]
        place = len(self.audio_layers) * EncoderLayer.PLACES if self.use_audio else 0
        site = 0
        for layer in self.layers:
            for index, block in enumerate(cast(nn.ModuleList, layer)):
                inputs = (streams[index], memory, films[site : site + MotionBlock.FILMS], freqs, dropout, place)
                if self._checkpointing and self.training:
                    streams[index] = checkpoint(block, *inputs, use_reentrant=False)
                else:
                    streams[index] = block(*inputs)
                site += MotionBlock.FILMS
                place += MotionBlock.PLACES
        both = sum(streams[1:], streams[0])
        return self.head(both + films[-1](self.merge(normalise(both))))

    def _places(self) -> int:
        blocks = sum(len(cast(nn.ModuleList, layer)) for layer in self.layers)
        return blocks * MotionBlock.PLACES + (len(self.audio_layers) * EncoderLayer.PLACES if self.use_audio else 0)

    def _encode_audio(
        self, audio: Tensor, drop_audio: Tensor | None, freqs: Tensor, dropout: Draw
    ) -> tuple[Tensor, Tensor]:
        """E_a: features (B, T, C) to (B, T, W) and their pooled form (B, W)."""
        normal = ((audio - self.audio_mean) / self.audio_std).clamp(-10, 10)
        encoded = self.audio_encoder(normal)
        for index, layer in enumerate(self.audio_layers):
            encoded = layer(encoded, freqs, dropout, index * EncoderLayer.PLACES)
        if drop_audio is not None:
            encoded = torch.where(drop_audio[:, None, None], self.no_audio, encoded)
        return encoded, self.audio_pool(normalise(encoded.mean(1)))
