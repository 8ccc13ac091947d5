"""Attention of SVD's blocks to the face, behind their cross-attention to the reference picture (VA-14)."""

from typing import Any, Final

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn

from models.video.added_attention import AddedAttention

_PLAIN: Final = AttnProcessor2_0()


class SelfAttention:
    """diffusers' self-attention; it is handed what its neighbour needs."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        face: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (N, S, c) to the same."""
        return _PLAIN(attn, hidden_states, attention_mask=attention_mask)


class FaceAttention(AddedAttention):
    """diffusers' cross-attention to the picture, then a further one to the tokens of the face (VA-14).

        seen = CrossAttention(hidden, picture);  seen + W CrossAttention(norm(hidden + seen), face)

    W starts at zero: an untrained one changes nothing.
    """

    def __call__(  # diffusers hands on only what it reads from this signature
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        face: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (N, S, c) and tokens of picture and face, each (N, K, D), to (N, S, c)."""
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, face)

    def forward(
        self,
        attn: Attention,
        hidden_states: Tensor,
        picture: Tensor | None,
        attention_mask: Tensor | None,
        face: Tensor | None,
    ) -> Tensor:
        """As called."""
        seen = _PLAIN(attn, hidden_states, encoder_hidden_states=picture, attention_mask=attention_mask)
        return seen if face is None else seen + self.attention(self.norm(hidden_states + seen), face)


class FaceTransformer(TransformerSpatioTemporalModel):
    """diffusers' spatio-temporal transformer, whose spatial blocks are handed tokens of each frame's face.

    Among the tokens of diffusers' own cross-attention they would be repeated for every place of every frame.
    """

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, picture: Tensor, indicator: Tensor, face: Tensor | None = None
    ) -> tuple[Tensor]:
        """Hidden states (B T, c, h, w) to the same.

        Args:
            hidden_states: (B T, c, h, w).
            picture: (B T, 1, D) the token of the picture, for each frame.
            indicator: (B, T) of zeros, as diffusers wants it for videos.
            face: (B T, K, D) tokens of each frame's face; None has no attention to them.
        """
        size, frames = indicator.shape
        height, width = hidden_states.shape[-2:]
        hidden = self.proj_in(self.norm(hidden_states).flatten(2).transpose(1, 2))
        at = self.time_proj(torch.arange(frames, device=hidden.device).repeat(size)).to(hidden.dtype)
        at = self.time_pos_embed(at)[:, None]
        context = picture.unflatten(0, (size, frames))[:, 0].repeat_interleave(height * width, 0)
        blocks: Any = zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True)
        for block, temporal in blocks:
            hidden = block(hidden, encoder_hidden_states=picture, cross_attention_kwargs={"face": face})
            mixed = temporal(hidden + at, num_frames=frames, encoder_hidden_states=context)
            hidden = self.time_mixer(x_spatial=hidden, x_temporal=mixed, image_only_indicator=indicator)
        output = self.proj_out(hidden).transpose(1, 2).unflatten(-1, (height, width)).contiguous()
        return (output + hidden_states,)


def put_face_attention(unet: Any) -> None:
    """Give every spatial cross-attention of an SVD UNet its further one; weights of SVD keep their names."""
    transformers = [module for module in unet.modules() if isinstance(module, TransformerSpatioTemporalModel)]
    for transformer in transformers:
        transformer.__class__ = FaceTransformer  # the modules stay: only the way through them is another
        blocks: Any = transformer.transformer_blocks
        for block in blocks:
            crossed = block.attn2
            block.attn1.set_processor(SelfAttention())
            crossed.set_processor(FaceAttention(crossed.to_q.in_features, crossed.heads, crossed.to_k.in_features))


def face_attentions(unet: nn.Module) -> list[FaceAttention]:
    """Those of a UNet, in order."""
    return [module for module in unet.modules() if isinstance(module, FaceAttention)]
