"""Several trainings one after the other in the same processes, which saves starting them.

`python -m tests.e2e.several FILE` takes a JSON list of lists of words of the training command.
"""

import json
import os
import sys
from pathlib import Path

from tests.e2e import counted  # noqa: F401 - registers its stages, and the toy's
from trainers.fit import main

if __name__ == "__main__":
    for words in json.loads(Path(sys.argv[1]).read_text()):
        os.environ.pop("COSPEECH_RUN_FOLDER", None)
        if main(words):
            sys.exit(f"failed: {words}")
