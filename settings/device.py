"""The device that a word of the command line means."""

from typing import TYPE_CHECKING

from settings.registry import ConfigError

if TYPE_CHECKING:
    import torch


def device_of(name: str) -> "torch.device":
    """The device that a name means; "auto" is a GPU where there is one.

    Raises:
        ConfigError: no device of that name, or none of that kind on this machine.
    """
    import torch

    here = torch.cuda.is_available()
    try:
        device = torch.device(("cuda" if here else "cpu") if name == "auto" else name)
    except RuntimeError:
        raise ConfigError(f"device={name}: no such device; give auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (not here or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"device={name}: this machine has {torch.cuda.device_count()} GPUs that PyTorch can use")
    return device
