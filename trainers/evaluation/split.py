"""What the results say of a split: which clips were measured, and the rows of its table."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datamodules.clip import ClipInfo
from datamodules.shards.index import Index
from settings import get_logger
from trainers.evaluation.clips import present_splits
from trainers.evaluation.options import EvaluateOptions
from trainers.evaluation.pretrained import Pretrained

logger = get_logger(__name__)


def of_frames(
    options: EvaluateOptions, pretrained: Pretrained, measure: Callable[[str], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """What `measure` gives for each split with video that is asked for; says how long it took, and what is left out.

    Raises:
        ConfigError: no clips with video in the splits.
    """
    if pretrained.missing:
        logger.info("left out, for want of weights: %s", ", ".join(pretrained.missing))
    splits = {}
    for split in present_splits(Index.load(options.shards), options, ("video.mp4",), "video"):
        started = time.perf_counter()
        splits[split] = measure(split)
        logger.info("%s: %d clips, %.0f s", split, splits[split]["clips"], time.perf_counter() - started)
    return splits


def split_results(
    infos: Sequence[ClipInfo],
    seconds: float,
    systems: Mapping[str, Any],
    labels: Mapping[str, str],
    verdicts: Mapping[Any, Any],
    **more: Any,
) -> dict[str, Any]:
    """Of a split, as tables, pages and comparisons read it.

    Args:
        infos: of the clips that were measured.
        seconds: of all of them together.
        systems: figures of each answer, as `spread` gives them.
        labels: what each answer is called, in the order of the rows; those that were not measured are left out.
        verdicts: by figure.
        more: what is to be known of this split beside that.
    """
    ordered = {name: systems[name] for name in labels if name in systems}
    return {
        "clips": len(infos),
        "ids": [info.id for info in infos],
        "seconds": float(seconds),
        "speakers": len({info.speaker for info in infos}),
        **more,
        "systems": ordered,
        "labels": {name: labels[name] for name in ordered},
        "verdicts": dict(verdicts),
    }
