"""The command `python -m preprocessing.synthetic output=DIR key=value ...`."""

import sys

from preprocessing.synthetic.videos import generate
from settings import ConfigError, build, command


def main() -> None:
    """Make a data set of synthetic speakers."""
    values = command(generate, prog="python -m preprocessing.synthetic")
    try:
        manifest = build(values, generate)
    except ConfigError as error:
        print(f"config error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(manifest)


if __name__ == "__main__":
    main()
