"""Stable Video Diffusion's UNet with poses and a face as arguments; names and sizes of its weights stay its own."""

from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from models.versa.video.face_attention import put_face_attention
from models.video.checkpointing import run
from models.video.unets import embedding_of, walk

GROUPS = 32
"""Of every group norm of diffusers' class, which has no option for it: widths have to be multiples."""
TIMES = 3
"""Numbers that SVD is told beside the level of noise."""


class PoseVideoUNet(UNetSpatioTemporalConditionModel):
    """SVD's UNet, to whose first convolution poses are added (VA-12), with attention to the face (VA-14)."""

    recompute = False

    def forward(  # type: ignore[override]
        self,
        sample: Tensor,
        noise: Tensor,
        times: Tensor,
        picture: Tensor,
        face: Tensor | None = None,
        pose: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, T, 2 C, h, w) to what is predicted, (B, T, C, h, w).

        Args:
            sample: (B, T, 2 C, h, w) noisy latents, and the reference's behind them.
            noise: (B,) SVD's number for a level of noise, log sigma / 4.
            times: (B, 3) frames a second less one, motion bucket, noise on the reference.
            picture: (B, 1, D) token of the reference picture.
            face: (B, T, K, D) tokens of each frame's face; None has no such attention.
            pose: (B, T, c, h, w), added to the output of the first convolution.
        """
        size, frames = sample.shape[:2]
        recompute = self.recompute and self.training
        indicator = torch.zeros(size, frames, dtype=sample.dtype, device=sample.device)  # all are frames of a video
        hidden = self.conv_in(sample.flatten(0, 1))
        if pose is not None:
            hidden = hidden + pose.flatten(0, 1)
        told = self.add_time_proj(times.flatten()).reshape(size, -1).to(hidden.dtype)
        embedding = embedding_of(self, noise, hidden) + self.add_embedding(told)
        told_frames = [picture.repeat_interleave(frames, 0), indicator]
        if face is not None:
            told_frames.append(face.flatten(0, 1))

        def resnet(layer: Any) -> Any:
            return lambda hidden, embedding: layer(hidden, embedding, image_only_indicator=indicator)

        def attend(block: Any, index: int, hidden: Tensor) -> Tensor:
            attentions = getattr(block, "attentions", None)
            if attentions is None:
                return hidden
            return run(_output_of(attentions[index]), hidden, *told_frames, recompute=recompute)

        embedding = embedding.repeat_interleave(frames, 0)
        hidden = walk(self, hidden, embedding, attend, recompute, resnet)
        output = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return output.unflatten(0, (size, frames))


def pose_video_unet(
    *,
    channels: tuple[int, ...],
    layers: int,
    head_channels: int,
    cross_channels: int,
    time_channels: int,
    latent_channels: int,
    face: bool,
    norm_groups: int = GROUPS,
) -> PoseVideoUNet:
    """A new UNet; attention to the face changes nothing until it is trained.

    Args:
        channels: of each level; the deepest has no attention of its own.
        layers: of each level.
        head_channels: of an attention head.
        cross_channels: of the tokens that cross-attention reads.
        time_channels: that each number SVD is told becomes.
        latent_channels: of latents.
        face: whether there is attention to the face.
        norm_groups: of group norms. With as many as channels a norm takes away what a channel says of a whole frame.

    Raises:
        ValueError: channels that the groups of SVD's norms, or `norm_groups`, do not divide.
    """
    odd = [width for width in channels if width % GROUPS]
    if odd:
        raise ValueError(f"channels has {odd[0]}, but group norms of SVD's UNet have {GROUPS} groups: give multiples")
    odd = [width for width in channels if width % norm_groups]
    if odd:
        raise ValueError(f"norm_groups={norm_groups} does not divide channels={odd[0]}")
    plain = len(channels) > 1
    crossed = len(channels) - plain
    unet = PoseVideoUNet(
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(channels),
        layers_per_block=layers,
        num_attention_heads=tuple(width // head_channels for width in channels),
        cross_attention_dim=cross_channels,
        addition_time_embed_dim=time_channels,
        projection_class_embeddings_input_dim=TIMES * time_channels,
        down_block_types=("CrossAttnDownBlockSpatioTemporal",) * crossed + ("DownBlockSpatioTemporal",) * plain,
        up_block_types=("UpBlockSpatioTemporal",) * plain + ("CrossAttnUpBlockSpatioTemporal",) * crossed,
    )
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = norm_groups
    if face:
        put_face_attention(unet)
    # diffusers makes its mixing factors on the CPU, whatever the default device.
    return unet.to(unet.conv_in.weight.device)


def _output_of(transformer: nn.Module) -> Any:
    return lambda *inputs: transformer(*inputs)[0]
