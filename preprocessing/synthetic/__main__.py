"""The command `python -m preprocessing.synthetic output=DIR key=value ...`."""

from collections.abc import Sequence

from preprocessing.synthetic.files import run_generator
from preprocessing.synthetic.videos import generate


def main(argv: Sequence[str] | None = None) -> None:
    """Make a data set of synthetic speakers."""
    run_generator(generate, argv, "python -m preprocessing.synthetic")


if __name__ == "__main__":
    main()
