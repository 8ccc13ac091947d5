"""A stage of latent video that takes weights from the network of the stage before it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from models.saved import CONFIG, WEIGHTS
from pretrained.exports import Export, find_stage
from pretrained.hashes import short
from settings import ConfigError
from trainers.stage.agreement import shown


def build_on(
    network: Any,
    base: str,
    stage: str,
    autoencoder: str | None,
    *,
    own: tuple[str, ...],
    taken: Callable[[str, nn.Parameter], bool],
) -> str:
    """Copy parameters of the network of an earlier stage into the same of a new one.

    Args:
        network: the new one, with `autoencoder`.
        base: run folder, saved network or hub name of the earlier one.
        stage: that it has to be of.
        autoencoder: of the new stage, for messages.
        own: beginnings of the network's options that may differ from the earlier one's.
        taken: whether a parameter, by its name, is copied.

    Returns:
        SHA-256 of the earlier one's weights.

    Raises:
        ConfigError: no such network, one of other sizes, or one that knows other latents.
    """
    export = find_stage(base, "base", stage)
    config = json.loads((export.folder / CONFIG).read_text())
    _check_sizes(config, network, base, own)
    here, there = network.autoencoder, config["autoencoder"]
    if here and here != there:
        raise ConfigError(
            f"stage.base={base} knows the latents of another autoencoder (hash {short(there)}) than "
            f"stage.autoencoder={autoencoder} (hash {short(here)}): give the one that it was trained with"
        )
    _take(network, export, taken)
    return export.sha256


def _check_sizes(config: Mapping[str, Any], network: Any, base: str, own: tuple[str, ...]) -> None:
    """Raises ConfigError unless a saved network's options are this one's, as far as it is part of it."""
    options = json.loads(json.dumps(network._hub_mixin_config))
    for name, there in config.items():
        if name in options and not name.startswith((*own, "autoencoder", "latent_scale")) and options[name] != there:
            raise ConfigError(
                f"stage.network.{name} is {shown(options[name])}, but {shown(there)} in the network of "
                f"stage.base={base}, of which it is a part: set stage.network.{name}={shown(there)}"
            )


@torch.no_grad()
def _take(network: nn.Module, export: Export, taken: Callable[[str, nn.Parameter], bool]) -> None:
    """Copy from a saved network, tensor by tensor: both need not fit in memory."""
    with safe_open(export.folder / WEIGHTS, "pt") as file:
        there = set(file.keys())
        for name, parameter in network.named_parameters():
            if not taken(name, parameter):
                continue
            if name not in there or tuple(file.get_slice(name).get_shape()) != tuple(parameter.shape):
                raise ConfigError(
                    f"stage.base: {export.folder / WEIGHTS} has no {name} of shape {list(parameter.shape)}; another "
                    "version wrote it, or the file is damaged: train it again"
                )
            parameter.copy_(file.get_tensor(name))
