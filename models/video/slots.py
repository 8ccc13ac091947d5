"""Slots in the attention of diffusers' UNets: processors that find all they need in the arguments of one call.

Nothing is kept between calls: the reference's hidden states fill a dict that the caller made for this call, so gradient
checkpointing, which runs a forward pass twice, changes nothing.
"""

from collections import UserDict
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

_PLAIN: Final = AttnProcessor2_0()
_SELF, _CROSS = ".attn1", ".attn2"


class Bank(UserDict[str, Tensor]):
    """What the reference network's attention writes in one call.

    FSDP hands copies of the dicts, lists and tuples among a layer's arguments on to it: what is written into them is
    lost. What is none of these goes through as it is.
    """


class ReferenceAttention:
    """Self-attention that also sees the reference picture: keys and values of both at the same place (MMGT-16).

    Args:
        place: name of the attention's transformer block, the same in both UNets.
    """

    def __init__(self, place: str):
        self.place = place

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        write: MutableMapping[str, Tensor] | None = None,
        read: Mapping[str, Tensor] | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (N, S, c) of N = B T frames to the same.

        Args:
            attn: the attention, with its weights.
            hidden_states: (N, S, c).
            encoder_hidden_states: None, as this is self-attention.
            attention_mask: none in these UNets.
            write: takes this place's hidden states, in the reference's UNet.
            read: the reference's (B, S, c), by place.
            keep: (N,) bool, false where the reference is left out: a frame then sees itself twice, which is plain
                self-attention.
        """
        if write is not None:
            write.setdefault(self.place, hidden_states)
        context = hidden_states
        if read is not None:
            reference = read[self.place]
            reference = reference.repeat_interleave(len(hidden_states) // len(reference), 0)
            if keep is not None:
                reference = torch.where(keep[:, None, None], reference, hidden_states)
            context = torch.cat([hidden_states, reference], 1)
        return _PLAIN(attn, hidden_states, encoder_hidden_states=context, attention_mask=attention_mask)


class ContextAttention:
    """diffusers' cross-attention, to the tokens of the reference picture; it is handed what its neighbour needs."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        write: MutableMapping[str, Tensor] | None = None,
        read: Mapping[str, Tensor] | None = None,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (N, S, c) and tokens (N, K, D) to (N, S, c)."""
        return _PLAIN(attn, hidden_states, encoder_hidden_states=encoder_hidden_states, attention_mask=attention_mask)


def put_slots(unet: Any) -> None:
    """Give every spatial attention of a UNet its slot."""
    for name, module in unet.named_modules():
        if ".attentions." in name and name.endswith(_SELF):
            module.set_processor(ReferenceAttention(name.removesuffix(_SELF)))
        elif ".attentions." in name and name.endswith(_CROSS):
            module.set_processor(ContextAttention())


def places(unet: Any) -> list[str]:
    """Where a UNet with slots reads or writes the reference."""
    found = (getattr(module, "processor", None) for module in unet.modules())
    return [processor.place for processor in found if isinstance(processor, ReferenceAttention)]
