"""Which checkpoint of a run is the best, and whether it is the one that is measured."""

from typing import Any

import torch
from safetensors.torch import load_file

from pretrained.exports import Export
from settings import get_logger
from trainers.engines.pieces import STATE, is_in_pieces, load
from trainers.run.checkpoints import STEPS, network_weights
from trainers.run.errors import CheckpointError
from trainers.run.folder import RunFolder

logger = get_logger(__name__)


def best_checkpoint(export: Export) -> dict[str, Any] | None:
    """The checkpoint of the least validation error (MMGT-21: of the least RMSE), beside the network that is measured.

    `fit` exports the network of its last step; where that is not the best, the log says how to measure that one.

    Args:
        export: the network that is measured.

    Returns:
        `monitor`, `value` and `step` of the best, and `measured`, "best" or "another"; None where there is no best.
    """
    path = None if export.run is None else RunFolder(export.run).checkpoints / "best.ckpt"
    if path is None or not path.exists():
        return None
    try:
        state, best = load(path / STATE if is_in_pieces(path) else path), network_weights(path)
        kept = state["callbacks"]["Checkpoints"]
        monitor, value, step = str(kept["of"]).partition(" ")[2], float(kept["best"]), int(kept[STEPS])
    except (CheckpointError, KeyError) as error:
        logger.warning("which checkpoint is the best cannot be said: %s", error)
        return None
    own = load_file(export.folder / "model.safetensors")
    same = all(torch.equal(weight, own[name]) for name, weight in best.items() if name in own)
    if not same:
        logger.warning(
            "the best checkpoint by %s is that of step %d, and another is measured; "
            "`python -m trainers.export run=%s checkpoint=best` makes it the run's network",
            monitor, step, export.run,
        )  # fmt: skip
    return {"monitor": monitor, "value": value, "step": step, "measured": "best" if same else "another"}
