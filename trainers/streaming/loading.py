"""The stream of a run: what its stage's record names, with its options."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from settings import build, check
from settings.device import device_of
from trainers.record import keys_of, load_tool, tool_of
from trainers.stages import STREAMERS
from trainers.streaming.window import Live

CAN: Final = "a stream can use"


def load_live(run: str, options: Mapping[str, Any], device: str) -> Live:
    """A person who is ready to speak.

    Args:
        run: a run folder, a saved network (export/), or a hub name.
        options: of the run's stage.
        device: cpu, cuda, or auto.

    Raises:
        ConfigError: no such network, or values that make no sense.
        MediaError: a picture that cannot be used.
    """
    from trainers.run.exports import check_steps, find_export

    export = find_export(run)
    tool = tool_of(STREAMERS, export.stage, export.name, CAN)
    check({**options, "run": run}, keys_of(_run, STREAMERS, export.stage))
    asked = build(options, tool.options)
    check_steps(export, options.get("steps"))
    device_of(device)
    return load_tool(tool)(export, device).live(asked)


def threads_of(device: str) -> Callable[[], None] | None:
    """What each part's thread does first: on a CPU the parts share the cores, half of them each, as two are large."""
    import torch

    if device_of(device).type != "cpu":
        return None
    each = max(1, len(os.sched_getaffinity(0)) // 2)
    return lambda: torch.set_num_threads(each)


def _run(*, run: str) -> None:
    """What every stream is made of.

    Args:
        run: a run folder, a saved network, or a hub name.
    """
