"""What the results say of a split: which clips were measured, and the rows of its table."""

from collections.abc import Mapping, Sequence
from typing import Any

from datamodules.clip import ClipInfo


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
