"""LoRA of the spatial attention of a UNet (Hu et al. 2022), by peft: few parameters stand for many."""

from typing import Any, Final

from torch import nn

_SPATIAL: Final = r".*\.attentions\.\d+\.transformer_blocks\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
BASE: Final = ".base_layer."
"""What stands in the name of a weight that LoRA adds to, beyond its published name."""


def add_lora(unet: Any, rank: int) -> None:
    """Give each projection of the spatial attentions W an addition B A of some rank; B starts at zero.

    Args:
        unet: changed in place.
        rank: of the additions.
    """
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=_SPATIAL), unet)
    unet.requires_grad_(True)  # peft froze all else; what is trained is for the network to say


def lora_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The additions of a network."""
    return [parameter for name, parameter in network.named_parameters() if ".lora_" in name]
