"""What tells one network from another, and what is done where it is another."""

import hashlib

import torch
from torch import Tensor, nn

from settings import ConfigError


def tensors_hash(network: nn.Module) -> str:
    """SHA-256 of a network's state: names, shapes, types and bytes of its tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_same(found: str, wanted: str, otherwise: str) -> None:
    """Raise ConfigError where one network is another than the one that is wanted.

    Args:
        found, wanted: their hashes; where one is not known (empty), all will do.
        otherwise: what to say; `short` gives the hashes for it.
    """
    if found and wanted and found != wanted:
        raise ConfigError(otherwise)


def short(sha256: str) -> str:
    """The beginning of a hash, as messages show it."""
    return sha256[:16]
