"""A training in this process, by the training command's own function."""

from trainers.fit import main


def train(*words: str) -> None:
    """Train with the words of a command line.

    Raises:
        RuntimeError: the training ended with an error, which it has told on standard error.
    """
    try:
        status = main(words)
    except SystemExit as end:  # words that cannot be used
        status = int(end.code or 0)
    if status:
        raise RuntimeError(f"trainers.fit {' '.join(words)} ended with {status}")
