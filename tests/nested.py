"""Options of a stage in one flat dict, sorted into the stage's own and its network's."""

from typing import Any

from settings.schema import keys


def nested(stage: type, **options: Any) -> dict[str, Any]:
    """What the stage's constructor takes: what it does not know itself goes to the network."""
    own = {name: value for name, value in options.items() if name in keys(stage)}
    network = {name: value for name, value in options.items() if name not in own}
    if network:
        own["network"] = {**own.get("network", {}), **network}
    return own


def words(stage: type, **options: Any) -> list[str]:
    """The same as words of a command line."""
    sorted_out = nested(stage, **options)
    network = sorted_out.pop("network", {})
    return [
        *(f"stage.{name}={value}" for name, value in sorted_out.items()),
        *(f"stage.network.{name}={value}" for name, value in network.items()),
    ]
