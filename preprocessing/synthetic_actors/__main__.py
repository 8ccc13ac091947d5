"""The command `python -m preprocessing.synthetic_actors output=DIR key=value ...`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from preprocessing.synthetic_actors.videos import generate
from settings import ConfigError, build, command
from settings.output import OutputError, faults_of


def main(argv: Sequence[str] | None = None) -> None:
    """Make a data set of synthetic actors."""
    values = command(generate, argv, prog="python -m preprocessing.synthetic_actors")
    try:
        with faults_of(Path(values["output"])):
            manifest = build(values, generate)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(manifest)


if __name__ == "__main__":
    main()
