"""Log lines to standard error, the same for every command."""

import logging
import os
import sys


class Handler(logging.StreamHandler):
    """Writes lines above a progress bar, where one is drawn, not into it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        drawn = sys.modules.get("tqdm")  # what has not been imported draws nothing
        if drawn is None:
            super().emit(record)
            return
        with drawn.tqdm.external_write_mode(file=sys.stderr):
            super().emit(record)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; the level comes from the environment variable COSPEECH_LOG (default INFO)."""
    root = logging.getLogger("cospeech")
    if not root.handlers:
        handler = Handler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(os.environ.get("COSPEECH_LOG", "INFO").upper())
    return root.getChild(name)
