"""The command `python -m preprocessing.synthetic_motion output=DIR key=value ...`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from preprocessing.synthetic_motion.sets import generate
from settings import ConfigError, build, command
from settings.output import OutputError, faults_of


def main(argv: Sequence[str] | None = None) -> None:
    """Make a set of synthetic motion clips."""
    values = command(generate, argv, prog="python -m preprocessing.synthetic_motion")
    torch.set_num_threads(1)  # a clip is small: more threads only wait for each other
    try:
        with faults_of(Path(values["output"])):
            summary = build(values, generate)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped; start it again", file=sys.stderr)
        raise SystemExit(130) from None
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary["kinds"].items())
    print(f"{summary['clips']} clips in {values['output']}: {kinds}")


if __name__ == "__main__":
    main()
