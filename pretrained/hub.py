"""What is asked of the Hugging Face hub, and what it says when it does not answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class HubError(Exception):
    """The hub does not give a file; the message is its own reason, in one line."""


def download(repository: str, name: str) -> Path:
    """A file of a repository, from the hub or from what was downloaded before.

    Raises:
        HubError: no such repository or file, no network, or offline and not there.
    """
    from huggingface_hub import hf_hub_download

    with _one_line():
        return Path(hf_hub_download(repository, name))


def snapshot(repository: str, names: Sequence[str]) -> Path:
    """A folder with files of a repository, likewise; those that the repository lacks are missing.

    Raises:
        HubError: no such repository, no network, or offline and not there.
    """
    from huggingface_hub import snapshot_download

    with _one_line():
        return Path(snapshot_download(repository, allow_patterns=list(names)))


@contextmanager
def _one_line() -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    # "Offline", "no such file" and "no network" are OSErrors or HTTP errors, a bad name is a ValueError.
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        raise HubError((str(error).strip().splitlines() or [type(error).__name__])[0]) from None
