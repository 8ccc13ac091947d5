"""How a run is spread over devices, by name. Each function takes the options and returns Lightning's strategy."""

from typing import Any

from settings import Registry

STRATEGIES = Registry("strategy", {"auto": "trainers.strategies:auto", "ddp": "trainers.strategies:ddp"})


def auto() -> str:
    """One device: as it is. More devices: DDP, as Lightning chooses."""
    return "auto"


def ddp(*, find_unused_parameters: bool = False, static_graph: bool = False) -> Any:
    """Distributed data parallel: a whole copy of the network on every device.

    Args:
        find_unused_parameters: allow steps in which some parameters get no gradient; slower.
        static_graph: promise that every step uses the same parameters; helps with gradient checkpointing.
    """
    from lightning.pytorch.strategies import DDPStrategy

    return DDPStrategy(
        find_unused_parameters=find_unused_parameters, static_graph=static_graph, gradient_as_bucket_view=True
    )
