"""Trained networks that preprocessing measures with, loaded from where a training left them."""

import contextlib
import hashlib
import io
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from settings import ConfigError

Network = TypeVar("Network", bound=torch.nn.Module)


def load_frozen(kind: type[Network], option: str, where: str, what: str) -> tuple[Network, str]:
    """A network in evaluation mode, and the SHA-256 of its weights.

    Args:
        kind: its class, with `from_pretrained`.
        option: name of the option that says where it is, for messages.
        where: a run folder, or a saved network (export/).
        what: what it is, in words.

    Raises:
        ConfigError: no network there, or another one.
    """
    folder = Path(where).expanduser()
    folder = folder if (folder / "config.json").is_file() else folder / "export"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ConfigError(f"{option}={where}: neither a run folder with an export nor a saved network")
    loader: Any = kind
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the mixin prints a line of its own
            network: Network = loader.from_pretrained(folder, strict=True).eval()
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{option}={where} does not hold {what} ({said})") from None
    with open(weights, "rb") as file:
        return network, hashlib.file_digest(file, "sha256").hexdigest()
