"""Log lines to standard error, the same for every command."""

import logging
import os


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; the level comes from the environment variable COSPEECH_LOG (default INFO)."""
    root = logging.getLogger("cospeech")
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(os.environ.get("COSPEECH_LOG", "INFO").upper())
    return root.getChild(name)
