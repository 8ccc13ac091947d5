"""The autoencoder that another one goes on from."""

import inspect
from collections.abc import Mapping
from typing import Any

from models.video.autoencoder import VideoAutoencoder
from models.video.temporal_decoding import is_temporal
from pretrained.autoencoders import load_autoencoder
from settings import ConfigError


def trained_on(base: str, options: Mapping[str, Any]) -> VideoAutoencoder:
    """The autoencoder of `stage.base`. Raises ConfigError for options that say other sizes than it has."""
    vae, _ = load_autoencoder("stage.base", base)
    defaults = inspect.signature(VideoAutoencoder).parameters
    for name, value in options.items():
        own: Any = is_temporal(vae) if name == "temporal_decoder" else vae.config.get(name)
        if name == "scaling_factor" or value in (own, defaults[name].default):
            continue
        if not isinstance(value, (list, tuple)) or list(value) not in (list(own), list(defaults[name].default)):
            raise ConfigError(
                f"stage.network.{name} is {value}, but that of stage.base={base} is {own}: leave it out, or train one "
                "from the beginning with stage.base=null"
            )
    return VideoAutoencoder.of(vae, options.get("scaling_factor"))
