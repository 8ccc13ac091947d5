"""Published UNets of Stable Diffusion 1.5 and motion modules of AnimateDiff, into the UNets of latent video."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from models.saved import only_a_path
from models.video.lora import BASE
from pretrained.hub import HubError, snapshot
from settings import ConfigError
from settings.hashes import file_hash

CONFIG: Final = "config.json"
WEIGHTS: Final = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
_NEW: Final = ("motion_modules.", "audio_modules.", "lora_")
"""What a spatial UNet that others trained does not have."""
_OWN_POSITIONS: Final = ("pos_embed.slot",)
"""What motion modules that others trained do not have: the position of UniVDM's reference."""


def load_spatial(network: Any, option: str, where: str) -> str:
    """Put a published UNet into the spatial part of the denoising UNet and into the reference UNet (MMGT-16).

    What the published one lacks, motion and audio modules, stays as it is. On the meta device nothing is read.

    Args:
        network: with a `MotionUNet` as `denoiser` and a `ReferenceUNet` as `reference_unet`.
        option: name of the option that says where it is, for messages.
        where: the folder that it is saved in, a pipeline's with `unet/`, or a hub name of one of these.

    Returns:
        SHA-256 of the file of weights.

    Raises:
        ConfigError: none there, a UNet of another version, or a damaged file.
    """
    if torch.get_default_device().type == "meta":
        return ""
    published = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    unets = (network.denoiser, network.reference_unet)
    return load_unet(unets, network.reference_unet.config, _SPATIAL, option, where, published)


def load_unified(network: Any, option: str, where: str) -> str:
    """Put a published UNet, of Stable Diffusion 2.1's kind, into the spatial part of UniVDM's (PH-5).

    What it lacks, motion modules and attention to speech, stays as it is. On the meta device nothing is read.

    Args:
        network: with a `UnifiedUNet` as `denoiser`.
        option: name of the option that says where it is, for messages.
        where: the folder that it is saved in, a pipeline's with `unet/`, or a hub name of one of these.

    Returns:
        SHA-256 of the file of weights.

    Raises:
        ConfigError: none there, a UNet of another version, or a damaged file.
    """
    if torch.get_default_device().type == "meta":
        return ""
    published = "stabilityai/stable-diffusion-2-1-base"
    return load_unet((network.denoiser,), network.denoiser.config, _UNIFIED, option, where, published)


def load_motion(network: Any, option: str, where: str) -> str:
    """Put published motion modules into the denoising UNet; those for the middle may be missing, as in the first ones.

    Args:
        network: with a `MotionUNet` as `denoiser`.
        option: name of the option that says where they are, for messages.
        where: the folder of a MotionAdapter, a pipeline's with `motion_adapter/`, or a hub name of one of these.

    Returns:
        SHA-256 of the file of weights.

    Raises:
        ConfigError: none there, modules of other sizes or for another number of frames, or a damaged file.
    """
    if torch.get_default_device().type == "meta":
        return ""
    what, get = "a MotionAdapter", "guoyww/animatediff-motion-adapter-v1-5-2"
    folder, weights = _find(option, where, ("", "motion_adapter"), what, get)
    config = _config(folder, option, where, "MotionAdapter")
    _agree(config, network.denoiser.config, _MOTION, option, where, "motion modules of another size")
    state = _read(weights, option, where)
    middle = () if config["use_motion_mid_block"] else ("mid_block.",)
    own = nn.ModuleDict(
        {name: network.denoiser.get_submodule(name) for name in ("down_blocks", "mid_block", "up_blocks")}
    )
    _put(own, state, (*middle, *_OWN_POSITIONS), option, weights, only="motion_modules.")
    return file_hash(weights)


_SPATIAL: Final = {
    "block_out_channels": ("block_out_channels", "channels"),
    "cross_attention_dim": ("cross_attention_dim", "cross_channels"),
    "layers_per_block": ("layers_per_block", "layers"),
    "attention_head_dim": ("attention_head_dim", "heads"),
    "norm_num_groups": ("norm_num_groups", "norm_groups"),
    "in_channels": ("in_channels", "latent_channels"),
    "out_channels": ("out_channels", "latent_channels"),
    "down_block_types": ("down_block_types", ""),
    "up_block_types": ("up_block_types", ""),
    "use_linear_projection": ("use_linear_projection", ""),
    "class_embed_type": ("class_embed_type", ""),
    "addition_embed_type": ("addition_embed_type", ""),
}
_UNIFIED: Final = {
    **{name: place for name, place in _SPATIAL.items() if not name.endswith(("_types", "embed_type"))},
    "attention_head_dim": ("num_attention_heads", "head_channels"),
    "class_embed_type": ("", ""),
    "addition_embed_type": ("", ""),
}
_MOTION: Final = {
    "block_out_channels": ("block_out_channels", "channels"),
    "motion_layers_per_block": ("layers_per_block", "layers"),
    "motion_num_attention_heads": ("motion_num_attention_heads", "motion_heads"),
    "motion_norm_num_groups": ("norm_num_groups", "norm_groups"),
    "motion_max_seq_length": ("motion_max_seq_length", "motion_frames"),
    "motion_transformer_layers_per_block": ("temporal_transformer_layers_per_block", "motion_layers"),
    "conv_in_channels": ("", ""),
}
"""What has to agree: of the published config, of the network's, and the network's own option for it."""


def load_unet(
    unets: tuple[nn.Module, ...],
    own: Mapping[str, Any],
    names: Mapping[str, tuple[str, str]],
    option: str,
    where: str,
    published: str,
    kind: str = "UNet2DConditionModel",
    new: tuple[str, ...] = _NEW,
) -> str:
    """Put a published UNet into each of some networks; nothing of it may be left over.

    Args:
        unets: what it is put into.
        own: their config.
        names: what has to agree: of the published config, of the own, and the network's option that sets it.
        option: name of the option that says where it is, for messages.
        where: its folder, that of a pipeline with `unet/`, or a hub name.
        published: hub name of the usual one, for messages.
        kind: diffusers' class.
        new: parts of names of weights that the published one lacks.

    Returns:
        SHA-256 of the file of weights.

    Raises:
        ConfigError: none there, a UNet of another version, or a damaged file.
    """
    get = f"{published} --include 'unet/*'"
    folder, weights = _find(option, where, ("", "unet"), f"a {kind}", get)
    config = _config(folder, option, where, kind)
    _agree(config, own, names, option, where, "a UNet of another version")
    state = _read(weights, option, where)
    for unet in unets:
        _put(unet, state, new, option, weights)
    return file_hash(weights)


def _find(option: str, where: str, inside: tuple[str, ...], what: str, get: str) -> tuple[Path, Path]:
    """The folder that holds the network, and its file of weights."""
    path, get = Path(where).expanduser(), f"where there is a network, `hf download {get} --local-dir FOLDER` gets one"
    if not path.is_dir():
        if path.exists() or only_a_path(where) or where.count("/") != 1:
            raise ConfigError(f"{option}={where}: no such folder; give that of {what}, or a hub name; {get}")
        try:
            path = snapshot(where, [f"{folder}/{name}".lstrip("/") for folder in inside for name in (CONFIG, *WEIGHTS)])
        except HubError as error:
            raise ConfigError(
                f"{option}={where}: no such folder here, and the hub does not give it ({error}); {get}"
            ) from None
    for folder in (path / name for name in inside):
        for weights in WEIGHTS:
            if (folder / CONFIG).is_file() and (folder / weights).is_file():
                return folder, folder / weights
    raise ConfigError(f"{option}={where}: {what} is needed there, which is {CONFIG} with {WEIGHTS[0]}; {get}")


def _config(folder: Path, option: str, where: str, kind: str) -> dict[str, Any]:
    """The published config, with diffusers' defaults for what an older version did not write."""
    import diffusers

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = config.get("_class_name")
    except (OSError, ValueError, AttributeError):
        found = None
    if found != kind:
        raise ConfigError(f"{option}={where}: a {kind} is needed; {folder / CONFIG} is of {found or 'no network'}")
    parameters = inspect.signature(getattr(diffusers, kind).__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"} | config


def _agree(
    published: Mapping[str, Any],
    own: Mapping[str, Any],
    names: Mapping[str, tuple[str, str]],
    option: str,
    where: str,
    what: str,
) -> None:
    """Raises ConfigError where sizes differ; names the first, and the option that sets it."""
    for name, (here, setting) in names.items():
        found, wanted = (_plain(value) for value in (published[name], own[here] if here else None))
        if found != wanted:
            cure = f"; set network.{setting} to match, or take another" if setting else ""
            raise ConfigError(f"{option}={where}: {what}: its {name} is {found}, this network's is {wanted}{cure}")


def _plain(value: Any) -> Any:
    """One number for a list of equal ones, which configs write either way."""
    if isinstance(value, (list, tuple)):
        values = [_plain(each) for each in value]
        return values[0] if len(set(map(str, values))) == 1 else values
    return value


def _read(path: Path, option: str, where: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{option}={where}: {path} cannot be read ({reason}); copy or download it again") from None


@torch.no_grad()
def _put(
    network: nn.Module, state: Mapping[str, Tensor], new: tuple[str, ...], option: str, path: Path, only: str = ""
) -> None:
    """Copy all tensors into a network, of which nothing but what is new may be left over."""
    own = {
        name.replace(BASE, "."): value
        for name, value in network.state_dict().items()
        if only in name and not any(part in name for part in new)
    }
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != state[name].shape]
    if wrong:
        raise ConfigError(f"{option}: {path} does not fit its {CONFIG}: {wrong[0]} differs")
    for name, value in own.items():
        value.copy_(state[name])
