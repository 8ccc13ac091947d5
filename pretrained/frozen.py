"""Networks that are used and not trained: frozen for good, and in no checkpoint."""

from typing import Any, Generic, Self, TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def freeze(network: Network) -> Network:
    """A network in evaluation mode that takes no gradients."""
    return network.eval().requires_grad_(False)


class Frozen(nn.Module, Generic[Network]):
    """Holds a trained network that a stage uses and does not train.

    It moves between devices and precisions with the stage, and stays in evaluation mode whatever is asked for. It is in
    no `state_dict`, so in no checkpoint, average or export: whoever builds the stage finds it again, and its hash tells
    whether it is the same. Weights of it that a checkpoint of an earlier version holds are passed over.

    Args:
        network: what is held; it is frozen (`freeze`).
        sha256: of its weights: of their file, or `hashes.tensors_hash` where they come from no single file.
    """

    def __init__(self, network: Network, sha256: str):
        super().__init__()
        self.network = freeze(network)
        self.sha256 = sha256
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network makes; gradients pass through to what went in."""
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Evaluation mode, whatever is asked for."""
        return super().train(False)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Nothing; what was gathered so far, inside of another module."""
        gathered = args[0] if args else destination
        return {} if gathered is None else gathered

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Its own tensors in place of what an earlier version may have written: nothing is missing, nothing too many.
        for name in [name for name in state_dict if name.startswith(prefix)]:
            del state_dict[name]
        state_dict |= nn.Module.state_dict(self, prefix=prefix, keep_vars=True)
        super()._load_from_state_dict(state_dict, prefix, *args)


def frozen_of(module: nn.Module) -> dict[str, Frozen]:
    """What a module holds frozen, by name."""
    return {name: each for name, each in module.named_modules() if isinstance(each, Frozen)}
