"""The 3D UNet of UniVDM: the reference picture is a slot in front of the frames (PH-1, PH-3)."""

from typing import Any

import torch
from diffusers import UNetMotionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from models.video.added_attention import AddedAttention
from models.video.checkpointing import run
from models.video.unets import Attend, UNetSizes, embedding_of, motion_layer, spatial_layer, walk, walk_down

_PLAIN = AttnProcessor2_0()


class SlotAttention:
    """Attention of a frame: its own, whose keys and values also hold the reference slot's tokens (PH-3, ours), and
    diffusers' cross-attention to the tokens of the picture.

    The slot itself sees itself twice, which is plain self-attention.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        frames: int,
    ) -> Tensor:
        """Hidden states (B (1 + T), S, c), the slot first, to the same; `frames` is 1 + T."""
        context = encoder_hidden_states
        if context is None:
            slot = hidden_states[::frames].repeat_interleave(frames, 0)
            context = torch.cat([hidden_states, slot], 1)
        return _PLAIN(attn, hidden_states, encoder_hidden_states=context, attention_mask=attention_mask)


class SpeechAttention(AddedAttention):
    """Cross-attention to a frame's speech, behind its attention to the reference (PH-3); the identity until trained."""

    def forward(self, hidden: Tensor, audio: Tensor, keep: Tensor) -> Tensor:
        """Hidden states (N, c, h, w), tokens (N, K, A) and whether anything is added (N,) to (N, c, h, w)."""
        heard = self.attention(self.norm(hidden.flatten(2).transpose(1, 2)), audio)
        return hidden + keep[:, None, None, None] * heard.transpose(1, 2).unflatten(-1, hidden.shape[-2:])


class SlotPositions(nn.Module):
    """Temporal positions of which 0 .. T - 1 are the video's, and one that is learned is the slot's (PH-1, ours).

    The published table stays as it is, under its own name.

    Args:
        published: diffusers' sinusoidal positions.
    """

    pe: Tensor

    def __init__(self, published: nn.Module):
        super().__init__()
        table: Any = published.pe
        self.register_buffer("pe", table)
        self.slot = nn.Parameter(torch.zeros(1, 1, table.shape[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 + T, c) to the same."""
        return x + torch.cat([self.slot, self.pe[:, : x.shape[1] - 1]], 1)


class UnifiedUNet(UNetMotionModel):
    """Reference slot and noisy frames together; each block is resnet, spatial attention, speech, temporal attention."""

    recompute = False

    def forward(  # type: ignore[override]
        self, sample: Tensor, timesteps: Tensor, context: Tensor, audio: Tensor | None, heard: Tensor | None
    ) -> Tensor:
        """Latents (B, C, 1 + T, h, w), the reference's first, to what is predicted for the frames, (B, C, T, h, w).

        Args:
            sample: (B, C, 1 + T, h, w).
            timesteps: (B, 1 + T), 0 for what is clean.
            context: (B, K, D) tokens of the picture.
            audio: (B, T, K, D) tokens of each frame's speech; None is none.
            heard: (B,) bool, false where speech is left out; None hears all.
        """
        frames, recompute = sample.shape[2], self.recompute and self.training
        attend = self._attend(frames, context, audio, heard)
        hidden = self.conv_in(sample.transpose(1, 2).flatten(0, 1))
        hidden = walk(self, hidden, embedding_of(self, timesteps.flatten(), hidden), attend, recompute)
        output = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return output.unflatten(0, (-1, frames)).transpose(1, 2)[:, :, 1:]

    def encode(
        self, sample: Tensor, timesteps: Tensor, context: Tensor, audio: Tensor | None, heard: Tensor | None
    ) -> Tensor:
        """The same to the hidden states of the middle, (B, T, c, h, w): what a classifier looks at (PH-10)."""
        frames, recompute = sample.shape[2], self.recompute and self.training
        attend = self._attend(frames, context, audio, heard)
        hidden = self.conv_in(sample.transpose(1, 2).flatten(0, 1))
        hidden, _ = walk_down(self, hidden, embedding_of(self, timesteps.flatten(), hidden), attend, recompute)
        return hidden.unflatten(0, (-1, frames))[:, 1:]

    def _attend(self, frames: int, context: Tensor, audio: Tensor | None, heard: Tensor | None) -> Attend:
        """What follows each resnet: spatial attention, speech, temporal attention."""
        recompute = self.recompute and self.training
        context = context.repeat_interleave(frames, 0)
        tokens = keep = None
        if audio is not None:
            # The picture says nothing.
            tokens = torch.cat([torch.zeros_like(audio[:, :1]), audio], 1).flatten(0, 1)
            keep = torch.ones(len(audio), frames, dtype=torch.bool, device=audio.device)
            keep[:, 0] = False
            keep = (keep if heard is None else keep & heard[:, None]).flatten()

        def attend(block: Any, index: int, hidden: Tensor) -> Tensor:
            attentions = getattr(block, "attentions", None)
            if attentions is not None:
                hidden = run(spatial_layer(attentions[index], frames=frames), hidden, context, recompute=recompute)
                if tokens is not None:
                    hidden = run(block.audio_modules[index], hidden, tokens, keep, recompute=recompute)
            return run(motion_layer(block.motion_modules[index], frames), hidden, recompute=recompute)

        return attend


def unified_unet(
    sizes: UNetSizes, *, head_channels: int, motion_heads: int, motion_layers: int, frames: int
) -> UnifiedUNet:
    """A new UNet; speech and motion modules are the identity until they are trained or loaded.

    Args:
        sizes: of the spatial part, but for its heads.
        head_channels: of a head of spatial attention and of attention to speech.
        motion_heads: heads of temporal attention.
        motion_layers: transformer layers of a motion module.
        frames: of the video that there are positions for; the slot has its own.
    """
    unet = UnifiedUNet(
        **sizes.arguments("Motion"),
        num_attention_heads=tuple(width // head_channels for width in sizes.channels),
        use_linear_projection=True,  # as Stable Diffusion 2.1
        motion_num_attention_heads=motion_heads,
        temporal_transformer_layers_per_block=motion_layers,
        temporal_transformer_layers_per_mid_block=motion_layers,
        motion_max_seq_length=frames,
    )
    for name, module in unet.named_modules():
        if ".attentions." in name and name.endswith((".attn1", ".attn2")):
            module.set_processor(SlotAttention())  # type: ignore[operator]
    blocks: list[Any] = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    for block in blocks:
        for motion in block.motion_modules:
            for parameter in motion.proj_out.parameters():
                nn.init.zeros_(parameter)
            for layer in motion.transformer_blocks:
                layer.pos_embed = SlotPositions(layer.pos_embed)
        if hasattr(block, "attentions"):
            block.audio_modules = nn.ModuleList(
                SpeechAttention(each.in_channels, each.in_channels // head_channels, sizes.cross_channels)
                for each in block.attentions
            )
    return unet
