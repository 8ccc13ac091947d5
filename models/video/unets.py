"""diffusers' UNets with every condition as an argument: names and sizes of the weights stay theirs.

Both walk through their layers here rather than by diffusers' own `forward`: what is added after the first convolution,
what stands between spatial and temporal attention, and which layers are computed again in the backward pass can then be
told in the call, and no hook or module has to hold a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel, UNetMotionModel
from torch import Tensor, nn

from models.video.audio_attention import MaskedAudioAttention
from models.video.checkpointing import run
from models.video.lora import add_lora
from models.video.slots import Bank, put_slots

Attend = Callable[[Any, int, Tensor], Tensor]
"""What follows the resnet of a layer: the block, which of its layers, hidden states (N, c, h, w) to the same."""

Resnet = Callable[[nn.Module], Callable[..., Tensor]]
"""How a resnet is called with hidden states and times: SVD's want to know more."""


@dataclass(frozen=True)
class UNetSizes:
    """Sizes that a denoising UNet and its reference UNet have in common. Those of SD 1.5, unless told otherwise.

    Attributes:
        channels: of each level.
        layers: of each level.
        heads: of spatial attention.
        cross_channels: of the tokens that cross-attention reads.
        norm_groups: of group norms.
        latent_channels: of latents.
    """

    channels: Sequence[int] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    cross_channels: int = 768
    norm_groups: int = 32
    latent_channels: int = 4

    def arguments(self, kind: str = "") -> dict[str, Any]:
        """What diffusers' constructors call them; `kind` is "2D" or "Motion". The deepest level has no attention."""
        plain = len(self.channels) > 1
        crossed = len(self.channels) - plain
        return {
            "in_channels": self.latent_channels,
            "out_channels": self.latent_channels,
            "block_out_channels": tuple(self.channels),
            "layers_per_block": self.layers,
            "cross_attention_dim": self.cross_channels,
            "norm_num_groups": self.norm_groups,
            "down_block_types": (f"CrossAttnDownBlock{kind}",) * crossed + (f"DownBlock{kind}",) * plain,
            "up_block_types": (f"UpBlock{kind}",) * plain + (f"CrossAttnUpBlock{kind}",) * crossed,
        }


class ReferenceUNet(UNet2DConditionModel):
    """A 2D UNet that is run once on the reference picture, for its hidden states (MMGT-16).

    Its output is not used: the parameters behind the last place that is read get no gradient and are frozen.
    """

    recompute = False

    def forward(self, sample: Tensor, context: Tensor, pose: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        """Latents (B, C, h, w) without noise and tokens (B, K, D) to hidden states (B, h w, c) by place.

        Args:
            sample: (B, C, h, w).
            context: (B, K, D).
            pose: (B, c, h, w), added after the first convolution.
        """
        bank = Bank()
        recompute = self.recompute and self.training

        def attend(block: Any, index: int, hidden: Tensor) -> Tensor:
            attentions = getattr(block, "attentions", None)
            if attentions is None:
                return hidden
            return run(spatial_layer(attentions[index], write=bank), hidden, context, recompute=recompute)

        levels = torch.zeros(len(sample), dtype=torch.long, device=sample.device)
        hidden = self.conv_in(sample)
        walk(self, hidden if pose is None else hidden + pose, embedding_of(self, levels, hidden), attend, recompute)
        return dict(bank)

    def unread(self) -> list[nn.Parameter]:
        """Parameters behind the last place that is read."""
        transformer = self.up_blocks[-1].attentions[-1]
        last = transformer.transformer_blocks[-1]
        parts = [part for name, part in last.named_children() if name != "norm1"]
        parts += [transformer.proj_out, self.conv_norm_out, self.conv_out]
        return [parameter for part in parts for parameter in part.parameters()]


class MotionUNet(UNetMotionModel):
    """A UNet of frames whose blocks are resnet, spatial attention, speech (MM-HAA), temporal attention (MMGT-19)."""

    recompute = False

    def forward(  # type: ignore[override]
        self,
        sample: Tensor,
        timesteps: Tensor,
        context: Tensor,
        *,
        reference: Mapping[str, Tensor] | None = None,
        pose: Tensor | None = None,
        audio: Tensor | None = None,
        masks: Mapping[str, Tensor] = {},
        keep: Mapping[str, Tensor] = {},
        temporal: bool = True,
    ) -> Tensor:
        """Noisy latents (B, C, T, h, w) to what the network predicts, (B, C, T, h, w).

        Args:
            sample: (B, C, T, h, w).
            timesteps: (B,).
            context: (B, K, D) tokens of the picture.
            reference: (B, h w, c) by place, from `ReferenceUNet`.
            pose: (B, T, c, h, w), added after the first convolution.
            audio: (B, T, K, D) tokens of each frame.
            masks: (B, T, 3, h, w) by the size of a level; a size that is not there is one everywhere.
            keep: (B,) bool, false where "reference" or "audio" is left out.
            temporal: whether frames see one another.
        """
        frames = sample.shape[2]
        recompute = self.recompute and self.training
        each = {name: kept.repeat_interleave(frames) for name, kept in keep.items()}
        context = context.repeat_interleave(frames, 0)
        heard = None if audio is None else audio.flatten(0, 1)
        masks = {size: mask.flatten(0, 1) for size, mask in masks.items()}

        def attend(block: Any, index: int, hidden: Tensor) -> Tensor:
            attentions = getattr(block, "attentions", None)
            if attentions is not None:
                spatial = spatial_layer(attentions[index], read=reference, keep=each.get("reference"))
                hidden = run(spatial, hidden, context, recompute=recompute)
                speech = block.audio_modules[index]
                if heard is not None or not speech.hears:
                    mask = masks.get(size_name(*hidden.shape[-2:]))
                    hidden = run(speech, hidden, heard, mask, each.get("audio"), recompute=recompute)
            if temporal:
                hidden = run(motion_layer(block.motion_modules[index], frames), hidden, recompute=recompute)
            return hidden

        hidden = self.conv_in(sample.transpose(1, 2).flatten(0, 1))
        if pose is not None:
            hidden = hidden + pose.flatten(0, 1)
        embedding = embedding_of(self, timesteps, hidden).repeat_interleave(frames, 0)
        hidden = walk(self, hidden, embedding, attend, recompute)
        output = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return output.unflatten(0, (-1, frames)).transpose(1, 2)


def reference_unet(sizes: UNetSizes, lora_rank: int = 0) -> ReferenceUNet:
    """A new reference UNet, with what gets no gradient frozen."""
    unet = ReferenceUNet(**sizes.arguments("2D"), attention_head_dim=sizes.heads)
    put_slots(unet)
    if lora_rank:
        add_lora(unet, lora_rank)
    for parameter in unet.unread():
        parameter.requires_grad_(False)
    last = unet.up_blocks[-1].attentions[-1]
    for module in (last, last.transformer_blocks[-1]):
        module.read_from_inside = True  # nothing reads what they give out, but what their first norm does (FSDP)
    return unet


def motion_unet(
    sizes: UNetSizes,
    *,
    motion_heads: int,
    motion_layers: int,
    frames: int,
    use_audio: bool = True,
    lora_rank: int = 0,
) -> MotionUNet:
    """A new denoising UNet; audio and motion modules are the identity until they are trained or loaded.

    Args:
        sizes: of the spatial part.
        motion_heads: heads of temporal attention.
        motion_layers: transformer layers of a motion module.
        frames: how many there are positions for.
        use_audio: false lets the audio modules attend to the hidden states (MMGT-24).
        lora_rank: of additions to the spatial attentions; 0 is none.
    """
    unet = MotionUNet(
        **sizes.arguments("Motion"),
        num_attention_heads=sizes.heads,
        motion_num_attention_heads=motion_heads,
        temporal_transformer_layers_per_block=motion_layers,
        temporal_transformer_layers_per_mid_block=motion_layers,
        motion_max_seq_length=frames,
    )
    put_slots(unet)
    if lora_rank:
        add_lora(unet, lora_rank)
    for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
        for motion in block.motion_modules:
            for parameter in motion.proj_out.parameters():
                nn.init.zeros_(parameter)
        if hasattr(block, "attentions"):
            block.audio_modules = nn.ModuleList(
                MaskedAudioAttention(each.in_channels, sizes.heads, sizes.cross_channels if use_audio else None)
                for each in block.attentions
            )
    return unet


def level_sizes(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Rows and columns of every level of a UNet, finest first; each is half of the one before, rounded up."""
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(levels)]


def size_name(height: int, width: int) -> str:
    """What the size of a level is called where masks are kept by it."""
    return f"{height}x{width}"


def walk(
    unet: Any, hidden: Tensor, embedding: Tensor, attend: Attend, recompute: bool, layer: Resnet = lambda resnet: resnet
) -> Tensor:
    """All layers between the first and the last convolution, for hidden states (N, c, h, w) and times (N, E)."""
    hidden, skipped = walk_down(unet, hidden, embedding, attend, recompute, layer)
    for block in unet.up_blocks:
        for index, resnet in enumerate(block.resnets):
            hidden = run(_joined(layer(resnet)), hidden, skipped.pop(), embedding, recompute=recompute)
            hidden = attend(block, index, hidden)
        for larger in block.upsamplers or ():
            hidden = larger(hidden, output_size=skipped[-1].shape[-2:])  # also where a level was odd
    return hidden


def walk_down(
    unet: Any, hidden: Tensor, embedding: Tensor, attend: Attend, recompute: bool, layer: Resnet = lambda resnet: resnet
) -> tuple[Tensor, list[Tensor]]:
    """The layers down to the middle, and it: its hidden states, and what the way up takes, the last first."""
    skipped = [hidden]
    for block in unet.down_blocks:
        for index, resnet in enumerate(block.resnets):
            hidden = attend(block, index, run(layer(resnet), hidden, embedding, recompute=recompute))
            skipped.append(hidden)
        for smaller in block.downsamplers or ():
            hidden = smaller(hidden)
            skipped.append(hidden)
    middle = unet.mid_block
    hidden = run(layer(middle.resnets[0]), hidden, embedding, recompute=recompute)
    for index, resnet in enumerate(middle.resnets[1:]):
        hidden = run(layer(resnet), attend(middle, index, hidden), embedding, recompute=recompute)
    return hidden, skipped


def embedding_of(unet: Any, timesteps: Tensor, like: Tensor) -> Tensor:
    """(N, E) of timesteps (N,), in the precision of `like`."""
    return unet.time_embedding(unet.time_proj(timesteps).to(like.dtype))


def spatial_layer(transformer: nn.Module, **slots: Any) -> Callable[..., Tensor]:
    """A spatial transformer, with what its attentions are told beside hidden states and tokens."""

    def attention(hidden: Tensor, context: Tensor) -> Tensor:
        output = transformer(hidden, encoder_hidden_states=context, cross_attention_kwargs=slots, return_dict=False)
        return output[0]

    return attention


def motion_layer(module: nn.Module, frames: int) -> Callable[..., Tensor]:
    """A motion module, for hidden states of so many frames a sample."""
    return lambda hidden: module(hidden, num_frames=frames)


def _joined(resnet: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda hidden, skipped, embedding: resnet(torch.cat([hidden, skipped], 1), embedding)
