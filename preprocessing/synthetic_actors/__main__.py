"""The command `python -m preprocessing.synthetic_actors output=DIR key=value ...`."""

from collections.abc import Sequence

from preprocessing.synthetic.files import run_generator
from preprocessing.synthetic_actors.videos import generate


def main(argv: Sequence[str] | None = None) -> None:
    """Make a data set of synthetic actors."""
    run_generator(generate, argv, "python -m preprocessing.synthetic_actors")


if __name__ == "__main__":
    main()
