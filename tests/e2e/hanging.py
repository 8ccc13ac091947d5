"""A training command that hangs in every start, as the watchdog of a run would tell it."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    Path(os.environ["COSPEECH_REQUEUE_FILE"]).write_text("hang\n")
    sys.exit(75)
