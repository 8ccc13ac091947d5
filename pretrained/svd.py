"""The published UNet of Stable Video Diffusion, into VersaAnimator's (VA-11)."""

from typing import Any, Final

import torch

from pretrained.unets import load_unet

PUBLISHED: Final = "stabilityai/stable-video-diffusion-img2vid-xt"
_NEW: Final = ("attn2.processor.",)
"""What SVD's UNet does not have: attention to the face."""
_NAMES: Final = {
    "block_out_channels": ("block_out_channels", "channels"),
    "cross_attention_dim": ("cross_attention_dim", "cross_channels"),
    "layers_per_block": ("layers_per_block", "layers"),
    "num_attention_heads": ("num_attention_heads", "head_channels"),
    "transformer_layers_per_block": ("transformer_layers_per_block", ""),
    "addition_time_embed_dim": ("addition_time_embed_dim", "time_channels"),
    "projection_class_embeddings_input_dim": ("projection_class_embeddings_input_dim", "time_channels"),
    "in_channels": ("in_channels", "latent_channels"),
    "out_channels": ("out_channels", "latent_channels"),
    "down_block_types": ("down_block_types", ""),
    "up_block_types": ("up_block_types", ""),
}
"""What has to agree: of the published config, of the network's, and the network's own option for it."""


def load_svd(network: Any, option: str, where: str) -> str:
    """Put SVD's UNet into the denoising UNet, all of it; poses and face stay as they are.

    How many frames it was trained with does not matter. On the meta device nothing is read.

    Args:
        network: with a `PoseVideoUNet` as `denoiser`.
        option: name of the option that says where it is, for messages.
        where: the folder that it is saved in, a pipeline's with `unet/`, or a hub name of one of these.

    Returns:
        SHA-256 of the file of weights.

    Raises:
        ConfigError: none there, a UNet of another version, or a damaged file.
    """
    if torch.get_default_device().type == "meta":
        return ""
    unet = network.denoiser
    return load_unet((unet,), unet.config, _NAMES, option, where, PUBLISHED, "UNetSpatioTemporalConditionModel", _NEW)
