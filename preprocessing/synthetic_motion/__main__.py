"""The command `python -m preprocessing.synthetic_motion output=DIR key=value ...`."""

from collections.abc import Sequence
from typing import Any

import torch

from preprocessing.synthetic.files import run_generator
from preprocessing.synthetic_motion.sets import generate


def main(argv: Sequence[str] | None = None) -> None:
    """Make a set of synthetic motion clips."""
    torch.set_num_threads(1)  # a clip is small: more threads only wait for each other
    run_generator(generate, argv, "python -m preprocessing.synthetic_motion", _said)


def _said(output: str, summary: dict[str, Any]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items())
    return f"{summary['clips']} clips in {output}: {kinds}"


if __name__ == "__main__":
    main()
